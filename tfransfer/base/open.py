"""Build the base that a recipe names, or one from the user's own model."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from tfransfer.base.build import BuiltBase, base_from_model, build_base, build_default_base
from tfransfer.base.hub.build import build_hub
from tfransfer.base.hub.files import is_handle
from tfransfer.base.kerashub.build import PREFIX, build_kerashub, is_preset
from tfransfer.base.records import DEFAULT, NGRAMS, find_base, require_size
from tfransfer.base.text import build_ngrams
from tfransfer.display.progress import Say
from tfransfer.errors import SettingError
from tfransfer.recipe import Recipe
from tfransfer.system.interface import option


def require_base(recipe: Recipe) -> None:
    """Check that a recipe's base exists, before any data is read.

    Raises:
        SettingError: No base has this name, the image size is below its smallest, or it brings its own weights.
    """
    if recipe.base == NGRAMS or (recipe.base and (is_preset(recipe.base) or is_handle(recipe.base))):
        if recipe.weights:
            raise SettingError(
                f"the base {recipe.base} brings its own weights; {option('weights')} is for Keras Applications."
            )
        return
    record = find_base(recipe.base or DEFAULT)
    require_size(record, recipe.image_size or record.image_size)


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


def copy_of_model(model: keras.Model, recipe: Recipe, precision: str) -> BuiltBase:
    """A base from a copy of a user's model, with variables created in the caller's scope."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return base_from_model(copy, recipe.preprocessing, recipe.image_size)


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
