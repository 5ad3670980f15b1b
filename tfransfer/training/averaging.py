"""The moving average of the trained weights, which is often better than the last of them.

Source: B. Polyak and A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; with exponential decay
as in TensorFlow's ExponentialMovingAverage, whose ramp `(1 + step) / (10 + step)` keeps short trainings from averaging
in the weights they began with.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tfransfer.training.callbacks import put_back, values_of


class Averaging:
    """Averages of variables, made in the current tf.distribute scope.

    Args:
        variables: The trained ones.
        momentum: Share of the old average that a step keeps, in (0, 1).
    """

    def __init__(self, variables: Sequence[Any], momentum: float) -> None:
        self.trained, self.momentum = list(variables), momentum
        self.averages = [
            keras.Variable(keras.ops.convert_to_numpy(v), trainable=False, name=f"average_{n}", dtype="float32")
            for n, v in enumerate(self.trained)
        ]

    def update(self, step: tf.Tensor) -> None:
        """Take in the weights after a step, from 0 in the phase; called outside of the replicas."""
        done = tf.cast(step, tf.float32)
        keep = tf.minimum(self.momentum, (1.0 + done) / (10.0 + done))
        for average, variable in zip(self.averages, self.trained, strict=True):
            now = tf.cast(variable.value, tf.float32)
            average.value.assign(keep * average.value + (1.0 - keep) * now)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A block in which the model has the averages for weights."""
        raw = values_of(self.trained)
        put_back(self.trained, values_of(self.averages))
        try:
            yield
        finally:
            put_back(self.trained, raw)
