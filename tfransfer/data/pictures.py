"""Decode a picture file's bytes to pixels, in the same way for training, prediction and `serve_bytes`.

The whole picture is stretched to the model's square input (bilinear with antialiasing), as phones and
`keras.utils.image_dataset_from_directory` do; nothing is cropped. A JPEG that is much larger than needed is
decoded at 1/2, 1/4 or 1/8 of its size by the JPEG decoder itself. The result is rounded to uint8.
"""

import hashlib
import io
import re
import threading
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

try:
    from pillow_heif import register_heif_opener  # the extra `heif`
except ImportError:
    pass
else:
    register_heif_opener()

JPEG_START = b"\xff\xd8\xff"
# A marker with a content. Within a scan 0xff is followed by zero or is a restart marker, neither of which ends it.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Rows that are converted at once: so few stay in the processor's cache.
_STRIP = 64
# Pillow takes up to 16 bytes a pixel for WebP: from so many pixels on, one picture at a time.
_LARGE = 16_000_000
_ONE_LARGE = threading.Lock()


def decode(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """Decode one picture and resize it.

    Args:
        encoded: Scalar string: the bytes of a JPEG, PNG or BMP file.
        size: Side of the square result, in pixels.

    Returns:
        uint8, shape (size, size, 3), RGB in [0, 255].
    """
    return resize(decode_full(encoded, size), size)


def decode_full(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """Decode one picture without resizing it, except for JPEG's own downscaling to no less than `size`.

    Args:
        encoded: Scalar string: the bytes of a JPEG, PNG or BMP file.
        size: Least side of the result in pixels, if the picture is that large.

    Returns:
        uint8, shape (height, width, 3), RGB.
    """
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), JPEG_START)
    pixels = tf.cond(is_jpeg, lambda: _decode_jpeg(encoded, size), lambda: _decode_other(encoded))
    return tf.ensure_shape(pixels, (None, None, 3))


def _decode_jpeg(encoded: tf.Tensor, size: int) -> tf.Tensor:
    shortest = tf.reduce_min(tf.image.extract_jpeg_shape(encoded)[:2])
    step = sum(tf.cast(shortest >= size * ratio, tf.int32) for ratio in (2, 4, 8))
    branches = {i: (lambda ratio=ratio: _jpeg(encoded, ratio)) for i, ratio in enumerate((1, 2, 4, 8))}
    return tf.switch_case(step, branches)


def _jpeg(encoded: tf.Tensor, ratio: int) -> tf.Tensor:
    # The accurate transform gives Pillow's pixels bit for bit; TensorFlow's default is off by up to 6 and no faster.
    return tf.image.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def decode_small(encoded: bytes) -> None:
    """Decode a whole file, at an eighth of its size where it is a JPEG, only to check that it can be decoded.

    Raises:
        tf.errors.InvalidArgumentError: It cannot.
    """
    if encoded.startswith(JPEG_START):
        _jpeg(tf.constant(encoded), 8)
    else:
        _decode_other(tf.constant(encoded))


