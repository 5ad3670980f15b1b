"""What the layers of the built-in text bases share."""

from typing import Any

import keras
import tensorflow as tf


class TextLayer(keras.layers.Layer):
    """A layer from strings, shape (batch,), to float32 vectors, shape (batch, features).

    Attributes:
        features: Width of a vector.
    """

    features: int

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, int]:
        """(batch, features)."""
        return (input_shape[0] if input_shape else None, self.features)

    def compute_output_spec(self, texts: Any) -> keras.KerasTensor:
        """Float32, (batch, features)."""
        return keras.KerasTensor((*texts.shape[:1], self.features), self.compute_dtype)


def sums(vectors: tf.Tensor, parts: tf.RaggedTensor) -> tf.Tensor:
    """The sum of the vectors of each text's parts, zeros for a text without any.

    Args:
        vectors: One for each part of all texts, in order, shape (parts, features).
        parts: The parts of each text, (batch, None).

    Returns:
        Shape (batch, features).
    """
    summed = tf.math.segment_sum(vectors, parts.value_rowids())
    missing = tf.cast(parts.nrows(), tf.int32) - tf.shape(summed)[0]  # texts without parts at the end
    return tf.pad(summed, [[0, missing], [0, 0]])
