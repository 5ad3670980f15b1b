"""Names of bases, checked without TensorFlow."""

from tfransfer.base.hub.files import is_handle
from tfransfer.base.records import DEFAULT, TEXT_BASES, find_base, require_size
from tfransfer.errors import SettingError
from tfransfer.recipe import Recipe
from tfransfer.system.interface import option

# Of KerasHub's presets.
PREFIX = "kerashub:"


def is_preset(text: str) -> bool:
    """Whether a base's name refers to a KerasHub preset."""
    return text.startswith(PREFIX)


def require_base(recipe: Recipe) -> None:
    """Check that a recipe's base exists, before any data is read.

    Raises:
        SettingError: No base has this name, the image size is below its smallest, or it brings its own weights.
    """
    if recipe.base in TEXT_BASES or (recipe.base and (is_preset(recipe.base) or is_handle(recipe.base))):
        if recipe.weights:
            raise SettingError(
                f"the base {recipe.base} brings its own weights; {option('weights')} is for Keras Applications."
            )
        return
    record = find_base(recipe.base or DEFAULT)
    require_size(record, recipe.image_size or record.image_size)
