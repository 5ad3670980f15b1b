"""Keras callbacks of this project's own."""

import math
from typing import Any

import keras
import numpy as np


class KeepBest(keras.callbacks.Callback):
    """Stop when no epoch has been better on validation for a while, and put back the weights of the best one.

    Better is what decides between the two phases: a higher headline metric, or an equal one and a lower loss. The loss
    alone is the wrong judge of a fine-tuned top, whose growing confidence raises it while more is named right. Unlike
    Keras's EarlyStopping its state can be saved and restored, and it puts the best weights back however the phase ends.

    Args:
        patience: Epochs without a better one before the phase stops; 0 never stops it.
        headline: The metric, without `val_`; more is better.
    """

    def __init__(self, patience: int, headline: str = "top1") -> None:
        super().__init__()
        self.patience, self.headline = patience, headline
        self.best: tuple[float, float] = (-math.inf, -math.inf)
        self.best_epoch = -1
        self.best_logs: dict[str, float] = {}
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare this epoch's validation loss with the best."""
        logs = logs or {}
        rank = (logs.get(f"val_{self.headline}", 0.0), -logs["val_loss"])
        if rank > self.best:
            self.best, self.best_epoch, self.best_logs = rank, epoch, dict(logs)
            self.weights = self.model.get_weights()
        elif self.patience and epoch - self.best_epoch >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Put the best epoch's weights back."""
        if self.weights:
            self.model.set_weights(self.weights)

    def state(self) -> dict[str, Any]:
        """Plain values for `restore`."""
        return {"best": self.best, "epoch": self.best_epoch, "logs": self.best_logs, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` said."""
        self.best, self.best_epoch = tuple(state["best"]), state["epoch"]
        self.best_logs, self.weights = state["logs"], state["weights"]
