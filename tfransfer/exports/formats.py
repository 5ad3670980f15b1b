"""The formats and their writers: `.keras`, SavedModel, LiteRT, ONNX; pixels in [0, 255] to probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfransfer.base.preprocessing import reads_text
from tfransfer.base.saved import save_endpoints
from tfransfer.data import pictures
from tfransfer.errors import SettingError, did_you_mean
from tfransfer.exports import litert
from tfransfer.exports.endpoints import output_name, pixels_endpoint, pixels_spec
from tfransfer.exports.litert import Writer
from tfransfer.exports.metadata import LABELS_FILE
from tfransfer.exports.onnx_files import ONNX_PACKAGES, write_onnx
from tfransfer.exports.rounding import Representative
from tfransfer.exports.warmup import write_warmup
from tfransfer.system.extras import require_packages
from tfransfer.system.files import lines

PIXELS_SIGNATURE, BYTES_SIGNATURE = "serving_default", "serve_bytes"


@dataclass(frozen=True)
class Format:
    """One kind of export.

    Attributes:
        name: Its name, as for `--to`.
        file: Name of the file or folder in the run's folder.
        write: Writes the file, from a model, class names and a path.
        tolerance: Largest difference of a probability that rounding explains.
        margin: How far apart the two best classes must be for top-1 to be required to agree.
        texts: Whether it supports models that take texts.
        exact: Whether it differs from the model by rounding alone; for others, accuracy shows the loss.
        calibrated: Whether writing it needs training pictures, to calibrate activations.
        reader: What replays it: "keras", "savedmodel", "onnx" or "tflite".
        packages: Optional packages that writing and replaying it need, of an extra with its name.
    """

    name: str
    file: str
    write: Writer
    tolerance: float = 1e-3
    margin: float = 1e-5
    texts: bool = True
    _: KW_ONLY
    exact: bool = True
    calibrated: bool = False
    reader: str = "tflite"
    packages: tuple[str, ...] = ()


def write_keras(model: keras.Model, classes: Sequence[str], path: Path, _: Representative | None = None) -> None:
    """Write a `.keras` file, which takes float32 pixels and loads in plain Keras."""
    model.save(path)


def write_saved_model(model: keras.Model, classes: Sequence[str], path: Path, _: Representative | None = None) -> None:
    """Write a SavedModel with two signatures; labels and TensorFlow Serving's warm-up requests are in `assets.extra`.

    `serving_default` takes `images`, uint8 (batch, size, size, 3); `serve_bytes` takes `encoded`, strings (batch,) with
    JPEG, PNG, BMP or GIF files of any size, resized as in training. Both return `probabilities` (for a regression:
    `values`), float32 (batch, classes). EXIF orientation is not applied to encoded pictures, because a graph cannot
    read it. For a model that takes texts, `serving_default` takes `text`, strings (batch,), and is the only signature.
    """
    endpoints = _text_endpoints(model) if reads_text(model) else _picture_endpoints(model)
    save_endpoints(model, endpoints, path)
    extra = path / "assets.extra"
    extra.mkdir()
    write_warmup(endpoints, extra)
    (extra / LABELS_FILE).write_text(lines(classes), encoding="utf-8")


def _text_endpoints(model: keras.Model) -> dict[str, Any]:
    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name(model): model(text, training=False)}

    return {PIXELS_SIGNATURE: tf.function(serve, input_signature=[tf.TensorSpec((None,), tf.string, name="text")])}


def _picture_endpoints(model: keras.Model) -> dict[str, Any]:
    size = int(model.input_shape[1])
    encoded = tf.TensorSpec((None,), tf.string, name="encoded")
    return {
        PIXELS_SIGNATURE: pixels_endpoint(model, pixels_spec(model)),
        BYTES_SIGNATURE: tf.function(_bytes_function(model, size), input_signature=[encoded]),
    }


def _bytes_function(model: keras.Model, size: int) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    def serve(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec((size, size, 3), tf.uint8)
        images = tf.map_fn(lambda one: pictures.decode(one, size), encoded, fn_output_signature=spec)
        return {output_name(model): model(tf.cast(images, tf.float32), training=False)}

    return serve


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("keras", "model.keras", write_keras, reader="keras"),
        Format("savedmodel", "saved_model", write_saved_model, reader="savedmodel"),
        Format("onnx", "model.onnx", write_onnx, texts=False, reader="onnx", packages=ONNX_PACKAGES),
        Format("tflite", "model.tflite", litert.writer(litert.FLOAT32), texts=False),
        Format("tflite-fp16", "model_fp16.tflite", litert.writer(litert.FLOAT16), 0.1, 0.05, texts=False),
        Format("tflite-dynamic", "model_dynamic.tflite", litert.writer(litert.DYNAMIC), texts=False, exact=False),
        Format(
            "tflite-int8", "model_int8.tflite", litert.writer(litert.INT8), texts=False, exact=False, calibrated=True
        ),
        Format(
            "tflite-int16x8", "model_int16x8.tflite", litert.writer(litert.INT16X8), texts=False, exact=False,
            calibrated=True,
        ),
    )
}  # fmt: skip


# Formats tried for a budget. Without int16x8, whose kernels are slow on chips without special support.
TRIED = ("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8")


def require_formats(names: Sequence[str], texts: bool = False) -> None:
    """Check that formats exist and support the model's input.

    Raises:
        SettingError: One does not exist, does not support models that take texts, or needs a missing package.
    """
    for name in names:
        if texts and not find_format(name).texts:
            raise SettingError(f"{name} does not support models that take texts; export to keras or savedmodel.")
        require_packages(find_format(name).packages, name, name)


def find_format(name: str) -> Format:
    """The record of a format.

    Raises:
        SettingError: No format has this name.
    """
    if name not in FORMATS:
        raise SettingError(f"unknown format {name!r}; available are {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def saved_size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
