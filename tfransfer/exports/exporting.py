"""Write exported files, check and measure them, and release only those that pass."""

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
from tfransfer.system.signals import stop_if_requested
from tfransfer.tasks.task import SINGLE_LABEL, Task, find_task

# Half a step of files that round their probabilities to 256 steps.
_HALF_A_STEP = 1 / 512
# A file is rewritten at another temperature only if its log loss improves by more than this many nats.
_WORTH_IT = 0.005


@dataclass(frozen=True)
class Subject:
    """What is exported.

    Attributes:
        model: float32 pixels, or strings, to probabilities or values.
        classes: Class names.
        held: Held-out examples that files are compared on.
        task: Name of the task, which decides what is compared besides the numbers.
        thresholds: Thresholds of a multi-label task.
        representative: Returns training pictures, for formats that calibrate or round weights with them.
    """

    model: keras.Model
    classes: Sequence[str]
    held: HeldOut
    task: str = SINGLE_LABEL
    thresholds: Sequence[float] | None = None
    representative: Callable[[], Representative] | None = None

    @property
    def task_rules(self) -> Task:
        """The task."""
        return find_task(self.task)


@dataclass(frozen=True)
class Export:
    """One exported file.

    Attributes:
        format: Its format's name.
        path: The file or folder.
        size: Bytes.
        parity: How it compares with the model in memory, and its cost.
        accuracy: Its accuracy; None if the ground truth is unknown.
        temperature: Divisor of its logits, on top of the model's own temperature.
    """

    format: str
    path: Path
    size: int
    parity: parity.Parity
    accuracy: Accuracy | None = None
    temperature: float = 1.0

    @property
    def latency(self) -> float | None:
        """Milliseconds for one picture, on the faster number of cores."""
        return min(self.parity.latency_ms.values(), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `exports.json` and the manifest, with the file's name instead of its path."""
        values: dict[str, Any] = {
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
            values |= {self.accuracy.metric: self.accuracy.value, "drop": self.accuracy.drop}
            values |= {"split": self.accuracy.split} if self.accuracy.split else {}
            if self.accuracy.worst_class:
                values |= {"worst_class": self.accuracy.worst_class, "worst_class_drop": self.accuracy.worst_class_drop}
        values |= {"temperature": self.temperature} if self.temperature != 1 else {}
        return values | {"signatures": [signature.to_dict() for signature in self.parity.signatures]}


def export_model(
    subject: Subject, name: str, folder: Path, accept: Callable[[Export], None] = lambda export: None
) -> Export:
    """Export a model in one format. The file appears after it was loaded in a fresh process, compared and measured.

    Args:
        subject: What to export.
        name: The format's name.
        folder: Folder for the file; an existing file is replaced.
        accept: Called with the export before the file appears; raises to reject it.

    Raises:
        SettingError: The format is unknown.
        ExportError: The file cannot be written, or differs from the model; no file is left behind.
        WriteError: The disk is full or not writable.
        Stopped: A stop was requested.
    """
    kind = find_format(name)
    with whole(folder / kind.file) as path:
        export = _calibrated(subject, kind, path)
        export = replace(export, path=folder / kind.file)
        accept(export)
        stop_if_requested()
    return export


def _calibrated(subject: Subject, kind: Format, path: Path) -> Export:
    """Write a file, and once more if quantization made it over- or underconfident."""
    export = _written(subject, kind, path)
    # A quantized file needs a temperature of its own, because rounding errors in weights shrink or stretch the logits.
    # Integers cannot be divided afterwards, so the file is written once more, from the model at that temperature.
    held, answers = subject.held, export.parity.answers
    if kind.exact or held.targets is None or answers is None:
        return export
    targets = held.targets[: len(answers)]
    # Probabilities in 256 steps are often 0, whose logarithm is infinite: they are clipped to half a step.
    temperature = calibration.fit_temperature(subject.task_rules, targets, answers, _HALF_A_STEP)
    better = calibration.tempered(subject.task_rules, np.maximum(answers, _HALF_A_STEP), temperature)
    if temperature == 1 or _loss(subject, answers) - _loss(subject, better) < _WORTH_IT:
        return export
    with tempfile.TemporaryDirectory() as place, calibration.at_temperature(subject.model, temperature):
        rewritten = _written(subject, kind, Path(place) / kind.file)
        # The new file has other rounding errors, so the improvement is measured, not taken from the fit.
        if rewritten.parity.answers is None or _loss(subject, rewritten.parity.answers) >= _loss(subject, answers):
            return export
        path.write_bytes(rewritten.path.read_bytes())
    return replace(rewritten, path=path, temperature=temperature)


def _loss(subject: Subject, answers: np.ndarray) -> float:
    targets = np.asarray(subject.held.targets)[: len(answers)]
    return calibration.log_loss(subject.task_rules, targets, answers, _HALF_A_STEP)


def _written(subject: Subject, kind: Format, path: Path, measured: bool = True) -> Export:
    _write(subject, kind, path)
    stop_if_requested()
    result = parity.check(kind, path, subject.held, subject.classes, subject.task_rules, subject.model, measured)
    score = None
    if result.answers is not None:
        score = accuracy(subject.task_rules, subject.held, result.answers, subject.classes, subject.thresholds)
    return Export(kind.name, path, saved_size(path), result, score)


def _write(subject: Subject, kind: Format, path: Path) -> None:
    if kind.calibrated and subject.representative is None:
        raise ExportError(f"{kind.name} is calibrated on training pictures, which are not available.")
    representative = subject.representative() if subject.representative is not None and not kind.exact else None
    try:
        with telling_write_failures(path):
            kind.write(subject.model, subject.classes, path, representative)
    except TransferError:
        raise
    except Exception as error:
        stop_if_requested()  # native code may have turned a signal's exception into an error of its own
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ExportError(f"the model cannot be written as {kind.name}: {reason}") from error
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        raise ExportError(f"writing the model as {kind.name} produced no file.")


def require_saving(model: keras.Model, size: int, task: str) -> None:
    """Check that a model can be saved as `.keras` and loaded in a fresh process, before it is trained for hours.

    Raises:
        ExportError: It cannot, for example because of a custom layer class or a Lambda.
    """
    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        kind = find_format("keras")
        _written(Subject(model, (), HeldOut.of(model, pictures), task), kind, Path(folder) / kind.file, measured=False)
