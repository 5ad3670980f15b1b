"""One record per task: the head's activation, the loss, the metrics, and how a prediction reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Task:
    """What a task decides for every stage.

    Attributes:
        name: How the task is called in a manifest.
        activation: Activation that turns the head's logits into the model's output.
        loss: Builds the Keras loss; takes the label smoothing, in [0, 1).
        metrics: Builds fresh Keras metrics for the progress display and `history.csv`.
        headline: The key of the metric that says which of two phases is better; more is better.
        encode: Turns integer labels, shape (n,), and the number of classes into float32 targets, shape (n, classes).
    """

    name: str
    activation: str
    loss: Callable[[float], Any]
    metrics: Callable[[], list[Any]]
    headline: str
    encode: Callable[[np.ndarray, int], np.ndarray]


def _categorical_crossentropy(label_smoothing: float) -> Any:
    import keras  # here, so that `tfransfer --help` starts without TensorFlow

    return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)


def _accuracy() -> list[Any]:
    import keras  # here, so that `tfransfer --help` starts without TensorFlow

    return [keras.metrics.CategoricalAccuracy(name="top1")]


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[labels]


SINGLE_LABEL = Task(
    name="single-label",
    activation="softmax",
    loss=_categorical_crossentropy,
    metrics=_accuracy,
    headline="top1",
    encode=_one_hot,
)
