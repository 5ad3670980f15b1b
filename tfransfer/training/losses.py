"""A user's loss, whatever it is given as, as a Keras loss."""

from collections.abc import Callable
from typing import Any

import keras

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
        SettingError: Keras knows no loss of this name.
    """
    if loss is None or isinstance(loss, keras.losses.Loss):
        return loss
    try:
        found = keras.losses.get(loss)
    except ValueError as error:
        raise SettingError(f"Keras knows no loss {loss!r}.") from error
    return found if isinstance(found, keras.losses.Loss) else _FunctionLoss(found)
