"""Load an exported file in this process, to predict with it; `replay` runs it, as when it was compared and measured."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfransfer.base.loading import load_model
from tfransfer.errors import DataNotFoundError, ExportError, TransferError
from tfransfer.evaluation.predictions import Infer, infer_with
from tfransfer.exports import metadata, replay
from tfransfer.exports.formats import PIXELS_SIGNATURE
from tfransfer.exports.metadata import LABELS_FILE
from tfransfer.exports.signature import Signature, read_signatures
from tfransfer.system.files import names_in_lines
from tfransfer.system.interface import option
from tfransfer.system.native_output import hidden_native_output
from tfransfer.tasks.task import TASKS, VALUES, Task

_MOST_THREADS = 4


@dataclass(frozen=True)
class LoadedFile:
    """An exported file that is ready to run.

    Attributes:
        infer: From uint8 pixels (n, size, size, 3), or texts (n,), to its outputs as floats.
        signature: What it takes and gives.
        labels: The class names that are packed in; None if there are none.
        task: The task, where the file alone tells.
    """

    infer: Infer
    signature: Signature
    labels: tuple[str, ...] | None = None
    task: Task | None = None


def load_file(path: Path, trust: bool = False) -> LoadedFile:
    """Load a LiteRT, ONNX or `.keras` file or a SavedModel's folder.

    Args:
        path: The file.
        trust: Whether to run a SavedModel, which is a program, or one in a `.keras` file.

    Raises:
        DataNotFoundError: It does not exist.
        ExportError: It is none of these, is damaged, or was not written by tfransfer.
        BaseModelError: It is, or embeds, a program, and is not trusted.
    """
    if not path.exists():
        raise DataNotFoundError(f"the model file {path} does not exist.")
    load = _LOADERS.get("" if path.is_dir() else path.suffix.lower())
    if load is None:
        raise ExportError(f"{path}: expected a .tflite, .onnx or .keras file, or the folder of a SavedModel.")
    try:
        with hidden_native_output():
            return load(path, trust)
    except TransferError:
        raise
    except Exception as error:  # every library raises its own types for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ExportError(f"{path} cannot be loaded: {reason}") from error


def _lite(path: Path, trust: bool) -> LoadedFile:
    packed = metadata.unpack(path)
    model = replay.LiteModel(str(path), threads=min(os.cpu_count() or 1, _MOST_THREADS))
    (signature,) = read_signatures(model.signatures())
    if signature.output.shape[-1] != len(packed.labels):
        raise ExportError(f"{path} has {len(packed.labels)} labels for {signature.output.shape[-1]} outputs.")
    return LoadedFile(lambda given: [model.predict(given)], signature, packed.labels, _task(signature, packed))


def _task(signature: Signature, packed: metadata.Packed) -> Task | None:
    """The task, from the name of the output and the operation that computes it."""
    for task in TASKS.values():
        if signature.output.name == task.output == VALUES or packed.activation == getattr(task, "activation", None):
            return task
    return None


def _onnx(path: Path, trust: bool) -> LoadedFile:
    try:
        import onnxruntime  # an optional extra
    except ImportError as error:
        raise ExportError(f'{path} needs ONNX Runtime ({error}): pip install "tfransfer[onnx]".') from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (signature,) = read_signatures(replay.onnx_signatures(session))
    text = session.get_modelmeta().custom_metadata_map.get(LABELS_FILE)
    infer: Infer = lambda given: session.run(None, {signature.input.name: given})  # noqa: E731
    return LoadedFile(infer, signature, None if text is None else names_in_lines(text))


def _keras(path: Path, trust: bool) -> LoadedFile:
    model = load_model(path, trust)
    (signature,) = read_signatures(replay.keras_signatures(model))
    return LoadedFile(infer_with(model), signature)


def _saved_model(path: Path, trust: bool) -> LoadedFile:
    if not (path / "saved_model.pb").is_file():
        raise ExportError(f"{path} is a folder without a SavedModel.")
    if not trust:
        raise ExportError(f"{path} is a SavedModel, which is a program: it is run only with {option('trust', True)}.")
    loaded = tf.saved_model.load(str(path))
    signature = next(
        one for one in read_signatures(replay.saved_model_signatures(loaded)) if one.name == PIXELS_SIGNATURE
    )
    call = loaded.signatures[PIXELS_SIGNATURE]

    def infer(given: np.ndarray) -> list[np.ndarray]:
        return [call(**{signature.input.name: tf.constant(given)})[signature.output.name].numpy()]

    labels = path / "assets.extra" / LABELS_FILE
    names = names_in_lines(labels.read_text(encoding="utf-8")) if labels.is_file() else None
    return LoadedFile(infer, signature, names)


_LOADERS: dict[str, Callable[[Path, bool], Any]] = {
    ".tflite": _lite,
    ".onnx": _onnx,
    ".keras": _keras,
    "": _saved_model,
}
