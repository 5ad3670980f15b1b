"""Losses: convert names and functions to Keras losses, and evaluate them on parts of a batch."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfransfer.errors import SettingError


class _FunctionLoss(keras.losses.Loss):
    """A plain function of (targets, probabilities) as a Keras loss, to support sample weights."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example."""
        return self.function(y_true, y_pred)


def as_loss(loss: Any) -> Any:
    """A Keras loss from a loss, its name or a function; None stays None.

    Raises:
        SettingError: Keras has no loss with this name, or its reduction does not work on parts of a batch.
    """
    if getattr(loss, "reduction", None) == "mean_with_sample_weight":
        raise SettingError(
            "losses with the reduction 'mean_with_sample_weight' are not supported: use 'sum_over_batch_size'."
        )
    if loss is None or isinstance(loss, keras.losses.Loss):
        return loss
    try:
        known = keras.losses.get(loss)
    except ValueError as error:
        raise SettingError(f"Keras has no loss {loss!r}.") from error
    return known if isinstance(known, keras.losses.Loss) else _FunctionLoss(known)


class BatchLoss:
    """A Keras loss on a batch or a piece of one, independent of the number of replicas.

    Under a tf.distribute strategy, Keras would divide the loss by the number of replicas, which must not reach metrics.

    Args:
        loss: A loss that is reduced by the mean over examples, or by the sum.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        self._sums = getattr(loss, "reduction", None) == "sum"
        self._per_example = object.__new__(type(loss))  # copy.copy would use Keras's serialization
        vars(self._per_example).update(vars(loss) | {"reduction": "none"})

    def __call__(self, targets: tf.Tensor, outputs: tf.Tensor, weights: tf.Tensor, pieces: int = 1) -> tf.Tensor:
        """The loss of one of `pieces` equal pieces, as if it were the whole batch: float32, shape ()."""
        values = self._per_example(targets, outputs, sample_weight=weights)
        if self._sums:
            return tf.reduce_sum(values) * pieces
        return tf.reduce_sum(values) / tf.cast(tf.size(values), values.dtype)
