"""Audit picture files: open, hash and decode each once, with the decoder that training will use."""

import io
import os
import stat
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Literal

import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from tfransfer.data import pictures
from tfransfer.data.health.remembered import RememberedFacts
from tfransfer.data.index import FileFacts, Issue
from tfransfer.display.progress import Progress, quiet
from tfransfer.system.files import size_text

MAX_PIXELS = 100_000_000
# The size of an uncompressed file with that many pixels.
MAX_BYTES = 4 * MAX_PIXELS
_EXIF_ORIENTATION = 0x0112
_TENSORFLOW_READS = ("JPEG", "MPO", "PNG")
_PILLOW_READS = ("GIF", "BMP", "WEBP")
# Files per task of a thread: each waiting task takes a kilobyte of memory.
_PIECE = 16
READABLE = "JPEG, PNG, GIF, BMP, WebP"


def examine(root: Path, path: str, max_pixels: int = MAX_PIXELS) -> FileFacts | Issue:
    """Read one file from beginning to end.

    Args:
        root: The dataset's folder.
        path: The file, relative to `root`.
        max_pixels: Larger pictures are refused before they are decoded.

    Returns:
        The file's facts, or what is wrong with it.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return Issue(path, "name", "its name is not UTF-8; rename it")
    try:
        status = (root / path).stat()
        if not stat.S_ISREG(status.st_mode):
            return Issue(path, "unreadable", "not a regular file: reading it might never end")
        if status.st_size > MAX_BYTES:
            return Issue(path, "too large", f"{size_text(status.st_size)}, the limit is {size_text(MAX_BYTES)}")
        encoded = (root / path).read_bytes()
    except OSError as error:
        return Issue(path, "unreadable", f"cannot be read: {error.strerror}")
    if not encoded:
        return Issue(path, "empty", "the file has zero bytes")
    return examine_bytes(encoded, path, max_pixels)


def examine_bytes(encoded: bytes, path: str, max_pixels: int = MAX_PIXELS) -> FileFacts | Issue:
    """Like `examine`, for bytes that are already read; `path` is only their name."""
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            kind, (width, height) = picture.format or "?", picture.size
            orientation = _orientation(picture) if width * height <= max_pixels else 1
    except UnidentifiedImageError:
        return Issue(path, "no picture", f"not a picture in a format read here ({READABLE})")
    except Image.DecompressionBombError:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return Issue(path, "too large", f"more than the limit of {limit:,} pixels")
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError) as error:
        return Issue(path, "damaged", f"its header cannot be read: {error}")
    if width * height > max_pixels:
        return Issue(path, "too large", f"{width} x {height} pixels, the limit is {max_pixels:,}")
    if kind not in _TENSORFLOW_READS + _PILLOW_READS:
        return Issue(path, "format", f"{kind} is not read here; convert it to one of {READABLE}")
    reader, problem = _decoding(encoded, kind)
    if reader is None:
        return Issue(path, "truncated" if "truncated" in problem.lower() else "damaged", problem)
    return FileFacts(pictures.content_hash(encoded), orientation, reader, width, height)


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation; 1 if there is none or EXIF is damaged, which is no reason to lose the picture."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  Pillow's EXIF reader raises many kinds on damaged blocks
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decoding(encoded: bytes, kind: str) -> tuple[Literal["tensorflow", "pillow"] | None, str]:
    """The decoder that reads the whole file, or the last one's error."""
    if kind in _TENSORFLOW_READS:
        try:
            pictures.decode_small(encoded)
            return "tensorflow", ""
        except tf.errors.InvalidArgumentError:
            pass  # Pillow may still read it, and has shorter messages
    try:
        pictures.as_png(encoded)
        return "pillow", ""
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise many kinds on damaged data
        return None, f"cannot be decoded to its end: {error}"


def examine_all(
    root: Path, paths: Iterable[str], max_pixels: int = MAX_PIXELS, progress: Progress = quiet
) -> dict[str, FileFacts | Issue]:
    """Examine many files on all cores; files that have not changed since an earlier run are not opened.

    Args:
        root: The dataset's folder.
        paths: Files, relative to `root`.
        max_pixels: As for `examine`.
        progress: Shows the number of files done.

    Returns:
        Facts or issue by path, in the given order.
    """
    ordered = list(paths)
    cached = RememberedFacts(root, max_pixels)
    stamps = {path: cached.stamp(path) for path in ordered}
    results: dict[str, FileFacts | Issue | None] = {path: cached.recall(path, stamps[path]) for path in ordered}
    uncached = [path for path in ordered if results[path] is None]
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and damaged EXIF; both are dealt with here
        with progress("reading pictures", len(uncached), "pictures") if uncached else nullcontext(_ignore) as advance:
            pieces = [uncached[i : i + _PIECE] for i in range(0, len(uncached), _PIECE)]
            facts = pool.map(lambda piece: [examine(root, path, max_pixels) for path in piece], pieces)
            for path, fact in zip(uncached, chain.from_iterable(facts), strict=True):
                results[path] = fact
                cached.keep(path, stamps[path], fact)
                advance(1)
    cached.save()
    return {path: fact for path, fact in results.items() if fact is not None}


def _ignore(count: int) -> None:
    """Progress that shows nothing."""
