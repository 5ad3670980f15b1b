"""Read the inputs of `predict`: paths, folders, arrays, PIL images or lists of these, as pixels of one size."""

from collections.abc import Callable, Iterator, Sequence
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
from tfransfer.data.sources.folder import list_pictures
from tfransfer.data.sources.picture_files import READABLE
from tfransfer.errors import DataError, DataNotFoundError


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
    """Whether this is one picture: a file path, a PIL image or an array of at most three dimensions."""
    if isinstance(given, str | Path):
        return not Path(given).is_dir()
    return isinstance(given, Image.Image) or (isinstance(given, np.ndarray) and given.ndim < 4)


def read_inputs(given: Any, size: int) -> Iterator[Picture]:
    """Read pictures of any form.

    Args:
        given: A path, a folder, a PIL image, an array (h, w), (h, w, 3 or 4) or (n, h, w, 3) in [0, 255], or a list of
            these.
        size: Side of the model's input in pixels.

    Yields:
        Each picture, readable or not.

    Raises:
        DataNotFoundError: A path does not exist.
        DataError: An array has another shape or range.
    """
    if isinstance(given, str | Path):
        yield from _from_path(Path(given), size)
    elif isinstance(given, Image.Image):
        yield Picture("0", pictures.resize(tf.constant(_upright(given)), size).numpy())
    elif hasattr(given, "__array__"):
        array = np.asarray(given)
        batch = array if array.ndim == 4 else array[np.newaxis]
        for number, one in enumerate(batch):
            yield Picture(str(number), _from_array(one, size))
    elif isinstance(given, Sequence) and not isinstance(given, bytes):
        for number, one in enumerate(given):
            for picture in read_inputs(one, size):
                yield picture if isinstance(one, str | Path) else Picture(str(number), picture.pixels)
    else:
        raise DataError(f"expected paths, PIL images or arrays of pictures; got {type(given).__name__}.")


def _from_path(path: Path, size: int) -> Iterator[Picture]:
    if not path.exists():
        raise DataNotFoundError(f"{path} does not exist.")
    if path.is_dir():
        names = list_pictures(path, unread=True)
        if not names:
            raise DataError(f"no pictures below {path}; expected {READABLE} files.")
        for name in names:
            yield _from_file(path / name, size)
    else:
        yield _from_file(path, size)


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
