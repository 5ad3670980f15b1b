"""From a recipe and settings put over it to one recipe that makes sense."""

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
    """A recipe with settings put over it; short names such as `head_epochs` and `cache` stand for dotted keys.

    Args:
        recipe: None takes the defaults.
        settings: What is put over it; None leaves a setting alone.
        named_base: Whether the recipe's base is used, and must be known.
        keywords: What the function that was given the settings takes besides them, for "did you mean".

    Raises:
        SettingError: A setting is unknown or out of range, or settings contradict each other.
    """
    _require_known(settings, keywords)
    dotted = {_dotted(key, value): value for key, value in settings.items() if value is not None}
    made = (recipe or Recipe()).with_settings(dotted)
    planning.require_sense(made)
    if named_base:
        require_base(made)
    return made


def _require_known(settings: Iterable[str], keywords: Iterable[str]) -> None:
    """Check names without a dot here, where the short ones and the function's own are known too."""
    known = [*(part.name for part in fields(Recipe)), *_SHORTCUTS]
    for name in settings:
        if "." in name or name in known:
            continue
        if name in READING:
            raise SettingError(f"{name!r} says how data is read: give it to load_data, or in reading={{...}}.")
        near = did_you_mean(name, [*known, *keywords])
        raise SettingError(f"unknown setting {name!r}; known here: {', '.join(known)}.{near}")


def _dotted(key: str, value: Any) -> str:
    """`head="linear-probe"` names a method; `head={"epochs": 3}` is the section itself."""
    return key if isinstance(value, dict | HeadPhase) else _SHORTCUTS.get(key, key)
