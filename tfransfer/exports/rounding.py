"""GPTQ-style int8 rounding: later weights compensate earlier errors.

The converter rounds each weight to the nearest of 255 steps of its output channel, and over fifty small convolutions
the errors add up. Here the rounding is chosen so that a convolution's outputs on real pictures change least. The
converter leaves weights rounded this way unchanged, because they lie on its own grid. Source: E. Frantar and D.
Alistarh, "Optimal Brain Compression", NeurIPS 2022, with the order and the Cholesky factor of E. Frantar et al.,
"GPTQ", ICLR 2023.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from tfransfer.data.sampling import spread_over

# Variables of a model, and their values on the integer grid.
Kernels = Sequence[tuple[Any, np.ndarray]]

_STEPS = 127
_PICTURES, _BATCH = 64, 16
# Positions per picture at which a convolution's input is sampled.
_POSITIONS = 64
# Kernels with more inputs are left to the converter: inverting their moments would take minutes.
_WIDEST = 2400
# Share of the mean of the moments' diagonal that is added to it, as in GPTQ.
_DAMPING = 0.01
# Errors are propagated input by input within a block of this size, and then to all later inputs in one product.
_BLOCK = 128


class Representative:
    """Training pictures for a model's quantized files, and the rounded kernels, computed once for all files.

    Attributes:
        model: float32 pixels (batch, size, size, 3) to probabilities or values.
        pictures: uint8 (n, size, size, 3).
    """

    def __init__(self, model: keras.Model, pictures: np.ndarray):
        self.model = model
        self.pictures = pictures

    @cached_property
    def kernels(self) -> Kernels:
        """The model's kernels on the integer grid; see `rounded_kernels`."""
        return rounded_kernels(self.model, self.pictures)


def rounded_kernels(model: keras.Model, pictures: np.ndarray) -> Kernels:
    """Round the kernels of a model's convolutions so that their outputs change least.

    Args:
        model: As for `Representative`. Convolutions inside a TF-Hub module, which Keras does not see, are skipped.
        pictures: uint8 (n, size, size, 3), like those that the model will see.

    Returns:
        Kernel variables and their rounded values. The largest weight of each output channel is unchanged.
    """
    layers = [layer for layer in model._flatten_layers() if _is_rounded(layer)]
    moments: dict[int, np.ndarray] = {}
    rng = np.random.default_rng(0)

    def record(layer: Any, inputs: Any) -> None:
        moments[id(layer)] = moments.get(id(layer), 0) + _moments(layer, np.asarray(inputs), rng)

    sample = pictures[spread_over(len(pictures), _PICTURES)]
    with _recorded(layers, record):
        for first in range(0, len(sample), _BATCH):
            model(sample[first : first + _BATCH].astype(np.float32), training=False)
    return [(layer.kernel, _rounded_kernel(layer, moments[id(layer)])) for layer in layers if id(layer) in moments]


@contextmanager
def temporary_kernels(kernels: Kernels) -> Iterator[None]:
    """Replace kernels of a model within a `with` block."""
    before = [(variable, np.array(keras.ops.convert_to_numpy(variable))) for variable, _ in kernels]
    try:
        for variable, values in kernels:
            variable.assign(values)
        yield
    finally:
        for variable, values in before:
            variable.assign(values)


def _is_rounded(layer: Any) -> bool:
    if type(layer) is keras.layers.DepthwiseConv2D:
        return layer.data_format == "channels_last"
    if type(layer) is not keras.layers.Conv2D:
        return False
    return layer.data_format == "channels_last" and layer.groups == 1 and np.prod(layer.kernel.shape[:3]) <= _WIDEST


@contextmanager
def _recorded(layers: Sequence[Any], record: Callable[[Any, Any], None]) -> Iterator[None]:
    """Pass each layer's inputs to `record` while the model is called."""
    for layer in layers:
        layer.call = partial(_recording_call, layer, layer.call, record)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _recording_call(
    layer: Any, call: Any, record: Callable[[Any, Any], None], inputs: Any, *args: Any, **kwargs: Any
) -> Any:
    record(layer, inputs)
    return call(inputs, *args, **kwargs)


