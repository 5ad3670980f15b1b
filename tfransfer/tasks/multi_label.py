"""Multi-label classification: each class applies to an example or not, decided by a threshold of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfransfer.tasks.classes import ClassTask
from tfransfer.tasks.figure import F1, LOG_LOSS, PRECISION, RECALL, SUPPORT, Figure
from tfransfer.tasks.labels import Labelled, Target, Unusable, class_in, joined, names_in
from tfransfer.tasks.prediction import Mistake, Prediction
from tfransfer.tasks.task import MULTI_LABEL, Task

_AVERAGE_PRECISION = Figure("average_precision", "average precision")
# A class applies from here on, where no thresholds were chosen, and where exported files are compared.
_HALF = 0.5


@dataclass(frozen=True)
class MultiLabel(ClassTask):
    """Sigmoids; judged by average precision, the mean over the classes.

    Attributes:
        classes: How many there are; 0 until `fitted`.
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
        Figure("exact_match", "all classes right", share=True),
        LOG_LOSS,
    )
    class_figures = (_AVERAGE_PRECISION, PRECISION, RECALL, F1, Figure("threshold", "threshold"), SUPPORT)
    epoch_figure = _AVERAGE_PRECISION
    class_key = "average_precision"
    answer = "for each class the probability that it applies; several may"

    def fitted(self, targets: np.ndarray) -> Task:
        """With the number of classes."""
        return replace(self, classes=targets.shape[1])

    def loss(self, label_smoothing: float) -> Any:
        """Binary cross-entropy, the mean over the classes."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)

    def metrics(self) -> list[Any]:
        """Average precision as the area below the precision-recall curve, the mean over the classes."""
        import keras  # here, so that `tfransfer --help` starts without TensorFlow

        return [keras.metrics.AUC(curve="PR", multi_label=True, num_labels=self.classes, name=self.headline)]

    def read_cell(self, cell: str, place: str, column: str, separator: str) -> Target | Unusable:
        """The classes between separators, each once; none is a target too."""
        read = class_in(cell, column)
        if isinstance(read, Unusable):
            return read
        return tuple(dict.fromkeys(part.strip() for part in read.split(separator) if part.strip()))

    def from_record(self, value: Any, classes: Sequence[str]) -> Target | None:
        """The classes of numbers; -1 stands for unknown ones."""
        return tuple(classes[i] for i in sorted(set(value.tolist()))) if (value >= 0).all() else None

    def encode(self, target: Target, positions: dict[str, int]) -> tuple[int, tuple[float, ...]]:
        """0 or 1 per class."""
        return 0, tuple(float(name in names_in(target)) for name in positions)

    def class_names(self, example: Labelled, classes: Sequence[str]) -> list[str]:
        """The classes that apply."""
        return [name for name, applies in zip(classes, example.target, strict=True) if applies]

    def target_text(self, target: np.ndarray, classes: Sequence[str]) -> str:
        """The classes that apply, with `;` between them."""
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
        """For each class the one with the highest F1."""
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
        """Whether any class is decided wrong."""
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
        """By the greatest distance of a class's probability from the truth, on the wrong side of its threshold."""
        wanted, said = targets > 0, outputs >= _per_class(thresholds, len(classes))
        away = np.where(wanted != said, np.abs(outputs - targets), -1.0)
        worst = away.argmax(axis=1)
        distance = away[np.arange(len(away)), worst]
        ranked = [i for i in np.argsort(-distance, kind="stable")[:limit] if distance[i] >= 0]
        return [
            Mistake(int(i), joined(classes, wanted[i]) or "none", joined(classes, said[i]) or "none", int(worst[i]),
                    float(outputs[i, worst[i]]))
            for i in ranked
        ]  # fmt: skip

    def confidence(self, targets: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of every class of each example."""
        return outputs.ravel(), targets.ravel() > 0

    def drawn_figure(self, targets: np.ndarray, outputs: np.ndarray) -> float | None:
        """Average precision over the classes that occur; of all classes at once, as hundreds of draws want it."""
        ranked = np.take_along_axis(targets, np.argsort(-outputs, axis=0, kind="stable"), axis=0)
        precision = np.cumsum(ranked, axis=0) / np.arange(1, len(ranked) + 1)[:, np.newaxis]
        found = ranked.sum(axis=0)
        occurs = found > 0
        return float(((precision * ranked).sum(axis=0)[occurs] / found[occurs]).mean()) if occurs.any() else None

    def logits(self, outputs: np.ndarray, floor: float) -> np.ndarray:
        """Of each class by itself."""
        said = outputs.astype(np.float64)
        return np.asarray(np.log(np.maximum(said, floor)) - np.log(np.maximum(1 - said, max(floor, 1e-12))))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Their sigmoids."""
        from scipy import special  # here, so that `tfransfer --help` starts without SciPy

        return np.asarray(special.expit(logits))

    def log_loss(self, targets: np.ndarray, outputs: np.ndarray, floor: float) -> float:
        """Mean over all classes."""
        said = outputs.astype(np.float64)
        right = targets * np.log(np.maximum(said, floor))
        return float(-(right + (1 - targets) * np.log(np.maximum(1 - said, floor))).mean())

    def same(self, answer: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Whether the same classes reach one half."""
        return np.asarray(((answer >= _HALF) == (expected >= _HALF)).all(axis=1))

    def clear(self, expected: np.ndarray, margin: float) -> np.ndarray:
        """Whether every probability is further from one half."""
        return np.asarray((np.abs(expected - _HALF) > margin).all(axis=1))

    def likeness(self, answer: np.ndarray, expected: np.ndarray) -> float:
        """The share of single decisions that agree: of many classes, one may always fall on the other side."""
        return float(((answer >= _HALF) == (expected >= _HALF)).mean())

    def in_words(self, classes: Sequence[str]) -> str:
        """Classes, of which several may apply."""
        return f"{len(classes)} classes, of which several may apply"

    def aim(self, classes: Sequence[str]) -> str:
        """To tell which classes apply."""
        return f"to tell which of {len(classes)} classes apply"


def _per_class(thresholds: Sequence[float] | None, classes: int) -> np.ndarray:
    """The thresholds, float64 (classes,); one half where none were chosen."""
    given = () if thresholds is None else thresholds
    return np.asarray(given, np.float64) if len(given) else np.full(classes, _HALF)