def resize(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Stretch a picture to a square.

    Args:
        pixels: uint8 or float32, shape (..., height, width, 3), in [0, 255].
        size: Side of the square result, in pixels.

    Returns:
        uint8, shape (..., size, size, 3).
    """
    resized = tf.image.resize(pixels, (size, size), method="bilinear", antialias=True)
    return to_uint8(resized)


def to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Round float pixels to uint8 in [0, 255]."""
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0.0, 255.0), tf.uint8)


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Apply an EXIF orientation.

    Args:
        pixels: Shape (height, width, 3), any dtype.
        orientation: Scalar int32, the EXIF tag's value, 1 to 8.

    Returns:
        The picture as its photographer saw it; height and width are swapped for orientations 5 to 8.
    """
    turns = [
        lambda: pixels,
        lambda: pixels[:, ::-1],
        lambda: pixels[::-1, ::-1],
        lambda: pixels[::-1],
        lambda: tf.transpose(pixels, (1, 0, 2)),
        lambda: tf.transpose(pixels[::-1], (1, 0, 2)),
        lambda: tf.transpose(pixels[::-1, ::-1], (1, 0, 2)),
        lambda: tf.transpose(pixels[:, ::-1], (1, 0, 2)),
    ]
    return tf.ensure_shape(tf.switch_case(orientation - 1, dict(enumerate(turns))), (None, None, 3))


def as_rgb(picture: Image.Image) -> np.ndarray:
    """The pixels of a Pillow picture's first frame, in any colour mode.

    Transparency is dropped, 16-bit grey is scaled to 8 bits, as are floats in [0, 1]. EXIF orientation is not applied.

    Returns:
        uint8, shape (height, width, 3), RGB.
    """
    if picture.mode.startswith("I;16"):
        grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    if picture.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
        highest = values.max(initial=0)
        scale = 257.0 if highest > 255 else 1 / 255 if picture.mode == "F" and highest <= 1 else 1.0
        return np.stack([np.clip(values / scale, 0, 255).astype(np.uint8)] * 3, axis=-1)
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    for top in range(0, picture.height, _STRIP):  # converting the whole at once would take two more copies of it
        bottom = min(top + _STRIP, picture.height)
        pixels[top:bottom] = np.asarray(picture.crop((0, top, picture.width, bottom)).convert("RGB"))
    return pixels


def through_pillow(encoded: bytes) -> np.ndarray:
    """Decode any picture that Pillow supports (GIF, WebP, TIFF, ...): uint8, shape (height, width, 3), RGB."""
    with Image.open(io.BytesIO(encoded)) as picture:
        if picture.width * picture.height < _LARGE:
            return as_rgb(picture)
        with _ONE_LARGE:
            return as_rgb(picture)


def decode_any(encoded: tf.Tensor, size: int, pillow: Any) -> tf.Tensor:
    """As `decode_full`, in a tf.data pipeline where some files are for Pillow.

    Args:
        encoded: Scalar string: the bytes of a file.
        size: As for `decode_full`.
        pillow: Scalar bool tensor: whether Pillow decodes it.
    """
    by_pillow = lambda: tf.numpy_function(lambda given: through_pillow(_bytes(given)), [encoded], tf.uint8)  # noqa: E731
    return tf.ensure_shape(tf.cond(pillow, by_pillow, lambda: decode_full(encoded, size)), (None, None, 3))


def scans_of(encoded: bytes, most: int) -> int:
    """The number of a JPEG's scans, each of which goes over the whole picture; counting ends at `most`.

    An ordinary JPEG has one, a progressive one about ten. A scan of a few bytes costs the decoder as much as any other.
    """
    scans, at = 0, 2
    while scans < most and (marker := _MARKER.search(encoded, at)):
        code, at = encoded[marker.end() - 1], marker.end()
        if code == _END_OF_IMAGE:
            break
        scans += code == _START_OF_SCAN
        at += int.from_bytes(encoded[at : at + 2], "big")  # its header or content, which may hold any bytes
    return scans


def content_hash(encoded: bytes) -> str:
    """The name of a file's content: BLAKE2b of its bytes, 128 bits in hexadecimal."""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def has_content(encoded: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """In a tf.data pipeline: whether a file's bytes have a `content_hash`, all of them scalars."""
    return tf.ensure_shape(tf.numpy_function(_has_content, [encoded, content], tf.bool), ())


def _has_content(encoded: bytes | np.ndarray, content: bytes | np.ndarray) -> bool:
    return content_hash(_bytes(encoded)) == _bytes(content).decode()


def _bytes(given: bytes | np.ndarray) -> bytes:
    """A string for tf.numpy_function, which passes bytes in a pipeline and an array of one object outside it."""
    return given if isinstance(given, bytes) else given.item()
