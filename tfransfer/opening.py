"""From data, a recipe and perhaps a model of the user's own to a session: which base, in which precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import keras

from tfransfer.base.build import BuiltBase, base_from_model, build_base, build_default_base
from tfransfer.base.records import BUILT_IN
from tfransfer.data.digits import NAME as DIGITS
from tfransfer.data.index import Dataset
from tfransfer.exports.exporting import require_saving
from tfransfer.progress import Say
from tfransfer.recipe import Recipe
from tfransfer.tasks import SINGLE_LABEL
from tfransfer.training import planning
from tfransfer.training.loop import as_loss
from tfransfer.training.session import Session


def suited(recipe: Recipe, dataset: Dataset) -> Recipe:
    """What the built-in data asks for: the built-in base, so that no network is needed, and no mirrored digits."""
    if dataset.source != DIGITS:
        return recipe
    return replace(recipe, base=recipe.base or BUILT_IN, augment=replace(recipe.augment, flip=False))


def open_session(
    dataset: Dataset, recipe: Recipe, own_model: Any, loss: Any, metrics: Callable[[], list[Any]] | None, say: Say
) -> Session:
    """Build the base and decide what the recipe leaves open.

    Args:
        dataset: With its splits.
        recipe: The user's settings.
        own_model: A keras.Model as base, or None for the one that the recipe names.
        loss: As `pipeline.train` takes it.
        metrics: As `pipeline.train` takes it.
        say: Warned when the built-in base steps in.

    Returns:
        A session whose recipe names the base that was taken.

    Raises:
        SettingError: A setting does not fit the base.
        BaseModelError: The base cannot be built, or the model cannot be saved.
        WeightsNotFoundError: The weights of a base that was named cannot be had.
    """
    rebuild: Callable[[str], BuiltBase] | None = None
    if own_model is not None:
        precision = planning.own_precision(own_model, recipe)
        base = base_from_model(own_model, recipe.preprocessing, recipe.image_size)
        recipe = replace(recipe, base=f"keras.Model {own_model.name}")  # a recipe file cannot hold the model itself
    else:
        precision = planning.choose_precision(recipe.precision)
        base = _named_base(recipe, precision, say)
        recipe = replace(recipe, base=base.name)
        rebuild = partial(_named_base, recipe, say=say)

    plan = planning.make_plan(recipe, base, len(dataset.split("train")), precision)
    made = Session(dataset, recipe, plan, base, SINGLE_LABEL, as_loss(loss), metrics, rebuild)
    if own_model is not None:
        require_saving(made.whole.model, plan.image_size)
    return made


def _named_base(recipe: Recipe, precision: str, say: Say) -> BuiltBase:
    with _dtype_policy(precision):
        if recipe.base is None:
            return build_default_base(recipe.image_size, recipe.weights, recipe.seed, say)
        return build_base(recipe.base, recipe.image_size, recipe.weights, recipe.seed)


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
