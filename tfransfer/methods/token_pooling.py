"""Decide what a head takes of a base's tokens: the class token, their mean, or both, by a cross-validated linear probe.

A base was pretrained to put what it knows into one of them, and which one differs: BERT's class token was trained to
tell whether two sentences follow one another, a sentence encoder's mean to be like that of its paraphrase.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tfransfer.base.build import BuiltBase
from tfransfer.base.tokens import MEAN, TokenPooling, selected
from tfransfer.data import splits
from tfransfer.data.dataset import Dataset
from tfransfer.display.numbers import number_text
from tfransfer.display.progress import Progress, Say
from tfransfer.features.pooled import pooled_features
from tfransfer.methods.probing import out_of_fold
from tfransfer.recipe import Recipe
from tfransfer.tasks.task import Task, find_task

# Training examples that the probe sees: with more, the choice hardly changes and takes longer.
_MOST = 2_000
_FEWEST = 10


def choose_pooling(dataset: Dataset, base: BuiltBase, recipe: Recipe, progress: Progress, say: Say) -> str:
    """What a linear probe does best with, cross-validated on the training split.

    Args:
        dataset: Its training split is looked at, and no other.
        base: A base whose output is a class token and a mean side by side, before it is trained.
        recipe: Its `features` settings select the engine and the disk budget.
        progress: Shows the progress of extraction.
        say: Gets a line with the figures.

    Returns:
        "class", "mean" or "both"; the mean where nothing tells them apart.
    """
    task, examples = find_task(dataset.task), dataset.split("train")[:_MOST]
    few = replace(dataset, examples=tuple(examples))
    able = task.has_linear_head and recipe.features.cache and len(examples) >= _FEWEST
    features = pooled_features(few, base, recipe, progress, say) if able else None
    if features is None:
        return MEAN
    clusters = splits.clusters(examples)
    together = [clusters[example.content] for example in examples]
    figures = probe_each(task, features, dataset.targets(examples), together, recipe.seed)
    shown = ", ".join(f"{pooling} {number_text(value)}" for pooling, value in figures.items())
    best = max(figures, key=lambda pooling: figures[pooling])
    say(f"pooling: {best} of the tokens; cross-validated {task.main.title} of a linear probe: {shown}")
    return best


def probe_each(
    task: Task, features: np.ndarray, targets: np.ndarray, together: Sequence[str], seed: int
) -> dict[str, float]:
    """The cross-validated headline of a linear probe for each pooling, the preferred one of equals first.

    Args:
        task: Gives the probe and its score.
        features: Class token and mean side by side, float, shape (n, 2 width).
        targets: As training sees them, float32, shape (n, outputs).
        together: A group name for each example; a group (copies) stays in one fold.
        seed: Of the folds.
    """
    figures: dict[str, float] = {}
    for pooling in TokenPooling.choices:
        outputs = out_of_fold(task, selected(features, pooling), targets, together, seed)
        value = task.score(targets, outputs, [str(number) for number in range(targets.shape[1])])[task.main.key]
        figures[pooling] = float("-inf") if value is None else value
    return figures
