"""Read the inputs of `predict` for a model of pictures, of whatever form, as pixels of one size."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from tfransfer.data import pictures
from tfransfer.data.health import audit
from tfransfer.data.index import Issue
from tfransfer.data.pixel_range import pixel_range_error
from tfransfer.data.sources.arrays import examples_of, is_tf_dataset
from tfransfer.data.sources.folder import list_pictures
from tfransfer.data.sources.kinds import TABLE_SUFFIXES, is_frame
from tfransfer.data.sources.picture_files import READABLE
from tfransfer.data.sources.table import PATHS, Columns, read_lines
from tfransfer.errors import DataError, DataNotFoundError

_EXPECTED = "expected paths, PIL images, encoded pictures or arrays of pixels"


@dataclass(frozen=True)
class Picture:
    """One picture to predict.

    Attributes:
        name: Its path, or its number in the list for a picture in memory.
        pixels: uint8, shape (size, size, 3); None if it cannot be read.
        issue: Why it cannot be read.
    """

    name: str
    pixels: np.ndarray | None
    issue: Issue | None = None


def is_single(given: Any) -> bool:
    """Whether this is one picture: a file's path, a PIL image, an encoded picture or an array (h, w) or (h, w, c)."""
    if isinstance(given, str | os.PathLike):
        return not (Path(given).is_dir() or _is_table(Path(given)))
    if isinstance(given, Image.Image | bytes | bytearray | memoryview) or hasattr(given, "read"):
        return True
    if is_frame(given) or not hasattr(given, "__array__"):
        return False
    array = np.asarray(given)
    return array.ndim < (1 if array.dtype.kind in _OBJECTS else 4)


# Kinds of arrays that hold paths or pictures, and not their pixels.
_OBJECTS = "OUS"


def read_inputs(given: Any, size: int, columns: Columns | None = None) -> Iterator[Picture]:
    """Read pictures of any form, one at a time and in order.

    Args:
        given: The path of a picture, a folder (its pictures at any depth, sorted) or a table of paths; a PIL image; an
            encoded picture, as bytes or an open file; an array (h, w), (h, w, 1, 3 or 4) or (n, h, w, 3) in [0, 255];
            a DataFrame; a tf.data.Dataset, with or without labels; or several of these: a list, a Series, an array of
            paths, a generator.
        size: Side of the model's input in pixels.
        columns: The columns of the model's training data: a table has the same column of paths, or a usual name.

    Yields:
        Each picture, readable or not.

    Raises:
        DataNotFoundError: A path does not exist.
        DataError: An array has another shape or range, a table has no column of paths, or it is something else.
    """
    if isinstance(given, str | os.PathLike):
        for file in files_at(Path(given), columns):
            yield _from_file(file, size)
    elif isinstance(given, Image.Image):
        yield Picture("0", pictures.resize(tf.constant(_upright(given)), size).numpy())
    elif isinstance(given, bytes | bytearray | memoryview):
        yield read_encoded(bytes(given), "0", size)
    elif hasattr(given, "read"):
        yield read_encoded(_content(given), "0", size)
    elif is_frame(given):
        column = _path_column(list(given.columns), columns, "the DataFrame")
        yield from _several(given[column].tolist(), size, columns)
    elif is_tf_dataset(given) and not isinstance(given, Mapping):
        yield from _several(map(_path_or_encoded, examples_of(given, "image")), size, columns)
    elif hasattr(given, "__array__"):
        yield from _in_array(np.asarray(given), size, columns)
    elif isinstance(given, Iterable) and not isinstance(given, Mapping | Set):
        yield from _several(given, size, columns)
    else:
        raise DataError(f"{_EXPECTED}; got {type(given).__name__}.")


def _in_array(array: np.ndarray, size: int, columns: Columns | None) -> Iterator[Picture]:
    if array.dtype.kind in _OBJECTS:
        held = array.tolist()
        if array.dtype.kind == "S":
            held = list(map(_path_or_encoded, held)) if array.ndim else _path_or_encoded(held)
        yield from read_inputs(held, size, columns)
        return
    for number, one in enumerate(array if array.ndim == 4 else array[np.newaxis]):
        yield Picture(str(number), _from_array(one, size))


def _several(given: Iterable[Any], size: int, columns: Columns | None) -> Iterator[Picture]:
    for number, one in enumerate(given):
        if one is None or isinstance(one, int | float):
            raise DataError(f"{_EXPECTED}; number {number + 1} is {one!r}.")
        for picture in read_inputs(one, size, columns):
            yield picture if isinstance(one, str | os.PathLike) else replace(picture, name=str(number))


