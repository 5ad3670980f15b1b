"""Single-label classification: each example has exactly one class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfransfer.tasks.classes import LINEAR_STRENGTH, ClassTask
from tfransfer.tasks.figure import F1, LOG_LOSS, PRECISION, RECALL, SUPPORT, Figure
from tfransfer.tasks.labels import Labelled, Target, Unusable, class_in
from tfransfer.tasks.prediction import Mistake
from tfransfer.tasks.task import SINGLE_LABEL

_TOP1 = Figure("top1", "top-1", share=True)


class SingleLabel(ClassTask):
    """Softmax outputs; the likeliest class is predicted. Scored by top-1 accuracy."""

    name = SINGLE_LABEL
    activation = "softmax"
    one_class = True
    figures = (
        _TOP1,
        Figure("top5", "top-5", share=True),
        LOG_LOSS,
        Figure("expected_calibration_error", "calibration error", share=True),
    )
    class_figures = (PRECISION, RECALL, F1, SUPPORT)
    epoch_figure = _TOP1
    class_key = "recall"
    same_title = "same top-1"
    answer = "the probability of each class; one class applies"
    limits = ("It always predicts one of its classes, also for inputs that belong to none of them.",)

    def loss(self, label_smoothing: float) -> Any:
        """Cross-entropy."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)

    def metrics(self) -> list[Any]:
        """Top-1 accuracy."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return [keras.metrics.CategoricalAccuracy(name=self.headline)]

    def read_cell(self, cell: str, place: str, column: str, separator: str) -> Target | Unusable:
        """The class in the cell."""
        return class_in(cell, column)

    def from_record(self, value: Any, classes: Sequence[str]) -> Target | None:
        """The class of an index; None for -1, which stands for unknown."""
        return classes[int(value)] if value >= 0 else None

    def encode(self, target: Target, positions: dict[str, int]) -> tuple[int, tuple[float, ...]]:
        """The class's index."""
        return positions[str(target)], ()

    def target_text(self, target: np.ndarray, classes: Sequence[str]) -> str:
        """The class."""
        return classes[int(target.argmax())]

    def targets(self, examples: Sequence[Labelled], classes: Sequence[str]) -> np.ndarray:
        """One-hot rows."""
        return np.eye(len(classes), dtype=np.float32)[np.array([e.label for e in examples], dtype=np.int64)]

    def strata(self, classes: Sequence[str]) -> Sequence[str]:
        """The classes."""
        return classes

    def score(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """See `metrics.single_label`."""
        from tfransfer.tasks import metrics  # here, so that `tfransfer --help` starts without scikit-learn

        return metrics.single_label(targets.argmax(axis=1), outputs, classes)

    def wrong(self, targets: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float] | None = None) -> np.ndarray:
        """Whether the likeliest class is not the true one."""
        return np.asarray(targets.argmax(axis=1) != outputs.argmax(axis=1))

    def most_wrong(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
        limit: int = 12,
    ) -> list[Mistake]:
        """Ranked by the probability of the wrong class."""
        true, predicted = targets.argmax(axis=1), outputs.argmax(axis=1)
        wrong = np.flatnonzero(self.wrong(targets, outputs))
        ranked = wrong[np.argsort(-outputs[wrong, predicted[wrong]], kind="stable")][:limit]
        return [
            Mistake(int(i), classes[true[i]], classes[predicted[i]], int(predicted[i]), float(outputs[i, predicted[i]]),
                    float(outputs[i, true[i]]))
            for i in ranked
        ]  # fmt: skip

    def confidence(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probability of each example's likeliest class."""
        return outputs.max(axis=1), ~self.wrong(targets, outputs)

    def groups(self, targets: np.ndarray) -> np.ndarray:
        """The true class."""
        return np.asarray(targets.argmax(axis=1))

    has_linear_head = True

    def linear_outputs(self, features: np.ndarray, targets: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Probabilities of a logistic regression."""
        from sklearn.linear_model import LogisticRegression  # here, so that `tfransfer --help` starts without it

        labels, outputs = targets.argmax(axis=1), np.zeros((len(held_out), targets.shape[1]))
        if len(np.unique(labels)) < 2:
            outputs[:, labels[0]] = 1
            return outputs
        fitted = LogisticRegression(C=LINEAR_STRENGTH, max_iter=300).fit(features, labels)
        outputs[:, fitted.classes_] = fitted.predict_proba(held_out)
        return outputs

    def logits(self, outputs: np.ndarray, floor: float) -> np.ndarray:
        """The logarithms of probabilities."""
        return np.asarray(np.log(np.maximum(outputs.astype(np.float64), floor)))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The softmax of logits."""
        from scipy import special  # here, so that `tfransfer --help` starts without SciPy

        return np.asarray(special.softmax(logits, axis=1))

    def log_loss(self, targets: np.ndarray, outputs: np.ndarray, floor: float) -> float:
        """Log loss of the true class."""
        return float(-(targets * self.logits(outputs, floor)).sum(axis=1).mean())

    def same(self, answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Whether the likeliest class is the same."""
        return np.asarray(answer.argmax(axis=1) == expected.argmax(axis=1))

    def clear(self, expected: np.ndarray, margin: float) -> np.ndarray:
        """Whether the two likeliest classes are further than `margin` apart."""
        best = np.sort(expected, axis=1)
        return np.asarray(best[:, -1] - best[:, -2] > margin)

    def aim(self, classes: Sequence[str]) -> str:
        """The aim of training."""
        return f"to tell {len(classes)} classes apart"

    def headline_words(self, n: int, split: str, noun: str) -> str:
        """The meaning of the headline's value."""
        return f"of {n:,} {split} {noun} classified correctly ({self.main.title} accuracy)"


CLASSIFICATION = SingleLabel()
