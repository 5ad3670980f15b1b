"""Write a source that is not a folder into the cache once, as picture files: for random access and content hashes."""

import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfransfer.data.index import SPLITS, Row
from tfransfer.data.pixel_range import pixel_range_error
from tfransfer.errors import DataError, DataNotFoundError
from tfransfer.system.cache_home import REMEDY, cache_home
from tfransfer.system.files import read_json, temporary_folder, whole
from tfransfer.tasks.task import TASKS

ROWS = "rows.json"
# Part of each folder's name: increase it when the written content changes.
_VERSION = 1
_FILES_PER_FOLDER = 1000
_STARTS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp"}


@dataclass(frozen=True)
class Contents:
    """The contents of a source that was read.

    Attributes:
        rows: One per example.
        classes: In the source's own order; empty if it has none, as in a regression.
        task: "single-label", "multi-label" or "regression".
        notes: What the user should know, one sentence each.
    """

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    task: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unpacked:
    """A source in the cache.

    Attributes:
        root: The folder that the rows' paths are relative to.
        rows: As for Contents, like the others.
    """

    root: Path
    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    task: str
    notes: tuple[str, ...] = ()


class Writer:
    """Writes a source's pictures and texts one by one, and gives each a path.

    Args:
        root: The folder to write into; it is created.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._digests: list[bytes] = []
        root.mkdir(parents=True)

    def picture(self, encoded: bytes, suffix: str | None = None) -> str:
        """Write one picture's encoded bytes as they are.

        Args:
            encoded: The bytes of the file.
            suffix: With the dot; None infers it from the bytes.

        Returns:
            The path relative to the folder.
        """
        number = len(self._digests)
        path = f"pictures/{number // _FILES_PER_FOLDER:03}/{number:06}{suffix or suffix_of(encoded)}"
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).write_bytes(encoded)
        self._digests.append(hashlib.blake2b(encoded, digest_size=16).digest())
        return path

    def link(self, file: Path) -> str:
        """Link to a picture file elsewhere, so that it is not stored twice; copy it where links are refused.

        Returns:
            The path relative to the folder; it ends with the file's own name.
        """
        number = len(self._digests)
        path = f"pictures/{number // _FILES_PER_FOLDER:03}/{number:06}-{file.name[-100:]}"
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            (self._root / path).symlink_to(file)
        except OSError:  # Windows lets only some users make links
            shutil.copyfile(file, self._root / path)
        self._digests.append(hashlib.blake2b(os.fsencode(file), digest_size=16).digest())
        return path

    def text(self, text: str) -> str:
        """Give one text a name; its row keeps the text itself."""
        name = f"texts/{len(self._digests):06}"
        self._digests.append(hashlib.blake2b(text.encode(), digest_size=16).digest())
        return name

    def content_hash(self, contents: Contents) -> str:
        """Hash of all examples with their targets and splits; independent of their order."""
        rows = zip(self._digests, contents.rows, strict=True)
        each = sorted(hashlib.blake2b(d + repr((r.target, r.split)).encode()).digest() for d, r in rows)
        whole_set = repr((_VERSION, contents.classes, contents.task, contents.notes)).encode()
        return hashlib.blake2b(b"".join(each) + whole_set, digest_size=16).hexdigest()


class PixelEncoder:
    """Encodes pictures in memory as PNG, and checks that their pixels are in [0, 255]."""

    def __init__(self) -> None:
        self._high = 0.0

    def pixels(self, value: Any) -> np.ndarray:
        """One picture.

        Args:
            value: Numbers, shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), in [0, 255].

        Returns:
            Rounded to uint8, shape (h, w), (h, w, 3) or (h, w, 4).

        Raises:
            DataError: The shape or range is wrong.
        """
        array = np.asarray(value)
        array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
        form = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
        if not form or 0 in array.shape or array.dtype.kind not in "buif":
            raise DataError(
                "expected a picture as an array of numbers, (height, width), (height, width, 1), (height, width, 3) or "
                f"(height, width, 4); got {array.dtype} {np.shape(value)}."
            )
        if array.dtype == np.uint8:
            return array
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > 255:
            raise pixel_range_error(low, high)
        self._high = max(self._high, high)
        return np.rint(array).astype(np.uint8)

    def png(self, value: Any) -> bytes:
        """One picture as the bytes of a PNG file; arguments and errors as for `pixels`."""
        stream = io.BytesIO()
        Image.fromarray(self.pixels(value)).save(stream, "PNG", compress_level=1)
        return stream.getvalue()

    def finish(self) -> None:
        """Check all pictures together: one may be nearly black, but not every one.

        Raises:
            DataError: No picture that was not uint8 had a pixel above 1.
        """
        if 0 < self._high <= 1:
            raise pixel_range_error(0, self._high)


# Writes a source's examples and returns its contents.
Fill = Callable[[Writer], Contents]


def unpack(kind: str, facts: dict[str, Any], fill: Fill) -> Unpacked:
    """Unpack a source whose facts are known in advance; if the cache has it, the source is not read.

    Args:
        kind: Kind of source, also the folder in the cache: "tfds" or "arrays".
        facts: Plain values that decide the content; equal facts mean equal content.
        fill: Reads the source.

    Raises:
        WriteError: The cache cannot be written to.
    """
    text = json.dumps([_VERSION, facts], sort_keys=True)
    folder = _home(kind) / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    cached = _read(folder)
    if cached is not None:
        return cached
    with whole(folder, REMEDY) as partial:
        contents = fill(Writer(partial))
        _write_rows(partial, contents)
    return _at(folder, contents)


def unpack_by_content(kind: str, fill: Fill) -> Unpacked:
    """Unpack a source whose content is known only after reading it; the cache does not store the same content twice.

    Args:
        kind: As for `unpack`.
        fill: Reads the source.

    Raises:
        WriteError: The cache cannot be written to.
    """
    home = _home(kind)
    with temporary_folder(home, home, REMEDY) as scratch:
        writer = Writer(scratch / "filled")
        contents = fill(writer)
        folder = home / writer.content_hash(contents)
        cached = _read(folder)
        if cached is not None:
            return cached
        _write_rows(scratch / "filled", contents)
        with whole(folder, REMEDY) as partial:
            (scratch / "filled").rename(partial)
    return _at(folder, contents)


def reopen(root: Path) -> Unpacked:
    """Open a source that was unpacked earlier.

    Args:
        root: Its `Unpacked.root`.

    Raises:
        DataNotFoundError: The folder is gone or damaged.
    """
    cached = _read(root)
    if cached is None:
        state = "is damaged" if root.is_dir() else "does not exist"
        raise DataNotFoundError(
            f"the unpacked data {root} {state}; expected {ROWS} and the pictures it lists. Open the source again "
            "(the same tfds: name, arrays or tf.data.Dataset): that writes it again."
        )
    return cached


def suffix_of(encoded: bytes) -> str:
    """The suffix for a picture file with these bytes; ".picture" if the format is unknown."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for start, suffix in _STARTS.items() if encoded.startswith(start)), ".picture")