def _moments(layer: Any, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Products of a convolution's inputs, summed over sampled positions.

    Returns:
        Shape (groups, n, n): one group with n = height x width x channels, or for a depthwise convolution one group per
        channel.
    """
    patches = _patches(layer, inputs, rng)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        flat = patches.reshape(len(patches), -1, patches.shape[-1]).transpose(2, 1, 0)
    else:
        flat = patches.reshape(1, len(patches), -1).transpose(0, 2, 1)
    return np.asarray(flat @ flat.transpose(0, 2, 1), np.float64)


def _patches(layer: Any, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Input patches under the kernel at sampled positions: (positions, height, width, channels)."""
    steps = [np.arange(size) * by for size, by in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    if layer.padding == "same":
        around = [(int(step[-1]) // 2, int(step[-1]) - int(step[-1]) // 2) for step in steps]
        inputs = np.pad(inputs, ((0, 0), *around, (0, 0)))
    count = _POSITIONS * len(inputs)
    picture = rng.integers(0, len(inputs), count)
    row, column = (
        rng.integers(0, max(1, side - int(step[-1])), count)
        for side, step in zip(inputs.shape[1:3], steps, strict=True)
    )
    rows, columns = row[:, None, None] + steps[0][:, None], column[:, None, None] + steps[1]
    return np.asarray(inputs[picture[:, None, None], rows, columns])


def _rounded_kernel(layer: Any, moments: np.ndarray) -> np.ndarray:
    kernel = np.array(keras.ops.convert_to_numpy(layer.kernel))
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        weights = kernel.reshape(-1, *kernel.shape[2:]).transpose(1, 0, 2)
        return rounded(weights, moments).transpose(1, 0, 2).reshape(kernel.shape).astype(np.float32)
    return rounded(kernel.reshape(1, -1, kernel.shape[-1]), moments).reshape(kernel.shape).astype(np.float32)


def rounded(weights: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Round weights input by input; the remaining weights of each output compensate the errors.

    Args:
        weights: Shape (groups, n, outputs).
        moments: Sums of products of inputs, shape (groups, n, n), positive semi-definite.

    Returns:
        float64 (groups, n, outputs): integers in [-127, 127] times a step for each output. The step is 1/127 of the
        largest weight, which is unchanged.
    """
    groups, count, _ = weights.shape
    # The most important inputs are rounded first, while most weights are left to compensate their errors.
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
    group = np.arange(groups)[:, None]
    ordered = weights[group, order].astype(np.float64)
    remaining = ordered.copy()
    # The converter derives each output's step from its largest weight. Changing that weight would change the grid, and
    # all weights would be rounded once more.
    largest = np.abs(remaining).argmax(axis=1)
    step = np.abs(remaining).max(axis=1) / _STEPS
    step[step == 0] = 1
    factor = _factor(moments[group[:, :, None], order[:, :, None], order[:, None, :]])
    rounded_weights = np.empty_like(remaining)
    # Every error changes all later weights. Within a block this is applied at once, because the next input needs it;
    # beyond the block the errors are accumulated for one matrix product, which is much faster than one per input.
    for first in range(0, count, _BLOCK):
        block = range(first, min(first + _BLOCK, count))
        errors = np.empty((groups, len(block), remaining.shape[2]))
        for i in block:
            nearest = np.clip(np.round(remaining[:, i] / step), -_STEPS, _STEPS) * step
            rounded_weights[:, i] = np.where(largest == i, ordered[:, i], nearest)
            errors[:, i - first] = (remaining[:, i] - rounded_weights[:, i]) / factor[:, i, i, None]
            inside = slice(i + 1, block.stop)
            remaining[:, inside] -= factor[:, i, inside, None] * errors[:, None, i - first]
        remaining[:, block.stop :] -= factor[:, first : block.stop, block.stop :].transpose(0, 2, 1) @ errors
    result = np.empty_like(rounded_weights)
    result[group, order] = rounded_weights
    return result


def _factor(moments: np.ndarray) -> np.ndarray:
    """Upper Cholesky factor of the inverse damped moments; row i: how later weights compensate the error of input i."""
    count = moments.shape[1]
    mean = np.trace(moments, axis1=1, axis2=2) / count
    damped = moments + (mean * _DAMPING + 1e-12)[:, None, None] * np.eye(count)
    return np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
