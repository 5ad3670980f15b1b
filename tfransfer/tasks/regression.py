"""Regression: one number in the unit of the training targets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np

from tfransfer.display.numbers import value_text
from tfransfer.tasks.figure import Figure
from tfransfer.tasks.labels import Labelled, Target, Unusable, number_in
from tfransfer.tasks.prediction import Mistake, Prediction
from tfransfer.tasks.task import REGRESSION, VALUES, Task

_R2 = Figure("r2", "R2")


@dataclass(frozen=True)
class Regression(Task):
    """Squared error on standardized targets, scored by R2.

    Attributes:
        scale: Standard deviation of the training targets; multiplied with the head's output.
        offset: Mean of the training targets; added to it, so that the model predicts in original units.
    """

    scale: float = 1.0
    offset: float = 0.0

    name = REGRESSION
    output = VALUES
    has_classes = False
    calibrates = False
    unnamed = ("value",)
    figures = (_R2, Figure("rmse", "RMSE"), Figure("mae", "mean absolute error"), Figure("bias", "bias"))
    epoch_figure = _R2
    answer = "a number, in the unit of the training targets"
    mistakes_title = "Largest errors"
    heat_meaning = "increase the number"

    def fitted(self, targets: np.ndarray) -> Task:
        """The task with the standard deviation and the mean of the training targets."""
        return replace(self, scale=float(targets.std()) or 1.0, offset=float(targets.mean()))

    def output_layer(self) -> Any:
        """The layer that rescales to original units, float32."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return keras.layers.Rescaling(self.scale, offset=self.offset, dtype="float32", name=self.output)

    def loss(self, label_smoothing: float) -> Any:
        """The squared error in standard deviations, so that learning rates do not depend on the unit."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        def scaled_error(targets: Any, values: Any) -> Any:
            return keras.ops.mean(keras.ops.square((targets - values) / self.scale), axis=-1)

        return scaled_error

    def metrics(self) -> list[Any]:
        """R2 and the root mean squared error."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return [keras.metrics.R2Score(name=self.headline), keras.metrics.RootMeanSquaredError(name="rmse")]

    def read_cell(self, cell: str, place: str, column: str, separator: str) -> Target | Unusable:
        """A finite number."""
        return number_in(cell, place, column)

    def output_names(self, targets: Sequence[Target | Unusable], column: str) -> tuple[str, ...]:
        """The column's name."""
        return (column,)

    def from_record(self, value: Any, classes: Sequence[str]) -> Target | None:
        """A finite number."""
        return float(value) if isfinite(value) else None

    def encode(self, target: Target, positions: dict[str, int]) -> tuple[int, tuple[float, ...]]:
        """The number."""
        return 0, (float(target),)  # type: ignore[arg-type]  # sources give a regression's rows numbers

    def label_text(self, example: Labelled, classes: Sequence[str]) -> str:
        """The number, to the last bit."""
        return repr(example.target[0])

    def target_text(self, target: np.ndarray, classes: Sequence[str]) -> str:
        """The number, to the last bit."""
        return repr(float(target[0]))

    def nothing_to_learn(self, name: str, examples: Sequence[Labelled]) -> str:
        """The reason if all numbers are equal."""
        values = {e.target for e in examples}
        return f"all numbers in {name} are equal ({values}): there is nothing to learn." if len(values) < 2 else ""

    def score(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """See `metrics.regression`."""
        from tfransfer.tasks import metrics  # here, so that `tfransfer --help` starts without scikit-learn

        return metrics.regression(targets, outputs)

    def read(
        self, name: str, output: np.ndarray, classes: Sequence[str], *,
        thresholds: Sequence[float] = (), top: int = 5, least: float = 0.0,
    ) -> Prediction:  # fmt: skip
        """The predicted number."""
        return Prediction(name, "", 0.0, (), value=float(output[0]))

    def most_wrong(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
        limit: int = 12,
    ) -> list[Mistake]:
        """Ranked by the absolute error."""
        errors = np.abs(outputs[:, 0] - targets[:, 0])
        ranked = [i for i in np.argsort(-errors, kind="stable")[:limit] if errors[i] > 0]
        return [Mistake(int(i), value_text(targets[i, 0]), value_text(outputs[i, 0]), 0) for i in ranked]

    def numbers(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers themselves."""
        return targets[:, 0], outputs[:, 0]

    def drawn_figure(self, targets: np.ndarray, outputs: np.ndarray) -> float | None:
        """R2."""
        spread = ((targets - targets.mean()) ** 2).sum()
        return None if spread == 0 else float(1 - ((targets - outputs) ** 2).sum() / spread)

    has_linear_head = True

    def linear_outputs(self, features: np.ndarray, targets: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Numbers of a ridge regression, whose penalty is chosen by leaving one out."""
        from sklearn.linear_model import RidgeCV  # here, so that `tfransfer --help` starts without it

        fitted = RidgeCV(alphas=[10.0**power for power in range(7)]).fit(features, targets[:, 0])
        return np.asarray(fitted.predict(held_out), np.float64)[:, np.newaxis]

    def magnitude(self, expected: np.ndarray) -> float:
        """The largest absolute value, at least 1."""
        return max(1.0, float(np.abs(expected).max()))

    def likeness(self, answer: np.ndarray, expected: np.ndarray) -> float:
        """1 minus the RMSE in standard deviations of the model's own outputs."""
        spread = float(expected.std()) or 1.0
        return 1 - float(np.sqrt(np.mean((answer - expected) ** 2))) / spread

    def in_words(self, classes: Sequence[str]) -> str:
        """The name of the number."""
        return f"a number, {classes[0]}"

    def aim(self, classes: Sequence[str]) -> str:
        """The aim of training."""
        return f"to predict a number, {classes[0]}"