def _path_or_encoded(given: Any) -> Any:
    """TensorFlow and NumPy keep both paths and files as bytes: no file of a picture is text, and a path is."""
    if not isinstance(given, bytes):
        return given
    try:
        return given.decode()
    except UnicodeDecodeError:
        return given


def _content(file: Any) -> bytes:
    """All bytes of an open file, wherever it was left; its place is restored."""
    place = file.tell() if hasattr(file, "seekable") and file.seekable() else None
    if place is not None:
        file.seek(0)
    content = file.read()
    if place is not None:
        file.seek(place)
    if not isinstance(content, bytes):
        raise DataError(
            f"a file with a picture must be opened in binary mode ('rb'); this one gives {type(content).__name__}."
        )
    return content


def files_at(path: Path, columns: Columns | None = None) -> list[Path]:
    """The pictures' files that a path stands for: itself, those in a folder, or those listed in a table.

    Args:
        path: A file, a folder or a table (.csv, .tsv), whose paths are relative to it.
        columns: As for `read_inputs`.

    Raises:
        DataNotFoundError: It does not exist.
        DataError: There are no pictures in it, or no column of paths.
    """
    if not path.exists():
        raise DataNotFoundError(f"{path} does not exist.")
    if path.is_dir():
        names = list_pictures(path, unread=True)
        if not names:
            raise DataError(f"no pictures below {path}; expected {READABLE} files.")
        return [path / name for name in names]
    if not _is_table(path):
        return [path]
    lines = read_lines(path, bool(columns and columns.path and columns.path.isdigit()))
    if not lines:
        raise DataError(f"the table {path} has no lines below its header.")
    column = _path_column(list(lines[0].cells), columns, str(path))
    return [path.parent / line.cells[column].strip() for line in lines]


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLE_SUFFIXES


def _path_column(known: Sequence[Any], columns: Columns | None, name: str) -> Any:
    """The column of paths: the one of the model's training data, or one with a usual name."""
    if columns and columns.path in known:
        return columns.path
    lower = {str(column).lower(): column for column in reversed(known)}
    found = next((lower[usual] for usual in PATHS if usual in lower), None)
    if found is None:
        wanted = (columns and columns.path) or PATHS[0]
        raise DataError(
            f"{name} has the columns {', '.join(map(str, known))}: which has the pictures? Name that one {wanted!r}."
        )
    return found


def _from_file(path: Path, size: int) -> Picture:
    encoded = audit.read_file(path.parent, path.name)
    if isinstance(encoded, Issue):
        return Picture(str(path), None, encoded)
    return replace(read_encoded(encoded, path.name, size), name=str(path))


def _free(work: float) -> None:
    """No limit on the work of decoding."""


def read_encoded(
    encoded: bytes,
    name: str,
    size: int,
    max_pixels: int = audit.MAX_PIXELS,
    spend: Callable[[float], None] = _free,
) -> Picture:
    """Read a picture file in memory, just like a file on disk.

    Args:
        encoded: The file's bytes.
        name: Its name in the result.
        size: Side of the model's input in pixels.
        max_pixels: A larger picture is refused by its header, before it is decoded.
        spend: Called with the work of decoding it, see `audit.Header.work`, before that is done; raises to refuse it.
    """
    if not encoded:
        return Picture(name, None, Issue(name, "empty", "it has zero bytes"))
    header = audit.read_header(encoded, name, max_pixels)
    if isinstance(header, Issue):
        return Picture(name, None, header)
    pixels = audit.decoded(encoded, name, header, size, spend)
    if isinstance(pixels, Issue):
        return Picture(name, None, pixels)
    orientation = audit.orientation_of(encoded, header)
    upright = pictures.turn_upright(tf.constant(pixels), tf.constant(orientation)) if orientation > 1 else pixels
    return Picture(name, pictures.resize(upright, size).numpy())


def _upright(picture: Image.Image) -> np.ndarray:
    return pictures.as_rgb(ImageOps.exif_transpose(picture) or picture)


def _from_array(array: np.ndarray, size: int) -> np.ndarray:
    if array.ndim == 2:
        array = np.stack([array] * 3, axis=-1)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise DataError(f"expected a picture of shape (height, width, 3); got {array.shape}.")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]
    if array.dtype != np.uint8:
        array = array.astype(np.float32)
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > 255 or 0 < high <= 1:
            raise pixel_range_error(low, high)
    return pictures.resize(tf.constant(array), size).numpy()
