"""A cross-validated figure of the head, for data whose test split is too small to tell how good a model is.

Of 36 test photos, a model that is right on 87% gets between 72% and 97% right by luck alone. A head on the features of
the frozen base takes a fraction of a second to fit, so it can be fitted five times, each time without a fifth of all
examples, and be scored on that fifth. The figure is the head's, not that of the fine-tuned model, and selects nothing.
"""

from typing import Any

from tfransfer.base.build import BuiltBase
from tfransfer.data import splits
from tfransfer.data.dataset import Dataset
from tfransfer.display.progress import Progress, Say
from tfransfer.features.pooled import pooled_features
from tfransfer.methods.probing import FOLDS, out_of_fold
from tfransfer.recipe import Recipe
from tfransfer.tasks.task import find_task

# With this many test examples, the 95% interval of an accuracy of 0.9 is 0.08 wide.
ENOUGH = 200
# A few examples more than there are folds, or a fold would have to do without a class.
_FEWEST = 20


def is_needed(dataset: Dataset, recipe: Recipe) -> bool:
    """Whether the test split is too small, and cross-validation is wanted and possible."""
    return recipe.cross_validate and recipe.features.cache and len(dataset.examples) >= _FEWEST and (
        len(dataset.split("test")) < ENOUGH
    )  # fmt: skip


def cross_validate_head(
    dataset: Dataset, base: BuiltBase, recipe: Recipe, progress: Progress, say: Say
) -> dict[str, Any] | None:
    """The figure of a linear head on the frozen base's features, over all examples, each predicted once.

    Folds are stratified by class; groups and identical examples stay in one fold.

    Args:
        dataset: With all splits.
        base: Before it is fine-tuned.
        recipe: Its `features` settings select the engine and the disk budget.
        progress: Shows the progress of extraction.
        say: Gets a line if an engine cannot be used.

    Returns:
        The headline's key and value, `n`, `folds` and the 95% interval `interval` (lower, upper; None if it is not
        available). None if the task has no linear head, or the features do not fit into the cache.
    """
    task = find_task(dataset.task)
    features = pooled_features(dataset, base, recipe, progress, say) if task.has_linear_head else None
    if features is None:
        return None
    examples, targets = dataset.examples, dataset.targets(dataset.examples)
    together = splits.clusters(examples)
    outputs = out_of_fold(task, features, targets, [together[e.content] for e in examples], recipe.seed)
    value = task.score(targets, outputs, dataset.classes)[task.main.key]
    if value is None:
        return None
    interval = task.interval(value, len(examples), targets, outputs)
    return {task.main.key: value, "n": len(examples), "folds": FOLDS, "interval": interval and list(interval)}
