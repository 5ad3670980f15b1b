"""Open a session from data, a recipe and optionally the user's own model."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tfransfer import hyperrules
from tfransfer.base.build import OWN_MODEL, BuiltBase, base_from_model, ends_in_classes
from tfransfer.base.kerashub.build import with_sequence_length
from tfransfer.base.open import copy_of_model, named_base
from tfransfer.base.records import BUILT_IN, DEFAULT, NGRAMS, WORDS
from tfransfer.base.words import known_share
from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.data.sources.kinds import DIGITS
from tfransfer.display.progress import Say, silent
from tfransfer.errors import SettingError
from tfransfer.methods.heads.registry import head_method
from tfransfer.methods.losses import as_loss
from tfransfer.recipe import Augmentation, Recipe
from tfransfer.system.interface import option
from tfransfer.tasks.task import find_task
from tfransfer.training import planning
from tfransfer.training.devices import Devices
from tfransfer.training.plan import Plan
from tfransfer.training.session import Session

# Texts that are looked at to choose a text base, and the share of their words that `words` must know. English reviews
# and news have over 0.9; German ones share a quarter of their words with English.
_SAMPLE, _FEWEST_KNOWN = 1_000, 0.6
_NO_AUGMENTATION = Augmentation(flip=False, rotate=0, zoom=0, shift=0, brightness=0, contrast=0)


def suited(recipe: Recipe, dataset: Dataset, say: Say = silent) -> Recipe:
    """Adapt a recipe to its data: a text base for texts; the built-in base and no mirroring for the built-in digits.

    Texts get `words`, or `ngrams` where most of their words are not in the table of `words`, which is English.

    Args:
        recipe: The user's settings.
        dataset: The data.
        say: Called with a line if texts are in another language.
    """
    if not dataset.modality.has_pixels:
        return replace(recipe, base=recipe.base or _text_base(dataset, say), augment=_NO_AUGMENTATION)
    if dataset.source != DIGITS:
        return recipe
    return replace(recipe, base=recipe.base or BUILT_IN, augment=replace(recipe.augment, flip=False))


def _text_base(dataset: Dataset, say: Say) -> str:
    known = known_share([example.text or "" for example in dataset.split("train")[:_SAMPLE]])
    if known >= _FEWEST_KNOWN:
        return WORDS
    say(f"base: {NGRAMS}, because only {known:.0%} of the words are in the English table of {WORDS}")
    return NGRAMS


def open_session(
    dataset: Dataset,
    recipe: Recipe,
    say: Say,
    *,
    own_model: Any = None,
    loss: Any = None,
    metrics: Callable[[], list[Any]] | None = None,
    plan: Plan | None = None,
    devices: Devices | None = None,
) -> Session:
    """Build the base and decide what the recipe leaves open.

    Args:
        dataset: The data, with its splits.
        recipe: The user's settings.
        say: Called with a warning when the built-in base replaces one without weights.
        own_model: A keras.Model as base; None for the base in the recipe.
        loss: As in `pipeline.train`.
        metrics: As in `pipeline.train`.
        plan: The plan of a run that is resumed; None makes one.
        devices: Devices to train on; None is one device.

    Returns:
        A session whose recipe has the name of the base in use.

    Raises:
        SettingError: A setting does not fit the base.
        BaseModelError: The base cannot be built, or the model's input has the wrong form.
        WeightsNotFoundError: The weights of the requested base are not available.
    """
    devices = devices or Devices()
    rebuild: Callable[[str], BuiltBase] | None = None
    if own_model is not None:
        precision = planning.own_precision(own_model, recipe)
        rebuild = partial(copy_of_model, own_model, recipe) if devices.scoped else None
        base = _own_base(own_model, recipe, precision, devices, rebuild)
        _warn_of_classes(own_model, say)
        recipe = replace(recipe, base=f"{OWN_MODEL} {own_model.name}")  # a recipe file cannot hold the model itself
    else:
        precision = plan.precision if plan else planning.choose_precision(recipe.precision, devices)
        with devices.strategy.scope():
            base = named_base(recipe, precision, say)
        recipe = replace(recipe, base=base.name)

    _require_fit(base, dataset, recipe, say)
    plan = plan or replace(
        planning.make_plan(recipe, base, len(dataset.split("train")), precision, devices),
        sequence_length=_sequence_length(base, dataset, say),
    )
    if plan.sequence_length:
        base = with_sequence_length(base, plan.sequence_length)
    if own_model is None:
        rebuild = partial(named_base, recipe, say=say, sequence_length=plan.sequence_length)
    task = find_task(dataset.task).fitted(dataset.targets(dataset.split("train")))
    return Session(
        dataset=dataset, recipe=recipe, plan=plan, base=base, task=task, loss=as_loss(loss), metrics=metrics,
        rebuild=rebuild, devices=devices,
    )  # fmt: skip


def _own_base(
    model: Any, recipe: Recipe, precision: str, devices: Devices, rebuild: Callable[[str], BuiltBase] | None
) -> BuiltBase:
    """A base from the user's model; a copy of it where variables must be created on several devices."""
    with devices.strategy.scope():
        return rebuild(precision) if rebuild else base_from_model(model, recipe.preprocessing, recipe.image_size)


def _sequence_length(base: BuiltBase, dataset: Dataset, say: Say) -> int:
    """Tokens after which texts are cut; 0 for a base that cuts none."""
    if base.tokens is None:
        return 0
    lengths = base.tokens.lengths([example.text or "" for example in dataset.split("train")])
    length = hyperrules.sequence_length(lengths.tolist(), base.tokens.sequence_length)
    cut = int((lengths > length).sum())
    say(f"texts: cut after {length} tokens, which {cut} of {len(lengths)} training texts exceed")
    return length


def _warn_of_classes(model: Any, say: Say) -> None:
    if ends_in_classes(model):
        say(
            f"warning: the base {model.name} ends in a softmax over {model.output_shape[-1]} classes, so the new head "
            "would see class probabilities in place of features: build it without its top, for example with "
            "include_top=False"
        )


def _require_fit(base: BuiltBase, dataset: Dataset, recipe: Recipe, say: Say) -> None:
    if base.kind != dataset.kind:
        hint = f"choose another, for example {option('base', DEFAULT if dataset.modality.has_pixels else WORDS)}."
        raise SettingError(f"the base {base.name} takes {base.kind}s, the data holds {dataset.kind}s: {hint}")
    settings = {"head.method": recipe.head.method, "class_weights": recipe.class_weights}
    single_label = [head_method(recipe.head.method).single_label, recipe.class_weights != "none"]
    for (name, value), limited in zip(settings.items(), single_label, strict=True):
        if limited and not find_task(dataset.task).one_class:
            raise SettingError(f"{name} = {value!r} is for single-label tasks; these labels are {dataset.task}.")
    if isinstance(recipe.class_weights, dict):
        named = flow.weights_by_class(dataset.classes, recipe.class_weights)
        say(f"class weights: {', '.join(f'{name} {weight:g}' for name, weight in named.items())}")
