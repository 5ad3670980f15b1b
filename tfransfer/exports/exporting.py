"""Write formats, check them, and let them appear only when they passed."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfransfer.errors import ExportError, TransferError
from tfransfer.evaluation.predictions import predict_inputs
from tfransfer.exports import parity
from tfransfer.exports.formats import Format, find_format, saved_size
from tfransfer.files import telling_write_failures, whole
from tfransfer.tasks import SINGLE_LABEL


@dataclass(frozen=True)
class Export:
    """One exported file.

    Attributes:
        format: Its format's name.
        path: The file or folder.
        size: Bytes.
        parity: How it compared with the model in memory.
    """

    format: str
    path: Path
    size: int
    parity: parity.Parity

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest, with the path's last part only."""
        return {
            "file": self.path.name,
            "bytes": self.size,
            "pictures_compared": self.parity.pictures,
            "top1_agreeing": self.parity.agreeing,
            "largest_difference": self.parity.difference,
        }


def export_model(
    model: keras.Model,
    classes: Sequence[str],
    pictures: np.ndarray,
    names: Sequence[str],
    folder: Path,
    task: str = SINGLE_LABEL,
) -> list[Export]:
    """Export a model in several formats; each file is loaded again in a fresh process and compared first.

    Args:
        model: float32 pixels, or strings, to probabilities or values.
        classes: Class names.
        pictures: Held-out pictures, uint8 (n, size, size, 3), or texts (n,).
        names: Names of formats.
        folder: Where the files go; existing ones are replaced.
        task: Decides what is compared besides the numbers.

    Returns:
        What was written, in the order of `names`.

    Raises:
        SettingError: A format is unknown.
        ExportError: A file could not be made, or differs from the model; none of the files is left behind.
        WriteError: The disk is full or not writable.
    """
    formats = [find_format(name) for name in dict.fromkeys(names)]
    expected = predict_inputs(model, pictures)
    with ExitStack() as places:
        written = [(kind, places.enter_context(whole(folder / kind.file))) for kind in formats]
        for kind, path in written:
            _write(kind, model, classes, path)
        found = parity.check(written, pictures, expected, classes, task, model)
        sizes = [saved_size(path) for _, path in written]
    return [
        Export(kind.name, folder / kind.file, size, agreement)
        for kind, size, agreement in zip(formats, sizes, found, strict=True)
    ]


def _write(kind: Format, model: keras.Model, classes: Sequence[str], path: Path) -> None:
    try:
        with telling_write_failures(path):
            kind.write(model, classes, path)
    except TransferError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ExportError(f"the model cannot be written as {kind.name}: {reason}") from error
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        raise ExportError(f"the model was written as {kind.name}, but no file appeared.")


def require_saving(model: keras.Model, size: int, task: str) -> None:
    """See that a model can be written as `.keras` and loaded in a fresh process, before it is trained for hours.

    Raises:
        ExportError: It cannot: a layer class of the user's own, a Lambda.
    """
    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, (), pictures, ["keras"], Path(folder), task)
