"""Where a network looked: Grad-CAM where a base has a feature map, occlusion where it has none."""

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
# A square with a fifth of the picture's side is moved to so many places along each side, from edge to edge.
_SQUARE, _PLACES = 5, 8


@dataclass(frozen=True)
class HeatMaps:
    """Where a network looked, for some pictures.

    Attributes:
        maps: float32 (n, size, size) in [0, 1], n at most the number of pictures; all zero where nothing spoke for
            the output.
        method: "Grad-CAM" or "occlusion".
    """

    maps: np.ndarray
    method: str


@dataclass(frozen=True)
class _Chain:
    """A model as operations one after the other.

    Attributes:
        before: From pixels to what `mapped` takes.
        mapped: Gives the feature map, or the feature map and what follows from it.
        after: From there to the logits.
    """

    before: tuple[Any, ...]
    mapped: Any
    after: tuple[Any, ...]


def heat_maps(
    model: keras.Model, pictures: np.ndarray, outputs: Sequence[int], seconds: float = float("inf")
) -> HeatMaps:
    """Where a model looked for one of its outputs, for each picture.

    Args:
        model: float32 pixels (batch, size, size, 3) in [0, 255] to (batch, outputs), as a run has it.
        pictures: uint8 (n, size, size, 3).
        outputs: For each picture the output that is asked about.
        seconds: By occlusion, no further picture is begun after so long; the first one always is.
    """
    chain = _chain(model)
    if chain is not None:
        return HeatMaps(_grad_cam(chain, model.output_shape[-1], pictures, outputs), GRAD_CAM)
    began, made = time.monotonic(), list[np.ndarray]()
    for picture, output in zip(pictures, outputs, strict=True):
        if made and time.monotonic() - began > seconds:
            break
        made.append(_occlusion(model, picture, output))
    return HeatMaps(np.array(made, np.float32), OCCLUSION)


def _chain(model: keras.Model) -> _Chain | None:
    """Take a model apart at its base's last feature map; None where it has none."""
    operations = getattr(model, "operations", None) or ()
    if any(len(keras.tree.flatten(operation.output)) != 1 for operation in operations):
        return None
    place = next((i for i, operation in enumerate(operations) if isinstance(operation, keras.Model)), None)
    if place is None or len(model.inputs) != 1:
        return None
    mapped = _mapped(operations[place])
    return None if mapped is None else _Chain(tuple(operations[1:place]), mapped, tuple(operations[place + 1 : -1]))


def _mapped(base: keras.Model) -> Any:
    """A base that gives its last feature map of more than one place, too; None where it has none."""
    if _is_map(base.output_shape):
        return base
    for cut in reversed(cuts(base)):
        later = [operation.output.shape for operation in base.operations[cut.index + 1 :]]
        if any(len(shape) == 3 for shape in later):  # tokens: what is a map below them, attention has mixed since
            return None
        learned = any(getattr(operation, "weights", ()) for operation in base.operations[: cut.index + 1])
        if _is_map(cut.tensor.shape) and learned:  # pixels are no feature map
            return keras.Model(base.inputs[0], [cut.tensor, base.outputs[0]])
    return None


def _is_map(shape: Sequence[int | None]) -> bool:
    return len(shape) == 4 and (shape[1] or 0) * (shape[2] or 0) > 1


def _grad_cam(chain: _Chain, width: int, pictures: np.ndarray, outputs: Sequence[int]) -> np.ndarray:
    """What in the last feature map spoke for an output: channels weighed by their mean gradient, positive parts only.

    Source: R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017. The gradient is that of the logit, or of a regression's value.

    Args:
        chain: The model.
        width: How many outputs it has.
        pictures: uint8 (n, size, size, 3).
        outputs: For each picture the output that is asked about.

    Returns:
        float32 (n, size, size) in [0, 1].
    """
    made = []
    for start in range(0, len(pictures), _BATCH):
        values: Any = tf.constant(pictures[start : start + _BATCH], tf.float32)
        asked = tf.one_hot(list(outputs[start : start + _BATCH]), width)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for operation in chain.before:
                values = operation(values)
            inside = len(chain.mapped.outputs) > 1
            # The gradient is asked for at the feature map. Where the base ends in no map, one inside it is an output of
            # `mapped` beside the last one, which was computed from it before it could be watched: its input is watched
            # in its place. Else the map is all that `mapped` gives, and the tape need not remember what is below it.
            if inside:
                tape.watch(values)
            values = chain.mapped(values, training=False)
            features, values = values if inside else (values, values)
            if not inside:
                tape.watch(features)
            for operation in chain.after:
                values = operation(values)
            score = tf.reduce_sum(tf.cast(values, tf.float32) * asked)
        # Each picture's score depends on its own pixels alone, so the gradient of the sum is that of each score.
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        found = tf.nn.relu(tf.cast(tf.reduce_sum(features * weights, axis=-1, keepdims=True), tf.float32))
        made.append(tf.image.resize(found, pictures.shape[1:3], method="bicubic").numpy()[..., 0])
    return _scaled(np.concatenate(made)) if made else np.zeros((0, 1, 1), np.float32)


def _occlusion(model: keras.Model, picture: np.ndarray, output: int) -> np.ndarray:
    """How much an output changes while a square of the picture's mean colour hides each part of it.

    Source: M. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. Of
    probabilities, only what lowers them counts.

    Args:
        model: As for `heat_maps`.
        picture: uint8 (size, size, 3).
        output: The output that is asked about.

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
    ask = inference(model)
    said = np.concatenate([ask(hidden[i : i + _BATCH]).numpy()[:, output] for i in range(0, len(hidden), _BATCH)])
    is_probability = len(model.layers) and getattr(model.layers[-1], "name", "") == "probabilities"
    change = np.maximum(said[0] - said[1:], 0) if is_probability else np.abs(said[0] - said[1:])
    total, times = np.zeros((size, size)), np.zeros((size, size))
    for (top, left), of_square in zip(places, change, strict=True):
        total[top : top + side, left : left + side] += of_square
        times[top : top + side, left : left + side] += 1
    return _scaled((total / np.maximum(times, 1))[np.newaxis])[0]


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Maps (n, h, w) in [0, 1], the highest point of each at 1."""
    maps = np.maximum(maps, 0)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(highest > 1e-9, highest, 1)).astype(np.float32)
