"""Keras's global settings: refuse those that no training here works with, before Keras is imported."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from tfransfer.errors import SettingError

_BACKEND, _FORMAT = "tensorflow", "channels_last"


def require_usable_keras() -> None:
    """Check Keras's backend and the order of its axes: in Keras if it is imported, else where it will read them.

    Raises:
        SettingError: The backend is not TensorFlow, or channels come first.
    """
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        _require(keras.config.backend(), keras.config.image_data_format(), "Keras's backend", "this process")
        return
    file = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "keras.json"
    values = _read(file)
    given = os.environ.get("KERAS_BACKEND")
    where = "the variable KERAS_BACKEND" if given else f"the backend in {file}"
    _require(given or values.get("backend", _BACKEND), values.get("image_data_format", _FORMAT), where, str(file))


def _require(backend: str, order: str, where: str, file: str) -> None:
    if backend != _BACKEND:
        raise SettingError(
            f"{where} is {backend!r}, and tfransfer needs TensorFlow: set KERAS_BACKEND={_BACKEND} before Keras is "
            "imported."
        )
    if order != _FORMAT:
        raise SettingError(
            f"Keras's image_data_format is {order!r} in {file}, and tfransfer needs {_FORMAT!r}: write "
            f'"image_data_format": "{_FORMAT}" there, or call keras.config.set_image_data_format({_FORMAT!r}).'
        )


def _read(file: Path) -> dict[str, Any]:
    """Keras's file of settings; empty if there is none that Keras could read."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
