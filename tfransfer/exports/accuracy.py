"""What an exported file costs in accuracy: its metrics beside those of the model, on the same held-out examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfransfer.exports.held_out import HeldOut
from tfransfer.tasks.task import Task


@dataclass(frozen=True)
class Accuracy:
    """How good a file is.

    Attributes:
        metric: The task's headline: for example "top1".
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
    task: Task, held: HeldOut, answers: np.ndarray, classes: Sequence[str], thresholds: Sequence[float] | None = None
) -> Accuracy | None:
    """Score a file's outputs for the first of the held-out examples; None where the ground truth is not known.

    Args:
        task: Decides what is scored.
        held: The examples.
        answers: The file's outputs, shape (m, classes), m at most the examples.
        classes: Class names.
        thresholds: Of a multi-label task.
    """
    if held.targets is None:
        return None
    n, metric = len(answers), task.main.key
    ours, files = (
        task.score(held.targets[:n], outputs, classes, thresholds) for outputs in (held.expected[:n], answers)
    )
    if ours[metric] is None:
        return None
    found = Accuracy(metric, files[metric], ours[metric] - files[metric])
    if not task.class_key:
        return found
    drops = {name: (one[task.class_key] or 0.0) - (files["per_class"][name][task.class_key] or 0.0)
             for name, one in ours["per_class"].items()}  # fmt: skip
    worst = max(drops, key=lambda name: drops[name])
    return Accuracy(metric, found.value, found.drop, worst, drops[worst])
