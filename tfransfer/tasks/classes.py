"""Common base of tasks with classes: names as labels, probabilities as outputs."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfransfer.tasks.labels import Target, Unusable, ordered_names
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import Task

# Inverse strength of the L2 penalty of a logistic regression on standardized features, as scikit-learn's C.
LINEAR_STRENGTH = 0.01


class ClassTask(Task):
    """A task whose outputs are probabilities of classes.

    Attributes:
        activation: Keras's name of the activation from logits to probabilities.
    """

    activation: str

    def output_layer(self) -> Any:
        """The activation, float32."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return keras.layers.Activation(self.activation, dtype="float32", name=self.output)

    def output_names(self, targets: Sequence[Target | Unusable], column: str) -> tuple[str, ...]:
        """The classes, sorted; whole numbers by value."""
        return ordered_names(targets)

    def read(
        self, name: str, output: np.ndarray, classes: Sequence[str], *,
        thresholds: Sequence[float] = (), top: int = 5, least: float = 0.0,
    ) -> Prediction:  # fmt: skip
        """The prediction for one row of outputs: the likeliest classes, and the task's decision."""
        best = np.argsort(-output, kind="stable")
        ranked = tuple((classes[i], float(output[i])) for i in best[:top])
        return self.decided(Prediction(name, ranked[0][0], ranked[0][1], ranked, sure=ranked[0][1] >= least), output,
                            classes, thresholds)  # fmt: skip

    def decided(
        self, ranked: Prediction, output: np.ndarray, classes: Sequence[str], thresholds: Sequence[float]
    ) -> Prediction:
        """The task's decision, from a prediction of the likeliest class; by default, that prediction."""
        return ranked

    @abstractmethod
    def wrong(self, targets: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float] | None = None) -> np.ndarray:
        """Which predictions are wrong: bool (n,)."""
