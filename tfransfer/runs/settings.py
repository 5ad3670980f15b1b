"""From a recipe and settings put over it to one recipe that makes sense."""

from typing import Any

from tfransfer.base.open import require_base
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


def make_recipe(recipe: Recipe | None, settings: dict[str, Any], named_base: bool = True) -> Recipe:
    """A recipe with settings put over it; short names such as `head_epochs` and `cache` stand for dotted keys.

    Args:
        recipe: None takes the defaults.
        settings: What is put over it; None leaves a setting alone.
        named_base: Whether the recipe's base is used, and must be known.

    Raises:
        SettingError: A setting is unknown or out of range, or settings contradict each other.
    """
    dotted = {_dotted(key, value): value for key, value in settings.items() if value is not None}
    made = (recipe or Recipe()).with_settings(dotted)
    planning.require_sense(made)
    if named_base:
        require_base(made)
    return made


def _dotted(key: str, value: Any) -> str:
    """`head="linear-probe"` names a method; `head={"epochs": 3}` is the section itself."""
    return key if isinstance(value, dict | HeadPhase) else _SHORTCUTS.get(key, key)
