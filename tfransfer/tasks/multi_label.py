"""Multi-label classification: any number of classes apply to an example, decided by a threshold for each class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfransfer.tasks.classes import LINEAR_STRENGTH, ClassTask
from tfransfer.tasks.figure import F1, LOG_LOSS, PRECISION, RECALL, SUPPORT, Figure
from tfransfer.tasks.labels import Labelled, Target, Unusable, class_in, joined, names_in
from tfransfer.tasks.prediction import Mistake, Prediction
from tfransfer.tasks.task import MULTI_LABEL, Task

_AVERAGE_PRECISION = Figure("average_precision", "average precision")
# The threshold if none were chosen, and in comparisons of exported files.
_HALF = 0.5


@dataclass(frozen=True)
class MultiLabel(ClassTask):
    """Sigmoid outputs, scored by mean average precision over the classes.

    Attributes:
        classes: Number of classes; 0 until `fitted`.
    """

    classes: int = 0

    name = MULTI_LABEL
    activation = "sigmoid"
    several = True
    figures = (
        Figure("mean_average_precision", "mean average precision"),
        Figure("mean_prevalence", "by chance"),
        Figure("micro_f1", "micro F1"),
        Figure("macro_f1", "macro F1"),
        Figure("exact_match", "all classes correct", share=True),
        LOG_LOSS,
    )
    class_figures = (_AVERAGE_PRECISION, PRECISION, RECALL, F1, Figure("threshold", "threshold"), SUPPORT)
    epoch_figure = _AVERAGE_PRECISION
    class_key = "average_precision"
    answer = "the probability of each class; several may apply"

    def fitted(self, targets: np.ndarray) -> Task:
        """The task with the number of classes."""
        return replace(self, classes=targets.shape[1])

    def loss(self, label_smoothing: float) -> Any:
        """Binary cross-entropy, averaged over the classes."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)

    def metrics(self) -> list[Any]:
        """Average precision, as the area under the precision-recall curve, averaged over the classes."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return [keras.metrics.AUC(curve="PR", multi_label=True, num_labels=self.classes, name=self.headline)]

    def read_cell(self, cell: str, place: str, column: str, separator: str) -> Target | Unusable:
        """The classes between separators, without repetitions; no class at all is a valid target, too."""
        read = class_in(cell, column)
        if isinstance(read, Unusable):
            return read
        return tuple(dict.fromkeys(part.strip() for part in read.split(separator) if part.strip()))

    def from_record(self, value: Any, classes: Sequence[str]) -> Target | None:
        """The classes of indices; None if one of them is -1, which stands for unknown."""
        return tuple(classes[i] for i in sorted(set(value.tolist()))) if (value >= 0).all() else None

    def encode(self, target: Target, positions: dict[str, int]) -> tuple[int, tuple[float, ...]]:
        """0 or 1 for each class."""
        return 0, tuple(float(name in names_in(target)) for name in positions)

    def class_names(self, example: Labelled, classes: Sequence[str]) -> list[str]:
        """The classes that apply."""
        return [name for name, applies in zip(classes, example.target, strict=True) if applies]

    def target_text(self, target: np.ndarray, classes: Sequence[str]) -> str:
        """The classes that apply, separated by `;`."""
        return joined(classes, target)

    def score(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """See `metrics.multi_label`."""
        from tfransfer.tasks import metrics  # here, so that `tfransfer --help` starts without scikit-learn

        return metrics.multi_label(targets, outputs, classes, _per_class(thresholds, len(classes)))

    def choose_thresholds(self, targets: np.ndarray, outputs: np.ndarray) -> list[float]:
        """The threshold of each class with the highest F1."""
        from tfransfer.tasks import metrics  # here, so that `tfransfer --help` starts without scikit-learn

        return [float(threshold) for threshold in metrics.choose_thresholds(targets, outputs)]

    def decided(
        self, ranked: Prediction, output: np.ndarray, classes: Sequence[str], thresholds: Sequence[float]
    ) -> Prediction:
        """The classes that reach their thresholds, likeliest first."""
        chosen = _per_class(thresholds, len(classes))
        best = np.argsort(-output, kind="stable")
        applies = tuple(classes[i] for i in best if output[i] >= chosen[i])
        return replace(ranked, label=joined(applies, applies), applies=applies)

    def wrong(self, targets: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float] | None = None) -> np.ndarray:
        """Whether the decision on any class is wrong."""
        chosen = _per_class(thresholds, targets.shape[1])
        return np.asarray(((targets > 0) != (outputs >= chosen)).any(axis=1))

    def most_wrong(
        self,
        targets: np.ndarray,
        outputs: np.ndarray,
        classes: Sequence[str],
        thresholds: Sequence[float] | None = None,
        limit: int = 12,
    ) -> list[Mistake]:
        """Ranked by the largest error of a probability among the classes whose decision is wrong."""
        true, predicted = targets > 0, outputs >= _per_class(thresholds, len(classes))
        errors = np.where(true != predicted, np.abs(outputs - targets), -1.0)
        worst = errors.argmax(axis=1)
        largest = errors[np.arange(len(errors)), worst]
        ranked = [i for i in np.argsort(-largest, kind="stable")[:limit] if largest[i] >= 0]
        return [
            Mistake(int(i), joined(classes, true[i]) or "none", joined(classes, predicted[i]) or "none", int(worst[i]),
                    float(outputs[i, worst[i]]))
            for i in ranked
        ]  # fmt: skip

    def confidence(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities of all classes of all examples."""
        return outputs.ravel(), targets.ravel() > 0

    def drawn_figure(self, targets: np.ndarray, outputs: np.ndarray) -> float | None:
        """Mean average precision over the classes that occur, vectorized for hundreds of resamples."""
        ranked = np.take_along_axis(targets, np.argsort(-outputs, axis=0, kind="stable"), axis=0)
        precision = np.cumsum(ranked, axis=0) / np.arange(1, len(ranked) + 1)[:, np.newaxis]
        positives = ranked.sum(axis=0)
        occurs = positives > 0
        return float(((precision * ranked).sum(axis=0)[occurs] / positives[occurs]).mean()) if occurs.any() else None

    has_linear_head = True

    def linear_outputs(self, features: np.ndarray, targets: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Probabilities of a logistic regression for each class."""
        from sklearn.linear_model import LogisticRegression  # here, so that `tfransfer --help` starts without it

        outputs = np.tile(targets.mean(axis=0, dtype=np.float64), (len(held_out), 1))
        for number in np.flatnonzero((targets.min(axis=0) == 0) & (targets.max(axis=0) == 1)):
            fitted = LogisticRegression(C=LINEAR_STRENGTH, max_iter=300).fit(features, targets[:, number])
            outputs[:, number] = fitted.predict_proba(held_out)[:, 1]
        return outputs

    def logits(self, outputs: np.ndarray, floor: float) -> np.ndarray:
        """The log odds of each class."""
        probabilities = outputs.astype(np.float64)
        positive, negative = np.maximum(probabilities, floor), np.maximum(1 - probabilities, max(floor, 1e-12))
        return np.asarray(np.log(positive) - np.log(negative))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The sigmoid of logits."""
        from scipy import special  # here, so that `tfransfer --help` starts without SciPy

        return np.asarray(special.expit(logits))

    def log_loss(self, targets: np.ndarray, outputs: np.ndarray, floor: float) -> float:
        """Log loss averaged over all classes."""
        probabilities = outputs.astype(np.float64)
        positive = targets * np.log(np.maximum(probabilities, floor))
        return float(-(positive + (1 - targets) * np.log(np.maximum(1 - probabilities, floor))).mean())

    def same(self, answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Whether the same classes reach one half."""
        return np.asarray(((answer >= _HALF) == (expected >= _HALF)).all(axis=1))

    def clear(self, expected: np.ndarray, margin: float) -> np.ndarray:
        """Whether every probability is further than `margin` from one half."""
        return np.asarray((np.abs(expected - _HALF) > margin).all(axis=1))

    def likeness(self, answer: np.ndarray, expected: np.ndarray) -> float:
        """The share of single decisions that agree: with many classes, one often crosses its threshold."""
        return float(((answer >= _HALF) == (expected >= _HALF)).mean())

    def in_words(self, classes: Sequence[str]) -> str:
        """The number of classes."""
        return f"{len(classes)} classes (multi-label)"

    def aim(self, classes: Sequence[str]) -> str:
        """The aim of training."""
        return f"to tell which of {len(classes)} classes apply"


def _per_class(thresholds: Sequence[float] | None, classes: int) -> np.ndarray:
    """The thresholds, float64 (classes,); one half if none were chosen."""
    given = () if thresholds is None else thresholds
    return np.asarray(given, np.float64) if len(given) else np.full(classes, _HALF)
