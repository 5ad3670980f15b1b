"""Merge a recipe with individual settings, and validate the result."""

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from tfransfer.base.names import require_base
from tfransfer.data.loading import READING
from tfransfer.errors import SettingError, did_you_mean
from tfransfer.recipe import FeatureCache, FineTunePhase, HeadPhase, Recipe, read_recipe
from tfransfer.training import planning

_SHORTCUTS = {
    "head_epochs": "head.epochs",
    "fine_tune_epochs": "fine_tune.epochs",
    "unfreeze": "fine_tune.unfreeze",
    "head": "head.method",
    "cache": "features.cache",
    "views": "features.views",
    "engine": "features.engine",
}


_SECTIONS = ("augment", "features", "head", "fine_tune")
Function = TypeVar("Function", bound=Callable[..., Any])


def lists_settings(function: Function) -> Function:
    """Decorate a function that takes settings as keywords: its docstring gets a list of them, with their meaning."""
    if function.__doc__:  # python -OO has none
        rows = [f"        {name}: {text}\n" for name, text in _meanings().items()]
        function.__doc__ = f"{function.__doc__.rstrip()}\n\n    Settings:\n{''.join(rows)}    "
    return function


def _meanings() -> dict[str, str]:
    """The first sentences on each setting with a short name, from the recipe's own documentation."""
    parts = {"": Recipe, "head.": HeadPhase, "fine_tune.": FineTunePhase, "features.": FeatureCache}
    known = {prefix + name: text for prefix, part in parts.items() for name, text in _attributes(part).items()}
    short = {name: f"{known[dotted]} ({dotted})" for name, dotted in _SHORTCUTS.items()}
    return {name: known[name] for name in _attributes(Recipe) if name not in _SECTIONS} | short


def _attributes(part: type) -> dict[str, str]:
    """The texts under `Attributes:` in a class's docstring, each in one line."""
    listed = (part.__doc__ or "").partition("Attributes:")[2]
    found = re.findall(r"(?m)^        (\w+): (.*(?:\n            .*)*)", listed)
    return {name: " ".join(text.split()) for name, text in found}


def make_recipe(
    recipe: Recipe | dict[str, Any] | str | Path | None,
    settings: dict[str, Any],
    named_base: bool = True,
    keywords: Iterable[str] = (),
) -> Recipe:
    """A recipe with settings applied; short names such as `head_epochs` and `cache` stand for dotted keys.

    Args:
        recipe: The recipe, a dict of settings, or the path of a TOML file; None takes the defaults.
        settings: Overrides; None leaves a setting unchanged.
        named_base: Whether the recipe's base is used, and so must be known.
        keywords: Other keywords of the function that was given the settings, for "did you mean".

    Raises:
        SettingError: A setting is unknown or out of range, or settings contradict each other.
    """
    if isinstance(recipe, dict):
        settings, recipe = recipe | settings, None
    elif isinstance(recipe, str | Path):
        recipe = read_recipe(Path(recipe))
    elif not isinstance(recipe, Recipe | None):
        raise SettingError(f"recipe must be a Recipe, a dict of settings or the path of a TOML file; it is {recipe!r}.")
    _require_known(settings, keywords)
    if isinstance(weights := settings.get("class_weights"), dict):
        settings = settings | {"class_weights": {str(key): value for key, value in weights.items()}}
    dotted = {_dotted(key, value): value for key, value in settings.items() if value is not None}
    merged = (recipe or Recipe()).with_settings(dotted)
    planning.require_sense(merged)
    if named_base:
        require_base(merged)
    return merged


def _require_known(settings: Iterable[str], keywords: Iterable[str]) -> None:
    """Check names without a dot here, where the short names and the function's own keywords are known, too."""
    known = [*(part.name for part in fields(Recipe)), *_SHORTCUTS]
    for name in settings:
        if "." in name or name in known:
            continue
        if name in READING:
            raise SettingError(f"{name!r} sets how data is read: pass it to load_data, or in reading={{...}}.")
        if in_phases := _in_phases(name):
            raise SettingError(f"{name!r} is a setting of a phase: give {in_phases}.")
        suggestion = did_you_mean(name, [*known, *keywords])
        raise SettingError(f"unknown setting {name!r}; known here: {', '.join(known)}.{suggestion}")


def _in_phases(name: str) -> str:
    """Names of a setting that each phase has for itself, as a keyword or in a dict; empty if there is none."""
    sections = {"head": HeadPhase, "fine_tune": FineTunePhase}
    having = [section for section, kind in sections.items() if name in {part.name for part in fields(kind)}]
    short = [key for section in having for key, dotted in _SHORTCUTS.items() if dotted == f"{section}.{name}"]
    if len(short) == len(having):
        return " and ".join(short)
    return "recipe={" + ", ".join(f'"{section}.{name}": ...' for section in having) + "}" if having else ""


def _dotted(key: str, value: Any) -> str:
    """The dotted key of a setting: `head="linear-probe"` is a method, `head={"epochs": 3}` the section itself."""
    return key if isinstance(value, dict | HeadPhase) else _SHORTCUTS.get(key, key)
