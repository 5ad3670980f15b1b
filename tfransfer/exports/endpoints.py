"""Endpoints of an exported model, from raw pixels to named outputs."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def output_name(model: keras.Model) -> str:
    """Name of a model's output: "probabilities" or "values"."""
    return str(model.layers[-1].name)


def pixels_spec(model: keras.Model, batch: int | None = None, dtype: Any = tf.uint8) -> tf.TensorSpec:
    """Spec of a model's input: (batch, size, size, 3), named `images`."""
    size = int(model.input_shape[1])
    return tf.TensorSpec((batch, size, size, 3), dtype, name="images")


def pixels_endpoint(model: keras.Model, spec: tf.TensorSpec) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A tf.function from pixels in [0, 255] to a dictionary with the model's output."""

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name(model): model(tf.cast(images, tf.float32), training=False)}

    return tf.function(serve, input_signature=[spec])
