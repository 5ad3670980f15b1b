"""ONNX files, for ONNX Runtime and other readers of the format; written by tf2onnx (extra `onnx`)."""

from collections.abc import Sequence
from pathlib import Path

import keras

from tfransfer.errors import ExportError
from tfransfer.exports.endpoints import pixels_endpoint, pixels_spec
from tfransfer.exports.metadata import LABELS_FILE
from tfransfer.exports.rounding import Representative
from tfransfer.system.files import lines
from tfransfer.system.native_output import hidden_native_output

_OPSET = 17
# What writing a file and loading it again need.
ONNX_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")


def write_onnx(model: keras.Model, classes: Sequence[str], path: Path, _: Representative | None = None) -> None:
    """Write an ONNX file: `images`, uint8 (batch, size, size, 3), to `probabilities` or `values`, float32.

    The labels are in the file's metadata under `labels.txt`, one per line.

    Raises:
        ExportError: tf2onnx is not installed.
    """
    try:
        import onnx  # an optional extra
        import tf2onnx
    except ImportError as error:
        raise ExportError(f'onnx files need tf2onnx ({error}): pip install "tfransfer[onnx]".') from error
    spec = pixels_spec(model)
    with hidden_native_output():
        converted, _ = tf2onnx.convert.from_function(pixels_endpoint(model, spec), input_signature=[spec], opset=_OPSET)
    onnx.helper.set_model_props(converted, {LABELS_FILE: lines(classes)})
    onnx.save(converted, str(path))
