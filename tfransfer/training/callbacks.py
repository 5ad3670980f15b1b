"""Keras callbacks of this project's own."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of what Keras variables hold."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def put_back(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Give Keras variables the values that `values_of` took."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class KeepBest(keras.callbacks.Callback):
    """Stop when no epoch has been better on validation for a while, and put back the weights of the one to keep.

    Better is what decides between the two phases: a higher headline metric, or an equal one and a lower loss. The loss
    alone is the wrong judge of a fine-tuned top, whose growing confidence raises it while more is named right. Kept is
    the last epoch that is not measurably worse than the best, by one standard error of the headline metric (the rule of
    L. Breiman et al., "Classification and Regression Trees", 1984): the highest of many noisy measurements is a lucky
    one, and with a falling learning rate later weights are the more settled. Unlike Keras's EarlyStopping its state can
    be saved and restored, and it puts weights back however the phase ends.

    Args:
        patience: Epochs without a better one before the phase stops; 0 never stops it.
        headline: The metric, without `val_`; more is better.
        held_out: Validation examples of which the metric is a share; 0 where it is no share: the best epoch is kept.
        variables: What is kept and put back: all that the phase can change; None takes the whole model's weights.
    """

    def __init__(
        self, patience: int, headline: str = "top1", held_out: int = 0, variables: Sequence[Any] | None = None
    ) -> None:
        super().__init__()
        self.patience, self.headline, self.held_out, self._variables = patience, headline, held_out, variables
        self.best: tuple[float, float] = (-math.inf, -math.inf)
        self.best_epoch = self.kept_epoch = -1
        self.kept_logs: dict[str, float] = {}
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare this epoch with the best."""
        logs = logs or {}
        rank = (logs.get(f"val_{self.headline}", 0.0), -logs["val_loss"])
        if rank > self.best:
            self.best, self.best_epoch = rank, epoch
        if epoch == self.best_epoch or rank[0] > self.best[0] - self._standard_error():
            self.kept_epoch, self.kept_logs = epoch, dict(logs)
            self.weights = values_of(self.variables)
        if self.patience and epoch - self.best_epoch >= self.patience:
            self.model.stop_training = True

    @property
    def variables(self) -> Sequence[Any]:
        """What is kept and put back."""
        return self.model.weights if self._variables is None else self._variables

    def _standard_error(self) -> float:
        share = min(max(self.best[0], 0.0), 1.0)
        return math.sqrt(share * (1.0 - share) / self.held_out) if self.held_out else 0.0

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Put the kept epoch's weights back."""
        if self.weights:
            put_back(self.variables, self.weights)

    def state(self) -> dict[str, Any]:
        """Plain values for `restore`."""
        return {
            "best": self.best, "best_epoch": self.best_epoch,
            "kept_epoch": self.kept_epoch, "logs": self.kept_logs, "weights": self.weights,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` said."""
        self.best, self.best_epoch, self.kept_epoch = tuple(state["best"]), state["best_epoch"], state["kept_epoch"]
        self.kept_logs, self.weights = state["logs"], state["weights"]
