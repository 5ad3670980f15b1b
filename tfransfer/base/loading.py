"""Load a `.keras` file that may contain tfransfer's own layers."""

from pathlib import Path

import keras

from tfransfer.base import ngrams, untrusted, words  # noqa: F401  two of them register their layers with Keras
from tfransfer.errors import BaseModelError, RunError
from tfransfer.system import trust as trusted


def load_model(file: Path, trust: bool = False) -> keras.Model:
    """Load a model.

    Args:
        file: A `.keras` file.
        trust: Whether a program embedded in it may be loaded; files written on this machine always may.

    Raises:
        BaseModelError: It embeds a program, or names one, and is not trusted.
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
        if safe:
            untrusted.require_known_parts(file)
        untrusted.require_plain_weights(file)
        return keras.saving.load_model(file, compile=False, safe_mode=safe)
    except BaseModelError:
        raise
    except Exception as error:  # Keras, zipfile and h5py raise many types for a damaged file
        raise RunError(f"{file} cannot be loaded: {error}") from error
