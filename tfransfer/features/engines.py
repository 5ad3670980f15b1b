"""Engines, which run a frozen part over pictures: Keras here, LiteRT in `litert`."""

from importlib import metadata
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.kerashub.text import PresetTokens, token_parts
from tfransfer.base.preprocessing import reads_text
from tfransfer.data.flow import as_model_input

KERAS, LITERT = "keras", "litert"
_BATCH = 32


class Engine(Protocol):
    """Runs a frozen part.

    Attributes:
        name: "keras" or "litert".
    """

    name: str

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Outputs at each tap, float32, shape (n, ...), for uint8 pixels, shape (n, size, size, 3), or strings (n,)."""
        ...


class KerasEngine:
    """The Keras model in a compiled function with a fixed batch size; the last batch is padded.

    Args:
        model: From `base.taps.model_to`.
    """

    name = KERAS

    def __init__(self, model: keras.Model) -> None:
        dtype = tf.string if reads_text(model) else tf.uint8
        spec = tf.TensorSpec((_BATCH, *model.input_shape[1:]), dtype)
        self._predict = tf.function(lambda inputs: listed(model(as_model_input(inputs), training=False)), [spec])

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Outputs at each tap; see `Engine.run`."""
        parts = [self._run_padded(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _run_padded(self, pixels: np.ndarray) -> list[np.ndarray]:
        count = len(pixels)
        padding = b"" if pixels.dtype == object else 0
        padded = np.pad(pixels, [(0, _BATCH - count), *[(0, 0)] * (pixels.ndim - 1)], constant_values=padding)
        return [values.numpy()[:count] for values in self._predict(padded)]


class TokenEngine:
    """The Keras model of texts behind its tokenizer, in batches of similar length, padded to the longest of each.

    Padding is masked, so a text's features do not depend on its batch but for rounding.

    Args:
        tokens: The layer from strings to tokens.
        encoder: From tokens to the features.
    """

    name = KERAS

    def __init__(self, tokens: PresetTokens, encoder: keras.Model) -> None:
        spec = {name: tf.TensorSpec((None, None), tf.int32) for name in tokens.outputs}
        self._tokens = tf.function(tokens, [tf.TensorSpec((None,), tf.string)])
        self._predict = tf.function(lambda given: listed(encoder(given, training=False)), [spec])

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Outputs at each tap for strings (n,); see `Engine.run`."""
        tokens = {name: values.numpy() for name, values in self._tokens(tf.constant(pixels)).items()}
        lengths = _lengths(tokens)
        order = np.argsort(lengths, kind="stable")
        parts = []
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            width = int(lengths[rows].max())
            parts.append(self._predict({name: tf.constant(values[rows, :width]) for name, values in tokens.items()}))
        back = np.argsort(order, kind="stable")
        return [np.concatenate([value.numpy() for value in values])[back] for values in zip(*parts, strict=True)]


def _lengths(tokens: dict[str, np.ndarray]) -> np.ndarray:
    """Tokens of each text without padding, at least 1: int64 (n,)."""
    mask = tokens.get("padding_mask")
    if mask is None:
        rows, width = next(iter(tokens.values())).shape
        return np.full(rows, width)
    return np.maximum(mask.shape[1] - np.argmax(mask[:, ::-1] != 0, axis=1), 1)


def keras_engine(model: keras.Model) -> Engine:
    """The engine that runs a frozen part in Keras.

    Args:
        model: From `base.taps.model_to`.
    """
    parts = token_parts(model)
    return KerasEngine(model) if parts is None else TokenEngine(*parts)


def listed(values: object) -> list[tf.Tensor]:
    """A model's outputs, one or several, as float32 tensors in a list."""
    return [tf.cast(value, tf.float32) for value in (values if isinstance(values, list | tuple) else [values])]


def identity(name: str, model: keras.Model) -> dict[str, str]:
    """What an engine's outputs depend on: versions, device and precision."""
    if name == LITERT:
        try:
            version = metadata.version("ai-edge-litert")
        except metadata.PackageNotFoundError:
            version = "absent"
        return {"engine": name, "ai-edge-litert": version, "tensorflow": tf.__version__}
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    return {"engine": name, "device": device, "precision": str(model.compute_dtype), **versions}


def largest_difference(outputs: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Largest difference between an engine's outputs and Keras's, relative to the largest value, over all taps.

    Returns:
        Infinity if shapes differ or an output is not finite.
    """
    worst = 0.0
    for ours, theirs in zip(outputs, expected, strict=True):
        if ours.shape != theirs.shape or not np.isfinite(ours).all():
            return float("inf")
        scale = max(float(np.abs(theirs).max(initial=0.0)), 1e-6)
        worst = max(worst, float(np.abs(ours - theirs).max(initial=0.0)) / scale)
    return worst
