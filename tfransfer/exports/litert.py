"""LiteRT (TFLite) files: float32, float16, and quantized to integers. Pixels in [0, 255] go in, labels are packed in.

The converter folds BatchNormalization into the convolutions. How the kinds differ, in weights and in activations, is
described in Google's "LiteRT post-training quantization".
"""

import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.saved import save_endpoints
from tfransfer.exports import metadata, rounding
from tfransfer.exports.endpoints import output_name, pixels_endpoint, pixels_spec
from tfransfer.exports.rounding import Representative
from tfransfer.system.native_output import hidden_native_output

Writer = Callable[[keras.Model, Sequence[str], Path, Representative | None], None]
_SIGNATURE = "serving_default"
_Ops = tf.lite.OpsSet
# The converter's own limit, see "minimum number of elements" in TensorFlow's quantize_weights.
_LEAST_WITHOUT_RANGES = 1024


@dataclass(frozen=True)
class Quantization:
    """How the converter is set.

    Attributes:
        pixels: Type of the model's input before quantization: uint8 pixels are cast in the graph.
        optimize: Whether weights shrink.
        types: Weights' types, where the converter should not choose.
        ops: Which kernels it may use; empty leaves that to the converter.
        ends: Type of input and output of a fully quantized file; None leaves float32.
    """

    pixels: Any = tf.uint8
    optimize: bool = True
    types: tuple[Any, ...] = ()
    ops: tuple[Any, ...] = ()
    ends: Any = None

    @property
    def least_rounded(self) -> float:
        """How many weights a kernel must have at least to become 8-bit integers; infinity where none does.

        Without ranges of activations the converter leaves smaller ones as floats, which are better not rounded.
        """
        if not self.optimize or self.types:
            return math.inf
        return 0 if self.ops else _LEAST_WITHOUT_RANGES


FLOAT32 = Quantization(optimize=False)
FLOAT16 = Quantization(types=(tf.float16,))
DYNAMIC = Quantization()
INT8 = Quantization(pixels=tf.float32, ops=(_Ops.TFLITE_BUILTINS_INT8,), ends=tf.uint8)
INT16X8 = Quantization(
    pixels=tf.float32, ops=(_Ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, _Ops.TFLITE_BUILTINS)
)


def writer(kind: Quantization) -> Writer:
    """What writes a file of a kind: input (1, size, size, 3), output (1, classes)."""

    def write(model: keras.Model, classes: Sequence[str], path: Path, representative: Representative | None) -> None:
        path.write_bytes(convert(model, kind, representative))
        metadata.pack(path, classes, output_name(model))

    return write


def convert(model: keras.Model, kind: Quantization, representative: Representative | None = None) -> bytes:
    """A model as a LiteRT file's content, without labels.

    Args:
        model: float32 pixels (batch, size, size, 3) to probabilities or values.
        kind: Which file.
        representative: From whose pictures ranges of activations are read, and by which 8-bit weights are rounded; a
            file that needs no ranges can do without.
    """
    kernels = () if representative is None or kind.least_rounded == math.inf else representative.kernels
    with rounding.holding([one for one in kernels if one[1].size >= kind.least_rounded]):
        return _converted(model, kind, representative)


def _converted(model: keras.Model, kind: Quantization, representative: Representative | None) -> bytes:
    endpoint = pixels_endpoint(model, pixels_spec(model, 1, kind.pixels))
    with tempfile.TemporaryDirectory() as folder, hidden_native_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the calibrator warns of an interpreter that it uses itself
        save_endpoints(model, {_SIGNATURE: endpoint}, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_SIGNATURE])
        _set(converter, kind, representative)
        return bytes(converter.convert())


def _set(converter: Any, kind: Quantization, representative: Representative | None) -> None:
    if kind.optimize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind.types:
        converter.target_spec.supported_types = list(kind.types)
    if not kind.ops:
        return
    if representative is None:
        raise ValueError("pictures are needed to calibrate the activations")
    converter.target_spec.supported_ops = list(kind.ops)
    converter.representative_dataset = lambda: _one_by_one(representative.pictures, kind.pixels.as_numpy_dtype)
    if kind.ends is not None:
        converter.inference_input_type = converter.inference_output_type = kind.ends


def _one_by_one(pictures: np.ndarray, dtype: Any) -> Iterator[dict[str, np.ndarray]]:
    for picture in pictures:
        yield {"images": picture[np.newaxis].astype(dtype)}
