"""One record per task: the head's activation, the loss, the metrics, and which metric decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single-label", "multi-label", "regression"
TASKS = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
PROBABILITIES, VALUES = "probabilities", "values"


class Headline(NamedTuple):
    """The metric that says how good a model of a task is.

    Attributes:
        key: Its name in `metrics.json`.
        name: What people call it.
        each_epoch: What stands for it in `history.csv` and in the phases' validation figures.
    """

    key: str
    name: str
    each_epoch: str


HEADLINES = {
    SINGLE_LABEL: Headline("top1", "top-1", "top1"),
    MULTI_LABEL: Headline("mean_average_precision", "mean average precision", "average_precision"),
    REGRESSION: Headline("r2", "R2", "r2"),
}


def metric_name(key: str) -> str:
    """What people call a metric of `metrics.json` or `history.csv`."""
    return {"top1": "top-1", "r2": "R2", "rmse": "RMSE"}.get(key, key.replace("_", " "))


@dataclass(frozen=True)
class Task:
    """What a task decides for every stage.

    Attributes:
        name: SINGLE_LABEL, MULTI_LABEL or REGRESSION.
        output: What the model's output is called: "probabilities" or "values".
        activation: Turns the head's logits into the model's output.
        loss: Builds a Keras loss, or a function of (targets, outputs); takes the label smoothing, in [0, 1).
        metrics: Builds fresh Keras metrics for the progress display and `history.csv`.
        headline: The key of the metric that says which of two phases is better; more is better.
        share: Whether the headline is a share of examples, whose standard error is known.
        scale: Of a regression, the standard deviation of the training targets: the head's output is multiplied by it.
        offset: Of a regression, their mean, which is added: a model speaks original units.
    """

    name: str
    output: str
    activation: str
    loss: Callable[[float], Any]
    metrics: Callable[[], list[Any]]
    headline: str
    share: bool = False
    scale: float = 1.0
    offset: float = 0.0


def task_for(name: str, targets: np.ndarray) -> Task:
    """The record of a task, fitted to the training targets.

    Args:
        name: SINGLE_LABEL, MULTI_LABEL or REGRESSION.
        targets: Of the training split, float32, shape (n, outputs).
    """
    if name == MULTI_LABEL:
        return _multi_label(targets.shape[1])
    if name == REGRESSION:
        return _regression(float(targets.mean()), float(targets.std()) or 1.0)
    return CLASSIFICATION


def _categorical_crossentropy(label_smoothing: float) -> Any:
    import keras  # here, so that `tfransfer --help` starts without TensorFlow

    return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)


def _accuracy() -> list[Any]:
    import keras  # here, so that `tfransfer --help` starts without TensorFlow

    return [keras.metrics.CategoricalAccuracy(name="top1")]


CLASSIFICATION = Task(
    name=SINGLE_LABEL,
    output=PROBABILITIES,
    activation="softmax",
    loss=_categorical_crossentropy,
    metrics=_accuracy,
    headline="top1",
    share=True,
)


def _binary_crossentropy(label_smoothing: float) -> Any:
    import keras  # here, so that `tfransfer --help` starts without TensorFlow

    return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)


def _multi_label(classes: int) -> Task:
    """Each class applies or not: sigmoids; judged by average precision, macro-averaged over the classes."""

    def metrics() -> list[Any]:
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return [keras.metrics.AUC(curve="PR", multi_label=True, num_labels=classes, name="average_precision")]

    return Task(MULTI_LABEL, PROBABILITIES, "sigmoid", _binary_crossentropy, metrics, "average_precision")


def _regression(mean: float, deviation: float) -> Task:
    """One number: the squared error in standard deviations of the training targets; judged by R2."""

    def loss(label_smoothing: float) -> Any:
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        def scaled_error(targets: Any, values: Any) -> Any:
            return keras.ops.mean(keras.ops.square((targets - values) / deviation), axis=-1)

        return scaled_error

    def metrics() -> list[Any]:
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return [keras.metrics.R2Score(name="r2"), keras.metrics.RootMeanSquaredError(name="rmse")]

    return Task(REGRESSION, VALUES, "linear", loss, metrics, "r2", scale=deviation, offset=mean)
