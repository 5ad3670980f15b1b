"""Loading a `.keras` file that may hold layers of this project's own."""

from pathlib import Path

import keras

from tfransfer.base import ngrams  # noqa: F401  their layers must be known to Keras
from tfransfer.errors import BaseModelError, RunError
from tfransfer.system import trust as trusted


def load_model(file: Path, trust: bool = False) -> keras.Model:
    """Load a model.

    Args:
        file: A `.keras` file.
        trust: Whether a program inside it may be loaded; what was made on this machine may in any case.

    Raises:
        BaseModelError: It holds a program, and nobody said to trust it.
        RunError: It is damaged.
    """
    try:
        return _load(file, safe=not trust)
    except BaseModelError:
        if trust or not trusted.is_known(file):
            raise
        return _load(file, safe=False)


def _load(file: Path, safe: bool) -> keras.Model:
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=safe)
    except BaseModelError:
        raise
    except Exception as error:  # Keras, zipfile and h5py raise many kinds on a damaged file
        raise RunError(f"{file} cannot be loaded: {error}") from error
