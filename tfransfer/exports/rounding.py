"""Kernels on the grid of their 8-bit integers, each rounding error made up for by the weights that are rounded later.

The converter rounds each weight to the nearest of 255 steps of its output channel. On a network of fifty small
convolutions these errors add up; here they are chosen so that what a convolution says of real pictures changes least.
What is rounded so stays as it is in the converter, because the grid is the converter's own. Source: E. Frantar and D.
Alistarh, "Optimal Brain Compression", NeurIPS 2022, in the order and with the Cholesky factor of E. Frantar et al.,
"GPTQ", ICLR 2023.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from tfransfer.data.sampling import spread_over

# Variables of a model, and what they hold on the integers' grid.
Kernels = Sequence[tuple[Any, np.ndarray]]

_STEPS = 127
_PICTURES, _BATCH = 64, 16
# Places of a picture at which a convolution's input is looked at.
_PLACES = 64
# Kernels with more inputs than this are left to the converter: their moments would take minutes to invert.
_WIDEST = 2400
# Added to the moments' diagonal, as a share of its mean, as GPTQ does.
_DAMPING = 0.01
# Errors are handed on within so many inputs at once, and then to all others in one product.
_BLOCK = 128


class Representative:
    """Training pictures, and what quantized files of a model learn from them, once for all files.

    Attributes:
        model: float32 pixels (batch, size, size, 3) to probabilities or values.
        pictures: uint8 (n, size, size, 3).
    """

    def __init__(self, model: keras.Model, pictures: np.ndarray):
        self.model = model
        self.pictures = pictures

    @cached_property
    def kernels(self) -> Kernels:
        """The model's kernels on the integers' grid; see `rounded_kernels`."""
        return rounded_kernels(self.model, self.pictures)


def rounded_kernels(model: keras.Model, pictures: np.ndarray) -> Kernels:
    """Round the kernels of a model's convolutions so that their outputs change least.

    Args:
        model: As for `Representative`. Convolutions that it runs out of Keras's sight (a TF-Hub module) are left out.
        pictures: uint8 (n, size, size, 3), of the kind that the model will see.

    Returns:
        Kernels, and arrays of their shapes. In each output channel the largest weight is as before.
    """
    layers = [layer for layer in model._flatten_layers() if _is_rounded(layer)]
    moments: dict[int, np.ndarray] = {}
    rng = np.random.default_rng(0)

    def note(layer: Any, inputs: Any) -> None:
        moments[id(layer)] = moments.get(id(layer), 0) + _moments(layer, np.asarray(inputs), rng)

    chosen = pictures[spread_over(len(pictures), _PICTURES)]
    with _watched(layers, note):
        for first in range(0, len(chosen), _BATCH):
            model(chosen[first : first + _BATCH].astype(np.float32), training=False)
    return [(layer.kernel, _rounded_kernel(layer, moments[id(layer)])) for layer in layers if id(layer) in moments]


@contextmanager
def holding(kernels: Kernels) -> Iterator[None]:
    """Let a model have other kernels for a while."""
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
def _watched(layers: Sequence[Any], note: Callable[[Any, Any], None]) -> Iterator[None]:
    """Hear of what each layer is given, while its model is called."""
    for layer in layers:
        layer.call = partial(_noting, layer, layer.call, note)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _noting(layer: Any, call: Any, note: Callable[[Any, Any], None], inputs: Any, *args: Any, **kwargs: Any) -> Any:
    note(layer, inputs)
    return call(inputs, *args, **kwargs)


def _moments(layer: Any, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Products of what a convolution's weights are multiplied with, summed over some places.

    Returns:
        Shape (groups, n, n): one group of height x width x channels inputs, or of a depthwise one, a group for each
        channel.
    """
    patches = _patches(layer, inputs, rng)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        flat = patches.reshape(len(patches), -1, patches.shape[-1]).transpose(2, 1, 0)
    else:
        flat = patches.reshape(1, len(patches), -1).transpose(0, 2, 1)
    return np.asarray(flat @ flat.transpose(0, 2, 1), np.float64)


def _patches(layer: Any, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a kernel lies on at some places: (places, height, width, channels)."""
    steps = [np.arange(size) * by for size, by in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    if layer.padding == "same":
        around = [(int(step[-1]) // 2, int(step[-1]) - int(step[-1]) // 2) for step in steps]
        inputs = np.pad(inputs, ((0, 0), *around, (0, 0)))
    count = _PLACES * len(inputs)
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
    """Round weights, input after input; the rest of an output's weights makes up for each error.

    Args:
        weights: Shape (groups, n, outputs).
        moments: Sums of products of inputs, shape (groups, n, n), positive semi-definite.

    Returns:
        float64 (groups, n, outputs): integers in [-127, 127] times a step for each output, a 127th of its largest
        weight, which stays.
    """
    groups, count, _ = weights.shape
    # The inputs that matter most are rounded first, while there are most weights left to make up for their errors.
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
    group = np.arange(groups)[:, None]
    ordered = weights[group, order].astype(np.float64)
    left = ordered.copy()
    # The converter takes each output's step from its largest weight. Were that one changed, the grid would be another,
    # and all that was rounded here would be rounded once more.
    largest = np.abs(left).argmax(axis=1)
    step = np.abs(left).max(axis=1) / _STEPS
    step[step == 0] = 1
    factor = _factor(moments[group[:, :, None], order[:, :, None], order[:, None, :]])
    done = np.empty_like(left)
    # Every error changes all later weights. Within a block that is done at once, because the next input needs it; for
    # those beyond the block it is saved up for one matrix product, which is much faster than one for each input.
    for first in range(0, count, _BLOCK):
        block = range(first, min(first + _BLOCK, count))
        errors = np.empty((groups, len(block), left.shape[2]))
        for i in block:
            nearest = np.clip(np.round(left[:, i] / step), -_STEPS, _STEPS) * step
            done[:, i] = np.where(largest == i, ordered[:, i], nearest)
            errors[:, i - first] = (left[:, i] - done[:, i]) / factor[:, i, i, None]
            inside = slice(i + 1, block.stop)
            left[:, inside] -= factor[:, i, inside, None] * errors[:, None, i - first]
        left[:, block.stop :] -= factor[:, first : block.stop, block.stop :].transpose(0, 2, 1) @ errors
    result = np.empty_like(done)
    result[group, order] = done
    return result


def _factor(moments: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of the damped moments' inverse: row i tells how later weights make up for input i's."""
    count = moments.shape[1]
    mean = np.trace(moments, axis1=1, axis2=2) / count
    damped = moments + (mean * _DAMPING + 1e-12)[:, None, None] * np.eye(count)
    return np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
