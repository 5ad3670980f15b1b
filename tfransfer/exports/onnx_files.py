"""ONNX files, for ONNX Runtime and what reads its format; written by tf2onnx (extra `onnx`)."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfransfer.errors import ExportError
from tfransfer.exports.metadata import LABELS_FILE
from tfransfer.exports.rounding import Representative
from tfransfer.native_output import hidden_native_output

_OPSET = 17


def write_onnx(model: keras.Model, classes: Sequence[str], path: Path, _: Representative | None = None) -> None:
    """Write an ONNX file: `images`, uint8 (batch, size, size, 3), to `probabilities` or `values`, float32.

    The labels stand in the file's metadata, under `labels.txt`, one a line.

    Raises:
        ExportError: tf2onnx is not installed.
    """
    try:
        import onnx  # here, because it is an extra
        import tf2onnx
    except ImportError as error:
        raise ExportError(f'onnx files need tf2onnx ({error}): pip install "tfransfer[onnx]".') from error
    size, name = int(model.input_shape[1]), str(model.layers[-1].name)
    spec = [tf.TensorSpec((None, size, size, 3), tf.uint8, name="images")]
    endpoint = tf.function(
        lambda images: {name: model(tf.cast(images, tf.float32), training=False)}, input_signature=spec
    )
    with hidden_native_output():
        made, _ = tf2onnx.convert.from_function(endpoint, input_signature=spec, opset=_OPSET)
    onnx.helper.set_model_props(made, {LABELS_FILE: "".join(f"{one}\n" for one in classes)})
    onnx.save(made, str(path))
