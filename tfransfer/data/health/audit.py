"""Audit picture files: open, hash and decode each once, with the decoder that training will use."""

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from tfransfer.data import pictures
from tfransfer.data.health.remembered import RememberedFacts
from tfransfer.data.index import FileFacts, Issue
from tfransfer.data.sources.picture_files import OTHER_SUFFIXES, READABLE, format_of, is_unread, why_unread
from tfransfer.display.progress import Progress, quiet
from tfransfer.system.files import size_text

MAX_PIXELS = 100_000_000
# The size of an uncompressed file with that many pixels.
MAX_BYTES = 4 * MAX_PIXELS
# A progressive JPEG has about ten, and a hostile one as many as it has room for.
MAX_SCANS = 50
_EXIF_ORIENTATION = 0x0112
# What a PNG's orientation may be written in, perhaps behind its pixels.
_EXIF_IN_PNG = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_JPEG = ("JPEG", "MPO")
# The work of decoding, in that of a pixel of a GIF.
_PER_SCAN, _PER_JPEG_PIXEL, _PER_VALUE_BYTE, _PER_WEBP_PIXEL = 0.05, 0.5, 0.2, 1.5
_TENSORFLOW_READS = ("JPEG", "MPO", "PNG")
_PILLOW_READS = ("GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIF")
# Files per task of a thread: each waiting task takes a kilobyte of memory.
_PIECE = 16


def examine(root: Path, path: str, max_pixels: int = MAX_PIXELS) -> FileFacts | Issue:
    """Read one file from beginning to end.

    Args:
        root: The dataset's folder.
        path: The file, relative to `root`.
        max_pixels: Larger pictures are refused before they are decoded.

    Returns:
        The file's facts, or what is wrong with it.
    """
    encoded = read_file(root, path)
    return encoded if isinstance(encoded, Issue) else examine_bytes(encoded, path, max_pixels)


def read_file(root: Path, path: str) -> bytes | Issue:
    """A file's bytes, or why they cannot be read; arguments as for `examine`."""
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
    return encoded or Issue(path, "empty", "the file has zero bytes")


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded.

    Attributes:
        kind: Pillow's name of its format.
        width: Pixels, before the orientation is applied.
        height: Pixels, before the orientation is applied.
        orientation: EXIF orientation, 1 to 8; None if it may be behind the pixels, see `orientation_of`.
        scans: Number of times that the decoder goes over the picture.
        value_bytes: Bytes of a decoded pixel, where that decides the time.
    """

    kind: str
    width: int
    height: int
    orientation: int | None = 1
    _: KW_ONLY
    scans: int = 1
    value_bytes: float = 3.0

    @property
    def pixels(self) -> int:
        """Width by height."""
        return self.width * self.height

    def work(self, size: int) -> float:
        """The work of decoding it for a model of this size, in pixels of a GIF (15 to 20 ns each on one core).

        Measured on pictures of 49 million pixels. A large JPEG is decoded at reduced size, but each scan goes over all
        of it.
        """
        if self.kind in _JPEG:
            ratio = max(r for r in (1, 2, 4, 8) if r == 1 or min(self.width, self.height) >= size * r)
            return self.pixels * (_PER_SCAN * self.scans + _PER_JPEG_PIXEL / ratio**2)
        if self.kind == "PNG":
            return self.pixels * _PER_VALUE_BYTE * self.value_bytes
        return self.pixels * (_PER_WEBP_PIXEL if self.kind == "WEBP" else 1.0)


def read_header(encoded: bytes, path: str, max_pixels: int = MAX_PIXELS) -> Header | Issue:
    """Read a picture's header, and refuse what is not read here or costs too much; `path` is only its name."""
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            kind, (width, height) = picture.format or "?", picture.size
            late = kind == "PNG" and _has_late_exif(encoded)
            # Pillow decodes a whole PNG to look for its orientation behind the pixels.
            turned = 1 if width * height > max_pixels or kind == "PNG" else _orientation(picture)
    except UnidentifiedImageError:
        return _unidentified(encoded, path)
    except Image.DecompressionBombError:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return Issue(path, "too large", f"more than the limit of {limit:,} pixels")
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError) as error:
        return Issue(path, "damaged", f"its header cannot be read: {error}")
    if width * height > max_pixels:
        return Issue(path, "too large", f"{width} x {height} pixels, the limit is {max_pixels:,}")
    if kind not in _TENSORFLOW_READS + _PILLOW_READS:
        return Issue(path, "format", f"{kind} is not read here; convert it to one of {READABLE}")
    if kind == "TIFF" and is_unread(path):  # of a raw file Pillow reads the thumbnail only
        return _unidentified(b"", path)
    scans = pictures.scans_of(encoded, MAX_SCANS + 1) if kind in _JPEG else 1
    if scans > MAX_SCANS:
        return Issue(path, "too large", f"more than {MAX_SCANS} scans, each as slow as a picture; save it again")
    value_bytes = _value_bytes(encoded, late) if kind == "PNG" else 3.0
    return Header(kind, width, height, None if late else turned, scans=scans, value_bytes=value_bytes)


