"""Write formats, check and measure them, and let them appear only when they passed."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfransfer.errors import ExportError, TransferError
from tfransfer.evaluation import calibration
from tfransfer.exports import parity
from tfransfer.exports.accuracy import Accuracy, accuracy
from tfransfer.exports.formats import Format, find_format, saved_size
from tfransfer.exports.held_out import HeldOut
from tfransfer.exports.rounding import Representative
from tfransfer.system.files import telling_write_failures, whole
from tfransfer.tasks.task import SINGLE_LABEL, Task, find_task

# What files have that round their probabilities to 256 steps.
_HALF_A_STEP = 1 / 512
# A file is written anew for another temperature where its log loss falls by more than this many nats.
_WORTH_IT = 0.005


@dataclass(frozen=True)
class Subject:
    """What is exported.

    Attributes:
        model: float32 pixels, or strings, to probabilities or values.
        classes: Class names.
        held: What files are compared on.
        task: Name of the task, which decides what is compared besides the numbers.
        thresholds: Of a multi-label task.
        representative: Gives training pictures, for formats that are calibrated on them or round weights by them.
    """

    model: keras.Model
    classes: Sequence[str]
    held: HeldOut
    task: str = SINGLE_LABEL
    thresholds: Sequence[float] | None = None
    representative: Callable[[], Representative] | None = None

    @property
    def decides(self) -> Task:
        """The task itself."""
        return find_task(self.task)


@dataclass(frozen=True)
class Export:
    """One exported file.

    Attributes:
        format: Its format's name.
        path: The file or folder.
        size: Bytes.
        parity: How it compared with the model in memory, and what it costs.
        accuracy: How good it is, where it is known what is right.
        temperature: What its logits are divided by, besides the model's own temperature.
    """

    format: str
    path: Path
    size: int
    parity: parity.Parity
    accuracy: Accuracy | None = None
    temperature: float = 1.0

    @property
    def latency(self) -> float | None:
        """Milliseconds for one picture, on as many cores as are fastest."""
        return min(self.parity.latency_ms.values(), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `exports.json` and the manifest, with the path's last part only."""
        told: dict[str, Any] = {
            "file": self.path.name,
            "bytes": self.size,
            "pictures_compared": self.parity.pictures,
            "top1_agreeing": self.parity.agreeing,
            "largest_difference": self.parity.difference,
            "load_seconds": self.parity.load_seconds,
            "latency_ms": self.parity.latency_ms,
            "peak_memory_mb": None if self.parity.peak_memory is None else self.parity.peak_memory / 1e6,
        }
        if self.accuracy is not None:
            told |= {self.accuracy.metric: self.accuracy.value, "drop": self.accuracy.drop}
            if self.accuracy.worst_class:
                told |= {"worst_class": self.accuracy.worst_class, "worst_class_drop": self.accuracy.worst_class_drop}
        return told if self.temperature == 1 else told | {"temperature": self.temperature}


def export_model(
    subject: Subject, name: str, folder: Path, accept: Callable[[Export], None] = lambda made: None
) -> Export:
    """Export a model in one format; the file is loaded again in a fresh process, compared and measured first.

    Args:
        subject: What is exported.
        name: Of the format.
        folder: Where the file goes; an existing one is replaced.
        accept: Asked about the file before it appears; may raise.

    Raises:
        SettingError: The format is unknown.
        ExportError: The file could not be made, or differs from the model; it is not left behind.
        WriteError: The disk is full or not writable.
    """
    kind = find_format(name)
    with whole(folder / kind.file) as path:
        made = _calibrated(subject, kind, path)
        made = replace(made, path=folder / kind.file)
        accept(made)
    return made


def _calibrated(subject: Subject, kind: Format, path: Path) -> Export:
    """Write a file; where quantization made it surer or less sure than it is right, once more."""
    made = _written(subject, kind, path)
    # A quantized file has a temperature of its own, because rounding errors in weights shrink or stretch the logits;
    # its answers on held-out examples tell which. Integers cannot be divided afterwards, so the file is made once more,
    # from the model at that temperature.
    held, answers = subject.held, made.parity.answers
    if kind.exact or held.targets is None or answers is None:
        return made
    targets = held.targets[: len(answers)]
    # Probabilities in 256 steps are often 0, whose logarithm is endless: none counts as less than half a step.
    found = calibration.fit_temperature(subject.decides, targets, answers, _HALF_A_STEP)
    better = calibration.tempered(subject.decides, np.maximum(answers, _HALF_A_STEP), found)
    if found == 1 or _loss(subject, answers) - _loss(subject, better) < _WORTH_IT:
        return made
    with tempfile.TemporaryDirectory() as place, calibration.at_temperature(subject.model, found):
        again = _written(subject, kind, Path(place) / kind.file)
        # The new file has other rounding errors; it has to be better in fact, not only by the fit.
        if again.parity.answers is None or _loss(subject, again.parity.answers) >= _loss(subject, answers):
            return made
        path.write_bytes(again.path.read_bytes())
    return replace(again, path=path, temperature=found)


def _loss(subject: Subject, answers: np.ndarray) -> float:
    right = np.asarray(subject.held.targets)[: len(answers)]
    return calibration.log_loss(subject.decides, right, answers, _HALF_A_STEP)


def _written(subject: Subject, kind: Format, path: Path, measured: bool = True) -> Export:
    _write(subject, kind, path)
    found = parity.check(kind, path, subject.held, subject.classes, subject.decides, subject.model, measured)
    scored = None
    if found.answers is not None:
        scored = accuracy(subject.decides, subject.held, found.answers, subject.classes, subject.thresholds)
    return Export(kind.name, path, saved_size(path), found, scored)


def _write(subject: Subject, kind: Format, path: Path) -> None:
    if kind.calibrated and subject.representative is None:
        raise ExportError(f"{kind.name} is calibrated on training pictures, and they are not at hand.")
    representative = subject.representative() if subject.representative is not None and not kind.exact else None
    try:
        with telling_write_failures(path):
            kind.write(subject.model, subject.classes, path, representative)
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
        kind = find_format("keras")
        _written(Subject(model, (), HeldOut.of(model, pictures), task), kind, Path(folder) / kind.file, measured=False)
