"""Exponential moving average of the trained weights, which often generalizes better than the last weights.

Source: B. Polyak and A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; with exponential decay
as in TensorFlow's ExponentialMovingAverage, whose ramp `(1 + step) / (10 + step)` keeps the initial weights from
dominating the average of a short training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tfransfer.training.callbacks import put_back, values_of


class Averaging:
    """Moving averages of variables, created in the current tf.distribute scope.

    Args:
        variables: The trained variables.
        momentum: Weight of the old average in each update, in (0, 1).
    """

    def __init__(self, variables: Sequence[Any], momentum: float) -> None:
        self.trained, self.momentum = list(variables), momentum
        self.averages = [
            keras.Variable(keras.ops.convert_to_numpy(v), trainable=False, name=f"average_{n}", dtype="float32")
            for n, v in enumerate(self.trained)
        ]

    def update(self, step: tf.Tensor) -> None:
        """Update the averages after a step, which counts from 0 in the phase. Call it outside the replicas."""
        steps = tf.cast(step, tf.float32)
        momentum = tf.minimum(self.momentum, (1.0 + steps) / (10.0 + steps))
        for average, variable in zip(self.averages, self.trained, strict=True):
            current = tf.cast(variable.value, tf.float32)
            average.value.assign(momentum * average.value + (1.0 - momentum) * current)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Use the averages as the model's weights inside the block; restore the raw weights afterwards."""
        raw = values_of(self.trained)
        put_back(self.trained, values_of(self.averages))
        try:
            yield
        finally:
            put_back(self.trained, raw)
