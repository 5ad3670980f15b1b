"""Heat maps of where a network looked: Grad-CAM for bases with a feature map, occlusion for the others."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.cuts import cuts
from tfransfer.evaluation.predictions import inference

GRAD_CAM, OCCLUSION = "Grad-CAM", "occlusion"
_BATCH = 32
# The occluding square has a fifth of the image's side, and moves to so many places along each side.
_SQUARE, _PLACES = 5, 8


@dataclass(frozen=True)
class HeatMaps:
    """Heat maps of some images.

    Attributes:
        maps: float32 (n, size, size) in [0, 1], n at most the number of images; all zero where there is no evidence for
            the output.
        method: "Grad-CAM" or "occlusion".
    """

    maps: np.ndarray
    method: str


@dataclass(frozen=True)
class _Chain:
    """A model as a sequence of operations.

    Attributes:
        before: From pixels to the input of `mapped`.
        mapped: Returns the feature map, or the feature map and the base's output.
        after: From there to the logits.
    """

    before: tuple[Any, ...]
    mapped: Any
    after: tuple[Any, ...]


def heat_maps(
    model: keras.Model, pictures: np.ndarray, outputs: Sequence[int], seconds: float = float("inf")
) -> HeatMaps:
    """Where a model looked for one of its outputs, for each image.

    Args:
        model: A run's model: float32 pixels (batch, size, size, 3) in [0, 255] to (batch, outputs).
        pictures: uint8 (n, size, size, 3).
        outputs: Index of the output to explain, for each image.
        seconds: Time after which occlusion starts no further image; it always does the first one.
    """
    chain = _chain(model)
    if chain is not None:
        return HeatMaps(_grad_cam(chain, model.output_shape[-1], pictures, outputs), GRAD_CAM)
    began, maps = time.monotonic(), list[np.ndarray]()
    for picture, output in zip(pictures, outputs, strict=True):
        if maps and time.monotonic() - began > seconds:
            break
        maps.append(_occlusion(model, picture, output))
    return HeatMaps(np.array(maps, np.float32), OCCLUSION)


def _chain(model: keras.Model) -> _Chain | None:
    """Split a model at its base's last feature map; None if it has none."""
    operations = getattr(model, "operations", None) or ()
    if any(len(keras.tree.flatten(operation.output)) != 1 for operation in operations):
        return None
    index = next((i for i, operation in enumerate(operations) if isinstance(operation, keras.Model)), None)
    if index is None or len(model.inputs) != 1:
        return None
    mapped = _mapped(operations[index])
    return None if mapped is None else _Chain(tuple(operations[1:index]), mapped, tuple(operations[index + 1 : -1]))


def _mapped(base: keras.Model) -> Any:
    """The base with its last feature map larger than 1x1 as an output; None if it has none."""
    if _is_map(base.output_shape):
        return base
    for cut in reversed(cuts(base)):
        later = [operation.output.shape for operation in base.operations[cut.index + 1 :]]
        if any(len(shape) == 3 for shape in later):  # tokens, whose places attention has mixed since the map
            return None
        learned = any(getattr(operation, "weights", ()) for operation in base.operations[: cut.index + 1])
        if _is_map(cut.tensor.shape) and learned:  # without weights below, these are pixels and not features
            return keras.Model(base.inputs[0], [cut.tensor, base.outputs[0]])
    return None


def _is_map(shape: Sequence[int | None]) -> bool:
    return len(shape) == 4 and (shape[1] or 0) * (shape[2] or 0) > 1


def _grad_cam(chain: _Chain, width: int, pictures: np.ndarray, outputs: Sequence[int]) -> np.ndarray:
    """Grad-CAM: the last feature map, channels weighted by their mean gradient, positive parts only.

    Source: R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017. The gradient is that of the logit, or of a regression's value.

    Args:
        chain: The model.
        width: Number of outputs.
        pictures: uint8 (n, size, size, 3).
        outputs: Index of the output to explain, for each image.

    Returns:
        float32 (n, size, size) in [0, 1].
    """
    maps = []
    for start in range(0, len(pictures), _BATCH):
        values: Any = tf.constant(pictures[start : start + _BATCH], tf.float32)
        selected = tf.one_hot(list(outputs[start : start + _BATCH]), width)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for operation in chain.before:
                values = operation(values)
            inside = len(chain.mapped.outputs) > 1
            # A map inside the base comes out of the same call as the output computed from it, too late to watch it: the
            # base's input is watched instead. A map at the end is watched after the call, so that the tape stores
            # nothing below it.
            if inside:
                tape.watch(values)
            values = chain.mapped(values, training=False)
            features, values = values if inside else (values, values)
            if not inside:
                tape.watch(features)
            for operation in chain.after:
                values = operation(values)
            score = tf.reduce_sum(tf.cast(values, tf.float32) * selected)
        # Each image's score depends on its own pixels alone, so the gradient of the sum is that of each score.
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        cam = tf.nn.relu(tf.cast(tf.reduce_sum(features * weights, axis=-1, keepdims=True), tf.float32))
        maps.append(tf.image.resize(cam, pictures.shape[1:3], method="bicubic").numpy()[..., 0])
    return _scaled(np.concatenate(maps)) if maps else np.zeros((0, 1, 1), np.float32)


def _occlusion(model: keras.Model, picture: np.ndarray, output: int) -> np.ndarray:
    """Occlusion: how much an output changes when a square of the image's mean colour hides each part of it.

    Source: M. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. For
    probabilities, only decreases count.

    Args:
        model: As in `heat_maps`.
        picture: uint8 (size, size, 3).
        output: Index of the output to explain.

    Returns:
        float32 (size, size) in [0, 1].
    """
    size = picture.shape[0]
    side = max(1, size // _SQUARE)
    starts = np.linspace(0, size - side, _PLACES).astype(int)
    hidden = np.repeat(picture[np.newaxis], 1 + _PLACES**2, axis=0)
    places = list(itertools.product(starts, starts))
    for one, (top, left) in zip(hidden[1:], places, strict=True):
        one[top : top + side, left : left + side] = picture.mean(axis=(0, 1))
    predict = inference(model)
    scores = np.concatenate([predict(hidden[i : i + _BATCH]).numpy()[:, output] for i in range(0, len(hidden), _BATCH)])
    is_probability = len(model.layers) and getattr(model.layers[-1], "name", "") == "probabilities"
    change = np.maximum(scores[0] - scores[1:], 0) if is_probability else np.abs(scores[0] - scores[1:])
    total, times = np.zeros((size, size)), np.zeros((size, size))
    for (top, left), of_square in zip(places, change, strict=True):
        total[top : top + side, left : left + side] += of_square
        times[top : top + side, left : left + side] += 1
    return _scaled((total / np.maximum(times, 1))[np.newaxis])[0]


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Scale maps (n, h, w) to [0, 1], each with a maximum of 1."""
    maps = np.maximum(maps, 0)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(highest > 1e-9, highest, 1)).astype(np.float32)
