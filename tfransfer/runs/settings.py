"""Merge a recipe with individual settings, and validate the result."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from tfransfer.base.open import require_base
from tfransfer.data.loading import READING
from tfransfer.errors import SettingError, did_you_mean
from tfransfer.recipe import HeadPhase, Recipe
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


def make_recipe(
    recipe: Recipe | None, settings: dict[str, Any], named_base: bool = True, keywords: Iterable[str] = ()
) -> Recipe:
    """A recipe with settings applied; short names such as `head_epochs` and `cache` stand for dotted keys.

    Args:
        recipe: The recipe; None takes the defaults.
        settings: Overrides; None leaves a setting unchanged.
        named_base: Whether the recipe's base is used, and so must be known.
        keywords: Other keywords of the function that was given the settings, for "did you mean".

    Raises:
        SettingError: A setting is unknown or out of range, or settings contradict each other.
    """
    _require_known(settings, keywords)
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
        suggestion = did_you_mean(name, [*known, *keywords])
        raise SettingError(f"unknown setting {name!r}; known here: {', '.join(known)}.{suggestion}")


def _dotted(key: str, value: Any) -> str:
    """The dotted key of a setting: `head="linear-probe"` is a method, `head={"epochs": 3}` the section itself."""
    return key if isinstance(value, dict | HeadPhase) else _SHORTCUTS.get(key, key)
