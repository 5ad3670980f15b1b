"""The metrics of a task, from what a model said."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfransfer.evaluation.predictions import Predictions
from tfransfer.tasks import multi_label, regression, single_label
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION


def score(
    task: str, said: Predictions, classes: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """All metrics of one split, as the task's module has them.

    Args:
        task: Its name.
        said: What the model said, and what was right.
        classes: Class names.
        thresholds: Of a multi-label task, one per class; None takes one half.
    """
    if task == MULTI_LABEL:
        chosen = np.full(len(classes), 0.5) if thresholds is None else np.asarray(thresholds)
        return multi_label.score(said.targets, said.outputs, classes, chosen)
    if task == REGRESSION:
        return regression.score(said.targets, said.outputs)
    return single_label.score(said.targets.argmax(axis=1), said.outputs, classes)
