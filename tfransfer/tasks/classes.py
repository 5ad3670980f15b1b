"""What tasks with classes share: names as labels, probabilities as outputs."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfransfer.tasks.labels import Target, Unusable, ordered_names
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import Task


class ClassTask(Task):
    """A task whose outputs are probabilities of classes.

    Attributes:
        activation: From logits to probabilities, by Keras's name.
    """

    activation: str

    def output_layer(self) -> Any:
        """An activation, float32."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return keras.layers.Activation(self.activation, dtype="float32", name=self.output)

    def output_names(self, targets: Sequence[Target | Unusable], column: str) -> tuple[str, ...]:
        """The classes, sorted; whole numbers by their value."""
        return ordered_names(targets)

    def read(
        self, name: str, output: np.ndarray, classes: Sequence[str], *,
        thresholds: Sequence[float] = (), top: int = 5, least: float = 0.0,
    ) -> Prediction:  # fmt: skip
        """The likeliest classes, and the one or those that the task decides for."""
        best = np.argsort(-output, kind="stable")
        ranked = tuple((classes[i], float(output[i])) for i in best[:top])
        return self.decided(Prediction(name, ranked[0][0], ranked[0][1], ranked, sure=ranked[0][1] >= least), output,
                            classes, thresholds)  # fmt: skip

    def decided(
        self, ranked: Prediction, output: np.ndarray, classes: Sequence[str], thresholds: Sequence[float]
    ) -> Prediction:
        """A prediction for the likeliest class turned into what the task decides; the likeliest class as it is."""
        return ranked

    @abstractmethod
    def wrong(self, targets: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float] | None = None) -> np.ndarray:
        """Which examples are not all right: bool (n,)."""