def _home(kind: str) -> Path:
    return cache_home() / "data" / kind


def _at(root: Path, contents: Contents) -> Unpacked:
    return Unpacked(root, contents.rows, contents.classes, contents.task, contents.notes)


def _write_rows(folder: Path, contents: Contents) -> None:
    rows = [[row.path, row.target, row.split, row.text] for row in contents.rows]
    record = {"classes": contents.classes, "task": contents.task, "notes": contents.notes, "rows": rows}
    (folder / ROWS).write_text(json.dumps(record), encoding="utf-8")


def _read(folder: Path) -> Unpacked | None:
    """The unpacked source in a folder; None if it is missing or incomplete."""
    try:
        record = read_json(folder / ROWS)
        rows = tuple(_row(*values) for values in record["rows"])
        contents = Contents(rows, tuple(record["classes"]), record["task"], tuple(record["notes"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if contents.task not in [*TASKS] or not {row.path for row in rows if row.text is None} <= _files(folder):
        return None
    return _at(folder, contents)


def _row(path: str, target: Any, split: str, text: str | None) -> Row:
    target = tuple(target) if isinstance(target, list) else target
    plain = isinstance(target, str | tuple) or math.isfinite(target)
    if not plain or split not in ("", *SPLITS) or not isinstance(path, str):
        raise ValueError(path)
    return Row(path, target, split, text=text)


def _files(folder: Path) -> set[str]:
    """The existing pictures, listed folder by folder: much faster than checking each file."""
    paths = set()
    for subfolder in (folder / "pictures").iterdir() if (folder / "pictures").is_dir() else ():
        with os.scandir(subfolder) as entries:
            paths |= {f"pictures/{subfolder.name}/{entry.name}" for entry in entries}
    return paths
