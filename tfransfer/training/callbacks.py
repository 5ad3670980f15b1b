"""Early stopping and epoch selection as a Keras callback."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of the values of Keras variables."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def put_back(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Assign the values taken by `values_of` to Keras variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class KeepBest(keras.callbacks.Callback):
    """Stop early when validation no longer improves, and restore the weights of the selected epoch.

    Epochs are ranked like the two phases: by the headline metric, then by the lower loss. The loss alone misjudges
    fine-tuning, where growing confidence raises it while accuracy still improves. The selected epoch is the last one
    that is not measurably worse than the best, within one standard error of the headline metric (L. Breiman et al.,
    "Classification and Regression Trees", 1984): the highest of many noisy measurements is partly luck, and with a
    falling learning rate later weights are more settled. Unlike Keras's EarlyStopping, its state can be saved and
    restored, and it restores the weights however the phase ends.

    Args:
        patience: Epochs without improvement before the phase stops; 0 never stops.
        headline: The metric, without `val_`; higher is better.
        held_out: Number of validation examples when the metric is a share of them; 0 for any other metric, which
            selects the best epoch.
        variables: Variables to save and restore: all that the phase can change; None takes all the model's weights.
        first_epoch: Number of the phase's first epoch; the selected epoch is counted from there.
    """

    def __init__(
        self,
        patience: int,
        headline: str = "top1",
        held_out: int = 0,
        variables: Sequence[Any] | None = None,
        *,
        first_epoch: int = 0,
    ) -> None:
        super().__init__()
        self._first_epoch = first_epoch
        self.patience, self.headline, self.held_out, self._variables = patience, headline, held_out, variables
        self.best: tuple[float, float] = (-math.inf, -math.inf)
        self.best_epoch = self.kept_epoch = -1
        self.kept_logs: dict[str, float] = {}
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare this epoch with the best one."""
        logs, epoch = logs or {}, epoch - self._first_epoch
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
        """The variables to save and restore."""
        return self.model.weights if self._variables is None else self._variables

    def _standard_error(self) -> float:
        share = min(max(self.best[0], 0.0), 1.0)
        return math.sqrt(share * (1.0 - share) / self.held_out) if self.held_out else 0.0

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Restore the selected epoch's weights."""
        if self.weights:
            put_back(self.variables, self.weights)

    def state(self) -> dict[str, Any]:
        """Plain values for `restore`."""
        return {
            "best": self.best, "best_epoch": self.best_epoch,
            "kept_epoch": self.kept_epoch, "logs": self.kept_logs, "weights": self.weights,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.best, self.best_epoch, self.kept_epoch = tuple(state["best"]), state["best_epoch"], state["kept_epoch"]
        self.kept_logs, self.weights = state["logs"], state["weights"]
