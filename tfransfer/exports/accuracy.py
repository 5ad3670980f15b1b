"""The accuracy that an exported file loses against the model, on the same held-out examples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfransfer.exports.held_out import HeldOut
from tfransfer.tasks.task import Task


@dataclass(frozen=True)
class Accuracy:
    """A file's accuracy.

    Attributes:
        metric: The task's headline metric, such as "top1".
        value: Its value for the file.
        drop: The model's value minus the file's, on the same examples; negative if the file is better.
        worst_class: The class that loses most recall (multi-label: average precision); empty for a regression.
        worst_class_drop: Its loss.
        split: The split of these examples; empty if it is not known.
    """

    metric: str
    value: float
    drop: float
    worst_class: str = ""
    worst_class_drop: float = 0.0
    split: str = ""


def accuracy(
    task: Task, held: HeldOut, answers: np.ndarray, classes: Sequence[str], thresholds: Sequence[float] | None = None
) -> Accuracy | None:
    """Score a file's outputs for the first held-out examples; None if the ground truth is unknown.

    Args:
        task: Decides what is scored.
        held: The held-out examples.
        answers: The file's outputs for the first m examples, shape (m, classes).
        classes: Class names.
        thresholds: Thresholds of a multi-label task.
    """
    if held.targets is None:
        return None
    n, metric = len(answers), task.main.key
    model_scores, file_scores = (
        task.score(held.targets[:n], outputs, classes, thresholds) for outputs in (held.expected[:n], answers)
    )
    if model_scores[metric] is None:
        return None
    overall = Accuracy(metric, file_scores[metric], model_scores[metric] - file_scores[metric], split=held.split)
    if not task.class_key:
        return overall
    file_classes = file_scores["per_class"]
    drops = {name: (scores[task.class_key] or 0.0) - (file_classes[name][task.class_key] or 0.0)
             for name, scores in model_scores["per_class"].items()}  # fmt: skip
    worst = max(drops, key=lambda name: drops[name])
    return replace(overall, worst_class=worst, worst_class_drop=drops[worst])
