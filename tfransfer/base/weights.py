"""A base's weights: on this machine, from a file, or downloaded by Keras; and what to do if there are none."""

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.base.records import Base
from tfransfer.errors import BaseModelError, DataNotFoundError, WeightsNotFoundError
from tfransfer.system.files import DOWNLOAD_FIRST, is_url
from tfransfer.system.interface import option

_ASSETS = Path(__file__).parent.parent / "assets"
_NETWORK_TIMEOUT_SECONDS = 30.0


def keras_home() -> Path:
    """Keras's folder for downloads, without importing Keras."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))


def weights_here(base: Base, image_size: int | None = None) -> Path | None:
    """Path of the weights on this machine, or None."""
    if base.built_in:
        return _ASSETS / base.weights_file
    path = keras_home() / "models" / base.weights_file_at(image_size or base.image_size)
    return path if path.is_file() else None


def build_with_asset(base: Base, image_size: int) -> Any:
    """Build a base with the weights that come with tfransfer."""
    model = build_random(base, image_size)
    with np.load(_ASSETS / base.weights_file, allow_pickle=False) as archive:
        model.set_weights([archive[name].astype(np.float32) for name in sorted(archive.files)])
    return model


def build_with_download(base: Base, image_size: int) -> Any:
    """Build a base with Keras's ImageNet weights, downloading them if needed.

    Raises:
        WeightsNotFoundError: The download failed; the message names the file, its URL and what to do.
    """
    builder = builder_of(base)
    try:
        with warnings.catch_warnings(), _network_timeout():
            warnings.simplefilter("ignore")  # harmless: MobileNets warn of sizes that have no weights of their own
            return builder(include_top=False, weights="imagenet", input_shape=(image_size, image_size, 3))
    except Exception as error:  # Keras reports a failed download as a plain Exception
        if isinstance(error, ValueError) and "shape" in str(error):
            raise BaseModelError(
                f"Keras loads the ImageNet weights of {base.name} at {base.image_size} pixels only; "
                f"the image size is {image_size}. Leave it out, or give {option('weights', stand_in='FILE')}."
            ) from error
        file = base.weights_file_at(image_size)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsNotFoundError(
            f"the ImageNet weights of {base.name} ({file}) are not on this machine, and downloading them from "
            f"{base.weights_url_at(image_size)} failed: {reason}\n"
            f"Download that file on a machine with network access, then give "
            f"{option('weights', stand_in='FILE')} or put it into {keras_home() / 'models'} under that name."
        ) from error


@contextmanager
def _network_timeout() -> Iterator[None]:
    """Keras's downloads set no timeout: without one they hang forever on a network that drops packets."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _NETWORK_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def build_with_file(base: Base, image_size: int, file: Path) -> Any:
    """Build a base with weights from a file (`.h5`, `.weights.h5` or `.keras`).

    Raises:
        DataNotFoundError: The file does not exist.
        BaseModelError: It does not hold the weights of this base.
    """
    if not file.is_file():
        raise DataNotFoundError(f"weights file {file} does not exist.{f' {DOWNLOAD_FIRST}' if is_url(file) else ''}")
    from tfransfer.base.untrusted import require_plain_weights  # here, as in builder_of

    model = build_random(base, image_size)
    try:
        require_plain_weights(file)
        model.load_weights(str(file))
    except Exception as error:  # h5py, zipfile and Keras raise many types for files that do not match
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BaseModelError(
            f"{file} does not hold the weights of {base.name} without its top ({model.count_params():,} numbers in "
            f"{len(model.weights)} arrays): {reason} Give the base that the file was written for with {option('base')}."
        ) from error
    return model


def build_random(base: Base, image_size: int, seed: int | None = None) -> Any:
    """Build a base with random weights; a seed sets the global seeds of Python, NumPy and TensorFlow."""
    if seed is not None:
        import keras  # here, as in builder_of

        keras.utils.set_random_seed(seed)
    return builder_of(base)(include_top=False, weights=None, input_shape=(image_size, image_size, 3))


def builder_of(base: Base) -> Any:
    """The function in `keras.applications` that builds a base."""
    import keras  # here, so that `tfransfer bases` runs without TensorFlow

    builder = getattr(keras.applications, base.builder, None)
    if builder is None:
        raise BaseModelError(f"{base.name} is not in the installed Keras {keras.__version__}; update Keras.")
    return builder if base.alpha is None else partial(builder, alpha=base.alpha)
