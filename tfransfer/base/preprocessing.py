"""Preprocessing from [0, 255] RGB pixels to a base's input, as layers that plain Keras saves and loads."""

import json
from typing import Any

import keras

# ImageNet's channel means and standard deviations, from `keras.applications.imagenet_utils.preprocess_input`.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
# Prefix of a preprocessing that consists of arguments for keras.layers.Rescaling, as JSON.
RESCALING = "rescaling "
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def entry(kind: str, size: int) -> Any:
    """Create the input of a model.

    Args:
        kind: "image" or "text".
        size: Side of the pictures in pixels.

    Returns:
        KerasTensor: float32 pixels, shape (batch, size, size, 3), in [0, 255]; or strings, shape (batch,).
    """
    shapes: dict[str, Any] = {
        "image": {"shape": (size, size, 3), "dtype": "float32", "name": "pixels"},
        "text": {"shape": (), "dtype": "string", "name": "text"},
    }
    return keras.Input(**shapes[kind])


def reads_text(model: keras.Model) -> bool:
    """Whether a model takes strings."""
    return str(model.inputs[0].dtype) == "string"


def preprocess(pixels: Any, kind: str) -> Any:
    """Apply a base's preprocessing to an input tensor.

    Args:
        pixels: KerasTensor, float32, shape (batch, size, size, 3), RGB in [0, 255].
        kind: "none", "unit" ([0, 1]), "tf" ([-1, 1]), "torch" (ImageNet's mean and deviation), "caffe" (BGR, mean
            removed), "rescaling" followed by arguments of keras.layers.Rescaling as JSON, or "efficientnet_file" (see
            `efficientnet_from_file`).

    Returns:
        KerasTensor of the same shape.
    """
    if kind == "none":
        return pixels
    if kind == "caffe":
        pixels = keras.ops.flip(pixels, axis=-1)
        return _rescaling(1.0, [-m for m in _CAFFE_MEAN_BGR])(pixels)
    if kind.startswith(RESCALING):
        return _rescaling(**json.loads(kind.removeprefix(RESCALING)))(pixels)
    if kind == "unit":
        return _rescaling(1 / 255, 0.0)(pixels)
    if kind == "tf":
        return _rescaling(1 / 127.5, -1.0)(pixels)
    if kind == "torch":
        scale = [1 / (255 * d) for d in _DEVIATION]
        return _rescaling(scale, [-m / d for m, d in zip(_MEAN, _DEVIATION, strict=True)])(pixels)
    return efficientnet_from_file(pixels)


def efficientnet_from_file(pixels: Any) -> Any:
    """Add the rescaling that Keras's EfficientNet (not V2) lacks when built without `weights="imagenet"`.

    With `weights="imagenet"` Keras adds a second rescaling by 1/sqrt(deviation) after the normalization
    (tensorflow#62193); built without weights and loaded from a file it does not. The normalization computes
    (x/255 - mean)/sqrt(deviation), so with k = 1/sqrt(deviation) the same follows from x' = k x + 255 mean (1 - k).
    """
    factors = [1 / d**0.5 for d in _DEVIATION]
    offsets = [255 * m * (1 - k) for m, k in zip(_MEAN, factors, strict=True)]
    return _rescaling(factors, offsets)(pixels)


def _rescaling(scale: Any, offset: Any) -> keras.layers.Layer:
    return keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="preprocessing")