def _value_bytes(encoded: bytes, late_exif: bool) -> float:
    """Bytes that a PNG's decoder handles for a pixel."""
    depth, colour, interlaced = encoded[24], encoded[25], encoded[28]
    channels = {2: 3, 4: 2, 6: 4}.get(colour, 1)
    passes = (2 if interlaced else 1) * (2 if late_exif else 1)
    return passes * max(depth / 8 * channels, 1.5)


def examine_bytes(encoded: bytes, path: str, max_pixels: int = MAX_PIXELS) -> FileFacts | Issue:
    """Like `examine`, for bytes that are already read; `path` is only their name."""
    header = read_header(encoded, path, max_pixels)
    if isinstance(header, Issue):
        return header
    reader, problem, size = _decoding(encoded, header.kind)
    if reader is None:
        return Issue(path, "truncated" if "truncated" in problem.lower() else "damaged", problem)
    # Some headers give the size before or after turning, depending on Pillow's version.
    return FileFacts(
        pictures.content_hash(encoded),
        orientation_of(encoded, header),
        reader,
        *(size or (header.width, header.height)),
    )


def decoded(
    encoded: bytes, path: str, header: Header, size: int, spend: Callable[[float], None]
) -> tf.Tensor | np.ndarray | Issue:
    """Decode a picture for a model, with the decoder that `examine` would choose; or what is wrong with it.

    Args:
        encoded: The file's bytes.
        path: Their name.
        header: From `read_header`.
        size: As for `pictures.decode_full`.
        spend: Called with the `Header.work` that comes next; raises to refuse it.
    """
    spend(header.work(size))
    if header.kind in _TENSORFLOW_READS:
        try:
            return pictures.decode_full(tf.constant(encoded), size)
        except tf.errors.InvalidArgumentError:
            spend(header.pixels)  # Pillow decodes it whole
    try:
        return pictures.through_pillow(encoded)
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise many kinds on damaged data
        problem = _undecodable(error)
        return Issue(path, "truncated" if "truncated" in problem.lower() else "damaged", problem)


def orientation_of(encoded: bytes, header: Header) -> int:
    """A picture's EXIF orientation, 1 to 8; 1 for a TIFF, which Pillow turns upright as it reads it."""
    if header.kind == "TIFF":
        return 1
    if header.orientation is not None:
        return header.orientation
    with Image.open(io.BytesIO(encoded)) as picture:
        return _orientation(picture)


def _has_late_exif(encoded: bytes) -> bool:
    return any(name in encoded for name in _EXIF_IN_PNG)


def _unidentified(encoded: bytes, path: str) -> Issue:
    """The issue of a file that is not read, by its content or else its name."""
    suffix = format_of(encoded[:64]) or os.path.splitext(path)[1].lower()
    if suffix == ".tif":
        return Issue(path, "format", "a TIFF of a kind that is not read here: save it as 8-bit RGB")
    if suffix in OTHER_SUFFIXES:
        return Issue(path, "format", why_unread(suffix))
    return Issue(path, "no picture", f"not a picture in a format read here ({READABLE})")


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation; 1 if there is none or EXIF is damaged, which is no reason to lose the picture."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  Pillow's EXIF reader raises many kinds on damaged blocks
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decoding(encoded: bytes, kind: str) -> tuple[Literal["tensorflow", "pillow"] | None, str, tuple[int, int] | None]:
    """The decoder that reads the whole file, or the last one's error; and the size where decoding tells it."""
    if kind in _TENSORFLOW_READS:
        try:
            pictures.decode_small(encoded)
            return "tensorflow", "", None
        except tf.errors.InvalidArgumentError:
            pass  # Pillow may still read it, and has shorter messages
    try:
        height, width, _ = pictures.through_pillow(encoded).shape
        return "pillow", "", (width, height)
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise many kinds on damaged data
        return None, _undecodable(error), None


def _undecodable(error: Exception) -> str:
    return f"cannot be decoded to its end: {error}"


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
