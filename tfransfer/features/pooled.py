"""Pooled features of all examples of a dataset, outside of training; they are cached for later trainings."""

import numpy as np

from tfransfer.base.build import BuiltBase
from tfransfer.base.taps import POOLED_TAP, elements
from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.features import budget, choosing
from tfransfer.features.engines import KERAS, LITERT
from tfransfer.features.source import FeatureSource, Wanted
from tfransfer.recipe import Recipe


def pooled_features(
    dataset: Dataset, base: BuiltBase, recipe: Recipe, progress: Progress = quiet, say: Say = silent
) -> np.ndarray | None:
    """Pooled features of each example, without augmentation.

    Args:
        dataset: The dataset.
        base: The base, untrained.
        recipe: Its `features` settings select the engine and the disk budget.
        progress: Shows a progress bar.
        say: Gets a line if an engine cannot be used.

    Returns:
        float32, shape (examples, features); None if the store has no room or the base's output has no fixed shape.

    Raises:
        DataError: A picture has changed, or can no longer be read.
        WriteError: The disk is full or not writable.
    """
    source = FeatureSource(dataset, base, (POOLED_TAP,), recipe.augment, recipe.features.dtype)
    wanted = Wanted({POOLED_TAP.name: ((dataset.examples, (0,)),)})
    size = len(dataset.examples) * elements(base, POOLED_TAP) * np.dtype(recipe.features.dtype).itemsize
    if not 0 < size <= budget.room(recipe.features.budget):
        return None
    if _incomplete(source, wanted):
        memory, rows = source.engine_memory(), len(dataset.examples)
        choice = choosing.open_engine(source.model, _sample(source), rows, memory, recipe.features.engine, say)
        source.use_engine(choice.engine.name)
        budget.make_room(size, recipe.features.budget, [source.collection(POOLED_TAP, False).folder])
        source.extract(wanted, choice.engine, progress)
    return source.rows(POOLED_TAP, dataset.examples, 0).take(np.arange(len(dataset.examples)))


def _incomplete(source: FeatureSource, wanted: Wanted) -> bool:
    """Whether no engine has extracted all rows; otherwise, the source switches to the engine that has."""
    for name in (LITERT, KERAS):
        source.use_engine(name)
        if not any(source.missing(wanted).values()):
            return False
    return True


def _sample(source: FeatureSource) -> np.ndarray:
    """A few pictures to measure engines with."""
    few = source.dataset.examples[: choosing.SAMPLE]
    return next(flow.view_batches(source.dataset, few, (0,), source.augment, source.base.image_size, choosing.SAMPLE))
