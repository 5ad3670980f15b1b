"""What a model got most wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfransfer.data.index import SEPARATOR
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL


@dataclass(frozen=True)
class Mistake:
    """One example that a model got wrong.

    Attributes:
        position: In the split.
        right: What it is: a class, several, or a number.
        said: What the model said.
        output: Index of the output that the mistake is about.
        probability: What the model gave to what it said; None for a regression.
        right_probability: What it gave to what is right; None where that is not one class.
    """

    position: int
    right: str
    said: str
    output: int
    probability: float | None = None
    right_probability: float | None = None


def most_wrong(
    task: str,
    targets: np.ndarray,
    outputs: np.ndarray,
    classes: Sequence[str],
    thresholds: Sequence[float] | None = None,
    limit: int = 12,
) -> list[Mistake]:
    """The examples that a model got wrong, the one it was surest of first.

    Single-label: by the probability of the wrong class. Multi-label: by the greatest distance of a class's probability
    from what is right, on the wrong side of its threshold. Regression: by the distance.

    Args:
        task: Its name.
        targets: What is right, shape (n, outputs).
        outputs: What the model said, shape (n, outputs).
        classes: Class names.
        thresholds: Of a multi-label task, one per class; None takes one half.
        limit: How many to give.
    """
    if task == REGRESSION:
        return _farthest(targets, outputs, limit)
    if task == MULTI_LABEL:
        chosen = np.full(len(classes), 0.5) if thresholds is None else np.asarray(thresholds)
        return _several(targets, outputs, classes, chosen, limit)
    right, said = targets.argmax(axis=1), outputs.argmax(axis=1)
    wrong = np.flatnonzero(right != said)
    ranked = wrong[np.argsort(-outputs[wrong, said[wrong]], kind="stable")][:limit]
    return [
        Mistake(int(i), classes[right[i]], classes[said[i]], int(said[i]), float(outputs[i, said[i]]),
                float(outputs[i, right[i]]))
        for i in ranked
    ]  # fmt: skip


def _farthest(targets: np.ndarray, outputs: np.ndarray, limit: int) -> list[Mistake]:
    away = np.abs(outputs[:, 0] - targets[:, 0])
    ranked = np.argsort(-away, kind="stable")[:limit]
    return [Mistake(int(i), f"{targets[i, 0]:.4g}", f"{outputs[i, 0]:.4g}", 0) for i in ranked if away[i] > 0]


def _several(
    targets: np.ndarray, outputs: np.ndarray, classes: Sequence[str], thresholds: np.ndarray, limit: int
) -> list[Mistake]:
    wanted, said = targets > 0, outputs >= thresholds
    away = np.where(wanted != said, np.abs(outputs - targets), -1.0)
    worst = away.argmax(axis=1)
    distance = away[np.arange(len(away)), worst]
    ranked = [i for i in np.argsort(-distance, kind="stable")[:limit] if distance[i] >= 0]
    return [
        Mistake(int(i), _names(classes, wanted[i]), _names(classes, said[i]), int(worst[i]),
                float(outputs[i, worst[i]]))
        for i in ranked
    ]  # fmt: skip


def _names(classes: Sequence[str], applies: np.ndarray) -> str:
    return SEPARATOR.join(name for name, yes in zip(classes, applies, strict=True) if yes) or "none"


def count(task: str, targets: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float] | None = None) -> int | None:
    """How many examples were not all right; None for a regression, which has no right and wrong."""
    if task == REGRESSION:
        return None
    if task == SINGLE_LABEL:
        return int((targets.argmax(axis=1) != outputs.argmax(axis=1)).sum())
    chosen = np.full(targets.shape[1], 0.5) if thresholds is None else np.asarray(thresholds)
    return int(((targets > 0) != (outputs >= chosen)).any(axis=1).sum())


def confused_pairs(matrix: np.ndarray, classes: Sequence[str], limit: int = 20) -> list[tuple[str, str, int]]:
    """(true class, said class, how often), the most frequent confusion first.

    Args:
        matrix: Rows are true classes, columns predicted ones.
        classes: Class names.
        limit: How many to give.
    """
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    ranked = np.argsort(-off, axis=None, kind="stable")[:limit]
    found = [(*np.unravel_index(place, off.shape), int(off.flat[place])) for place in ranked]
    return [(classes[true], classes[said], times) for true, said, times in found if times]
