"""How each format is written: `.keras`, SavedModel, LiteRT. Pixels in [0, 255] go in, probabilities come out."""

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfransfer.base.preprocessing import reads_text
from tfransfer.base.saved import save_endpoints
from tfransfer.data import pictures
from tfransfer.errors import SettingError, did_you_mean
from tfransfer.exports.warmup import write_warmup

LABELS_FILE = "labels.txt"
PIXELS_SIGNATURE, BYTES_SIGNATURE = "serving_default", "serve_bytes"


@dataclass(frozen=True)
class Format:
    """One kind of export.

    Attributes:
        name: What `--to` takes.
        file: Name of the file or folder in the run's folder.
        write: From a model, class names and a path.
        tolerance: Largest difference of a probability that rounding explains.
        margin: How far apart the two best classes must be for top-1 to be held equal.
        texts: Whether a model that takes texts can be written so.
    """

    name: str
    file: str
    write: Callable[[keras.Model, Sequence[str], Path], None]
    tolerance: float = 1e-3
    margin: float = 1e-5
    texts: bool = True


def write_keras(model: keras.Model, classes: Sequence[str], path: Path) -> None:
    """Write a `.keras` file: float32 pixels in; loads in plain Keras."""
    model.save(path)


def write_saved_model(model: keras.Model, classes: Sequence[str], path: Path) -> None:
    """Write a SavedModel with two signatures; labels and TensorFlow Serving's warm-up stand in `assets.extra`.

    `serving_default` takes `images`, uint8 (batch, size, size, 3); `serve_bytes` takes `encoded`, strings (batch,) with
    JPEG, PNG, BMP or GIF files of any size, resized as in training. Both give `probabilities` (of a regression:
    `values`), float32 (batch, classes). EXIF orientation is not applied to encoded pictures: a graph cannot read it.
    Of a model that takes texts, `serving_default` takes `text`, strings (batch,), and there is no other signature.
    """
    endpoints = _text_endpoints(model) if reads_text(model) else _picture_endpoints(model)
    save_endpoints(model, endpoints, path)
    extra = path / "assets.extra"
    extra.mkdir()
    write_warmup(endpoints, extra)
    (extra / LABELS_FILE).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def output_name(model: keras.Model) -> str:
    """What a model's output is called: "probabilities" or "values"."""
    return str(model.layers[-1].name)


def _text_endpoints(model: keras.Model) -> dict[str, Any]:
    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name(model): model(text, training=False)}

    return {PIXELS_SIGNATURE: tf.function(serve, input_signature=[tf.TensorSpec((None,), tf.string, name="text")])}


def _picture_endpoints(model: keras.Model) -> dict[str, Any]:
    size = int(model.input_shape[1])
    pixels = tf.TensorSpec((None, size, size, 3), tf.uint8, name="images")
    encoded = tf.TensorSpec((None,), tf.string, name="encoded")
    return {
        PIXELS_SIGNATURE: tf.function(_pixels_function(model), input_signature=[pixels]),
        BYTES_SIGNATURE: tf.function(_bytes_function(model, size), input_signature=[encoded]),
    }


def _pixels_function(model: keras.Model) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name(model): model(tf.cast(images, tf.float32), training=False)}

    return serve


def _bytes_function(model: keras.Model, size: int) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    def serve(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec((size, size, 3), tf.uint8)
        images = tf.map_fn(lambda one: pictures.decode(one, size), encoded, fn_output_signature=spec)
        return {output_name(model): model(tf.cast(images, tf.float32), training=False)}

    return serve


def write_tflite(model: keras.Model, classes: Sequence[str], path: Path) -> None:
    """Write a LiteRT file: uint8 (1, size, size, 3) in, float32 probabilities (1, classes) out, labels packed in.

    The labels are appended as a zip archive with `labels.txt`, which interpreters ignore and MediaPipe Tasks read.
    """
    size = int(model.input_shape[1])
    with tempfile.TemporaryDirectory() as folder:
        spec = tf.TensorSpec((1, size, size, 3), tf.uint8, name="images")
        endpoint = tf.function(_pixels_function(model), input_signature=[spec])
        save_endpoints(model, {PIXELS_SIGNATURE: endpoint}, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[PIXELS_SIGNATURE])
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(LABELS_FILE, "".join(f"{name}\n" for name in classes))


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("keras", "model.keras", write_keras),
        Format("savedmodel", "saved_model", write_saved_model),
        Format("tflite", "model.tflite", write_tflite, texts=False),
    )
}


def require_formats(names: Sequence[str], texts: bool = False) -> None:
    """See that formats are known, and fit what the model takes.

    Raises:
        SettingError: One is not, or cannot hold a model that takes texts.
    """
    for name in names:
        if texts and not find_format(name).texts:
            raise SettingError(f"{name} cannot hold a model that takes texts; export it to keras or savedmodel.")
        find_format(name)


def find_format(name: str) -> Format:
    """The record of a format.

    Raises:
        SettingError: There is none of this name.
    """
    if name not in FORMATS:
        raise SettingError(
            f"no format is called {name!r}; there are {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}"
        )
    return FORMATS[name]


def saved_size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
