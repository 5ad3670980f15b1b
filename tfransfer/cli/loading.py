"""The late import of the pipeline: TensorFlow takes seconds to load."""

from collections.abc import Mapping
from typing import Any

from tfransfer.base.names import require_base
from tfransfer.recipe import Recipe
from tfransfer.system.keras_settings import require_usable_keras
from tfransfer.system.native_output import hidden_native_output


def load_pipeline() -> Any:
    """Import the pipeline, and with it TensorFlow, whose native start-up messages are kept off the terminal.

    Raises:
        SettingError: Keras is set up for another backend.
    """
    require_usable_keras()
    with hidden_native_output():
        import tensorflow  # noqa: F401  here, because --help must not wait for it
    from tfransfer import pipeline  # here, for the same reason

    return pipeline


def require_base_given(recipe: Recipe, settings: Mapping[str, Any]) -> None:
    """Refuse a mistyped base, or one that does not take the image size, before TensorFlow is imported.

    Raises:
        SettingError: There is no such base, or it does not take these settings.
    """
    given = {name: settings.get(name) for name in ("base", "weights", "image_size")}
    require_base(recipe.with_settings({name: value for name, value in given.items() if value is not None}))
