"""A loss as a Keras loss, whatever it is given as, and what it says of a batch."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfransfer.errors import SettingError


class _FunctionLoss(keras.losses.Loss):
    """A plain function of (targets, probabilities) as a Keras loss, which also takes sample weights."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example."""
        return self.function(y_true, y_pred)


def as_loss(loss: Any) -> Any:
    """A Keras loss from a loss, its name or a function; None stays None.

    Raises:
        SettingError: Keras knows no loss of this name, or it is reduced in a way that batches in pieces cannot be.
    """
    if getattr(loss, "reduction", None) == "mean_with_sample_weight":
        raise SettingError(
            "a loss with the reduction 'mean_with_sample_weight' is not taken: use 'sum_over_batch_size'."
        )
    if loss is None or isinstance(loss, keras.losses.Loss):
        return loss
    try:
        found = keras.losses.get(loss)
    except ValueError as error:
        raise SettingError(f"Keras knows no loss {loss!r}.") from error
    return found if isinstance(found, keras.losses.Loss) else _FunctionLoss(found)


class BatchLoss:
    """What a Keras loss says of a batch, or of a piece of one, however many replicas there are.

    Keras divides a loss by the number of replicas where it sees a tf.distribute strategy, which metrics must not see.

    Args:
        loss: Reduced by the mean over examples, or by the sum.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        self._sums = getattr(loss, "reduction", None) == "sum"
        self._each = object.__new__(type(loss))  # copy.copy would go through Keras's files
        vars(self._each).update(vars(loss) | {"reduction": "none"})

    def __call__(self, targets: tf.Tensor, outputs: tf.Tensor, weights: tf.Tensor, pieces: int = 1) -> tf.Tensor:
        """The loss of one of so many equal pieces of a batch, as if the others were like it: float32, shape ()."""
        values = self._each(targets, outputs, sample_weight=weights)
        if self._sums:
            return tf.reduce_sum(values) * pieces
        return tf.reduce_sum(values) / tf.cast(tf.size(values), values.dtype)
