"""What an exported file costs in accuracy: its metrics beside those of the model, on the same held-out examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfransfer.evaluation.predictions import Predictions
from tfransfer.evaluation.scores import score
from tfransfer.exports.held_out import HeldOut
from tfransfer.tasks.task import HEADLINES, MULTI_LABEL, REGRESSION

_PER_CLASS = "recall"


@dataclass(frozen=True)
class Accuracy:
    """How good a file is.

    Attributes:
        metric: The task's headline: "top1", "mean_average_precision" or "r2".
        value: The file's.
        drop: The model's on the same examples, less the file's; negative where the file is better.
        worst_class: The class that loses most recall (of several labels: average precision); empty for a regression.
        worst_class_drop: How much it loses.
    """

    metric: str
    value: float
    drop: float
    worst_class: str = ""
    worst_class_drop: float = 0.0


def accuracy(
    task: str, held: HeldOut, answers: np.ndarray, classes: Sequence[str], thresholds: Sequence[float] | None = None
) -> Accuracy | None:
    """Score a file's answers about the first of the held-out examples; None where it is not known what is right.

    Args:
        task: Its name.
        held: The examples.
        answers: What the file said, shape (m, classes), m at most the examples.
        classes: Class names.
        thresholds: Of a multi-label task.
    """
    if held.targets is None:
        return None
    n = len(answers)
    ours, files = (
        score(task, Predictions((), held.targets[:n], said), classes, thresholds)
        for said in (held.expected[:n], answers)
    )
    metric = HEADLINES[task].key
    if ours[metric] is None:
        return None
    found = Accuracy(metric, files[metric], ours[metric] - files[metric])
    if task == REGRESSION:
        return found
    column = "average_precision" if task == MULTI_LABEL else _PER_CLASS
    drops = {
        name: (ours["per_class"][name][column] or 0.0) - (files["per_class"][name][column] or 0.0) for name in classes
    }
    worst = max(drops, key=lambda name: drops[name])
    return Accuracy(metric, found.value, found.drop, worst, drops[worst])
