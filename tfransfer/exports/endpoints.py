"""What an exported model answers: pixels as they come from a picture in, named outputs out."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def output_name(model: keras.Model) -> str:
    """What a model's output is called: "probabilities" or "values"."""
    return str(model.layers[-1].name)


def pixels_spec(model: keras.Model, batch: int | None = None, dtype: Any = tf.uint8) -> tf.TensorSpec:
    """Pictures of a model's size: (batch, size, size, 3), called `images`."""
    size = int(model.input_shape[1])
    return tf.TensorSpec((batch, size, size, 3), dtype, name="images")


def pixels_endpoint(model: keras.Model, spec: tf.TensorSpec) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A tf.function from pixels in [0, 255] to a model's output by its name."""

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name(model): model(tf.cast(images, tf.float32), training=False)}

    return tf.function(serve, input_signature=[spec])
