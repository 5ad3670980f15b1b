"""From data, a recipe and perhaps a model of the user's own to a session: which base, in which precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import keras

from tfransfer.base.build import OWN_MODEL, BuiltBase, base_from_model, build_base, build_default_base
from tfransfer.base.hub import build_hub
from tfransfer.base.hub_files import is_handle
from tfransfer.base.kerashub import PREFIX, build_kerashub, is_preset
from tfransfer.base.records import BUILT_IN, DEFAULT, NGRAMS, find_base, require_size
from tfransfer.base.text import build_ngrams
from tfransfer.data.index import TEXT, Dataset
from tfransfer.data.kinds import DIGITS
from tfransfer.errors import SettingError
from tfransfer.exports.exporting import require_saving
from tfransfer.progress import Say
from tfransfer.recipe import LINEAR_PROBE, Augmentation, Recipe
from tfransfer.tasks import SINGLE_LABEL, task_for
from tfransfer.training import planning
from tfransfer.training.devices import Devices
from tfransfer.training.losses import as_loss
from tfransfer.training.planning import Plan
from tfransfer.training.session import Session

_STILL = Augmentation(flip=False, rotate=0, zoom=0, shift=0, brightness=0, contrast=0)


def suited(recipe: Recipe, dataset: Dataset) -> Recipe:
    """What the data asks for: the built-in base for the built-in digits, which are not mirrored, and one for texts."""
    if dataset.kind == TEXT:
        return replace(recipe, base=recipe.base or NGRAMS, augment=_STILL)
    if dataset.source != DIGITS:
        return recipe
    return replace(recipe, base=recipe.base or BUILT_IN, augment=replace(recipe.augment, flip=False))


def require_base(recipe: Recipe) -> None:
    """See that the base that a recipe names is known, before any data is read.

    Raises:
        SettingError: No base has this name, or the image size is below its smallest.
    """
    if recipe.base == NGRAMS or (recipe.base and (is_preset(recipe.base) or is_handle(recipe.base))):
        if recipe.weights:
            raise SettingError(f"the base {recipe.base} brings its own weights; --weights is for Keras Applications.")
        return
    record = find_base(recipe.base or DEFAULT)
    require_size(record, recipe.image_size or record.image_size)


def open_session(
    dataset: Dataset,
    recipe: Recipe,
    own_model: Any,
    loss: Any,
    metrics: Callable[[], list[Any]] | None,
    say: Say,
    plan: Plan | None = None,
    devices: Devices | None = None,
) -> Session:
    """Build the base and decide what the recipe leaves open.

    Args:
        dataset: With its splits.
        recipe: The user's settings.
        own_model: A keras.Model as base, or None for the one that the recipe names.
        loss: As `pipeline.train` takes it.
        metrics: As `pipeline.train` takes it.
        say: Warned when the built-in base steps in.
        plan: What was decided when the run was begun; None decides now.
        devices: What trains; None is one device.

    Returns:
        A session whose recipe names the base that was taken.

    Raises:
        SettingError: A setting does not fit the base.
        BaseModelError: The base cannot be built, or the model cannot be saved.
        WeightsNotFoundError: The weights of a base that was named cannot be had.
    """
    devices = devices or Devices()
    rebuild: Callable[[str], BuiltBase] | None = None
    if own_model is not None:
        precision = planning.own_precision(own_model, recipe)
        if devices.scoped:
            rebuild = partial(_copy_of, own_model, recipe)
        with devices.strategy.scope():
            base = (
                rebuild(precision) if rebuild else base_from_model(own_model, recipe.preprocessing, recipe.image_size)
            )
        recipe = replace(recipe, base=f"{OWN_MODEL} {own_model.name}")  # a recipe file cannot hold the model itself
    else:
        precision = plan.precision if plan else planning.choose_precision(recipe.precision, devices)
        with devices.strategy.scope():
            base = named_base(recipe, precision, say)
        recipe = replace(recipe, base=base.name)
        rebuild = partial(named_base, recipe, say=say)

    _require_fit(base, dataset, recipe)
    resumed = plan is not None
    plan = plan or planning.make_plan(recipe, base, len(dataset.split("train")), precision, devices)
    task = task_for(dataset.task, dataset.targets(dataset.split("train")))
    made = Session(dataset, recipe, plan, base, task, as_loss(loss), metrics, rebuild, devices=devices)
    if own_model is not None and not resumed:
        require_saving(made.whole.model, plan.image_size, task.name)
    return made


def _copy_of(model: keras.Model, recipe: Recipe, precision: str) -> BuiltBase:
    """A base from a copy of a user's model, whose variables are made where this is called."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return base_from_model(copy, recipe.preprocessing, recipe.image_size)


def _require_fit(base: BuiltBase, dataset: Dataset, recipe: Recipe) -> None:
    if base.kind != dataset.kind:
        hint = f"name another with --base, for example {NGRAMS if dataset.kind == TEXT else DEFAULT}."
        raise SettingError(f"the base {base.name} takes {base.kind}s, the data holds {dataset.kind}s: {hint}")
    for name, asked in {"head.method": recipe.head.method, "class_weights": recipe.class_weights}.items():
        if asked in (LINEAR_PROBE, "balanced") and dataset.task != SINGLE_LABEL:
            raise SettingError(f"{name} = {asked!r} is for single-label tasks; these labels are {dataset.task}.")


def named_base(recipe: Recipe, precision: str, say: Say) -> BuiltBase:
    """Build the base that a recipe names, in a dtype policy; see `build_base` and `build_hub` for the errors."""
    with _dtype_policy(precision):
        if recipe.base == NGRAMS:
            return build_ngrams(recipe.seed)
        if recipe.base and is_preset(recipe.base):
            return build_kerashub(recipe.base.removeprefix(PREFIX), recipe.image_size, say)
        if recipe.base and is_handle(recipe.base):
            return build_hub(recipe.base, recipe.image_size, say)
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
