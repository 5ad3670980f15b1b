"""Write a SavedModel of given functions, storing each weight once."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfransfer.system.plain_paths import plain_path


def save_endpoints(model: keras.Model, endpoints: dict[str, Any], path: Path) -> None:
    """Write a SavedModel.

    `keras.export.ExportArchive` stores each weight twice (once as a Keras and once as a TensorFlow variable), which
    doubles the file; a plain module with the TensorFlow variables stores it once.

    Args:
        model: The model whose variables the functions use.
        endpoints: tf.functions with an input signature, by name.
        path: Folder to write.
    """
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    # Without this attribute a wrapped SavedModel's vocabularies and other assets would not be saved.
    module.resources = [layer.resources for layer in model._flatten_layers() if hasattr(layer, "resources")]
    module.endpoints = dict(endpoints)
    with _warnings_only():
        tf.saved_model.save(module, str(plain_path(path)), signatures=endpoints)


@contextmanager
def temporary_saved_model(model: keras.Model, endpoints: dict[str, Any]) -> Iterator[str]:
    """Yield the folder of a SavedModel for a converter, and remove it at the end; see `save_endpoints`."""
    with tempfile.TemporaryDirectory() as folder:
        place = plain_path(Path(folder))
        save_endpoints(model, endpoints, place)
        yield str(place)


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Hide TensorFlow's log lines about where it wrote assets, often a temporary folder; warnings still show."""
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(before)
