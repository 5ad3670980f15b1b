"""LiteRT (TFLite) files in float32, float16 and integers; they take pixels in [0, 255] and contain the labels.

The converter folds BatchNormalization into the convolutions. Google's "LiteRT post-training quantization" describes how
the kinds differ in weights and activations.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.saved import temporary_saved_model
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
    """Settings of the converter.

    Attributes:
        pixels: Type of the model's input before quantization: uint8 pixels are cast in the graph.
        optimize: Whether weights are quantized.
        types: Types of the weights; empty leaves the choice to the converter.
        ops: Kernels that it may use; empty leaves the choice to the converter.
        ends: Type of input and output of a fully quantized file; None leaves float32.
    """

    pixels: Any = tf.uint8
    optimize: bool = True
    types: tuple[Any, ...] = ()
    ops: tuple[Any, ...] = ()
    ends: Any = None

    @property
    def least_rounded(self) -> float:
        """Smallest number of weights in a kernel that becomes 8-bit integers; infinity if none does.

        Without calibration the converter leaves smaller kernels as floats, so these should not be rounded.
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
    """A writer of one kind of file, with input (1, size, size, 3) and output (1, classes)."""

    def write(model: keras.Model, classes: Sequence[str], path: Path, representative: Representative | None) -> None:
        path.write_bytes(convert(model, kind, representative))
        metadata.pack(path, classes, output_name(model))

    return write


def convert(model: keras.Model, kind: Quantization, representative: Representative | None = None) -> bytes:
    """Convert a model to the content of a LiteRT file, without labels.

    Args:
        model: float32 pixels (batch, size, size, 3) to probabilities or values.
        kind: The kind of file.
        representative: Training pictures to calibrate activations and to round 8-bit weights; optional if the kind
            needs no calibration.
    """
    kernels = () if representative is None or kind.least_rounded == math.inf else representative.kernels
    with rounding.temporary_kernels([kernel for kernel in kernels if kernel[1].size >= kind.least_rounded]):
        return _converted(model, kind, representative)


def _converted(model: keras.Model, kind: Quantization, representative: Representative | None) -> bytes:
    endpoint = pixels_endpoint(model, pixels_spec(model, 1, kind.pixels))
    with (
        hidden_native_output(),
        warnings.catch_warnings(),
        temporary_saved_model(model, {_SIGNATURE: endpoint}) as folder,
    ):
        warnings.simplefilter("ignore")  # the calibrator triggers a deprecation warning of its own interpreter
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
