"""Build the base that a recipe names, or one from the user's own model."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from tfransfer.base.build import BuiltBase, base_from_model, build_base, build_default_base
from tfransfer.base.hub.build import build_hub
from tfransfer.base.hub.files import is_handle
from tfransfer.base.kerashub.build import build_kerashub, with_sequence_length
from tfransfer.base.names import PREFIX, is_preset
from tfransfer.base.records import TEXT_BASES
from tfransfer.base.text import build_text_base
from tfransfer.display.progress import Say
from tfransfer.recipe import Recipe


def named_base(recipe: Recipe, precision: str, say: Say, sequence_length: int = 0) -> BuiltBase:
    """Build the base that a recipe names, in a dtype policy; see `build_base` and `build_hub` for the errors.

    Args:
        recipe: Names the base.
        precision: The dtype policy.
        say: Called with warnings.
        sequence_length: Tokens after which a base that cuts texts cuts them; 0 takes as many as it can read.
    """
    with _dtype_policy(precision):
        if recipe.base in TEXT_BASES:
            return build_text_base(recipe.base, recipe.seed)
        if recipe.base and is_preset(recipe.base):
            base = build_kerashub(recipe.base.removeprefix(PREFIX), recipe.image_size, say)
            return with_sequence_length(base, sequence_length) if sequence_length else base
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
