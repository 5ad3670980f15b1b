"""Is what was exported what was evaluated? A file is replayed in a fresh process and compared with the model."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.errors import ExportError
from tfransfer.exports import fresh
from tfransfer.exports.formats import Format
from tfransfer.exports.held_out import HeldOut
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.tasks.task import Task

# For how many seconds a file is asked about pictures; one that is quantized is judged by them.
_ASKED_FOR, _QUANTIZED_ASKED_FOR = 15.0, 120.0
# A quantized file that agrees on less than this share is not handed over at all.
_LEAST_ALIKE = 0.75


@dataclass(frozen=True)
class Parity:
    """How closely a file agrees with the model it was made from, and what it costs.

    Attributes:
        pictures: How many were compared; a slow file is asked about fewer.
        agreeing: On how many of them top-1 agrees.
        difference: Largest difference of a probability.
        answers: What the file said of them, float32 (pictures, classes).
        load_seconds: From the file to the first call.
        latency_ms: Median time of a call with one picture, by number of cores; without those that could not be told.
        peak_memory: Bytes that loading and calling it took; None where the system does not say.
    """

    pictures: int
    agreeing: int
    difference: float
    answers: np.ndarray | None = field(default=None, repr=False)
    load_seconds: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    _: KW_ONLY
    peak_memory: int | None = None


def check(
    kind: Format,
    path: Path,
    held: HeldOut,
    classes: Sequence[str],
    task: Task = CLASSIFICATION,
    model: Any = None,
    measured: bool = True,
) -> Parity:
    """Replay an exported file in a fresh process and compare.

    Args:
        kind: Its format.
        path: The file or folder to check.
        held: What it is compared on.
        classes: What its labels must be.
        task: Decides what must agree besides the numbers.
        model: The model, where a `.keras` file of it may need layers of this project's own.
        measured: Whether its latency is, too.

    Raises:
        ExportError: It cannot be loaded, or it says something else.
    """
    said = replay_file(kind, path, held.given, model, measured)
    found = compare(kind, path.name, said, held.expected, classes, task)
    latencies = {str(cores): float(ms) for cores, ms in enumerate(said["latency_ms"], start=1) if np.isfinite(ms)}
    memory = float(said["peak_memory"])
    return replace(
        found,
        load_seconds=float(said["load_seconds"]),
        latency_ms=latencies,
        peak_memory=int(memory) if np.isfinite(memory) else None,
    )


def replay_file(
    kind: Format, path: Path, given: np.ndarray, model: Any = None, measured: bool = False
) -> dict[str, np.ndarray]:
    """What a file says of examples, and what it costs, in a fresh process; see `replay`.

    Args:
        kind: Its format.
        path: The file or folder.
        given: Pictures, uint8 (n, size, size, 3), or texts, (n,).
        model: As for `check`.
        measured: Whether its latency is, too.

    Raises:
        ExportError: It cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "pictures.npy", given, allow_pickle=False)
        request = {
            "format": kind.reader,
            "path": str(path.resolve()),
            "pictures": str(place / "pictures.npy"),
            "answers": str(place / "answers.npz"),
            "modules": own_modules(model) if model is not None else [],
            "measured": measured,
            "seconds": _ASKED_FOR if kind.exact else _QUANTIZED_ASKED_FOR,
        }
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        status, errors = fresh.run(place / "request.json", imports_tensorflow=kind.reader in ("keras", "savedmodel"))
        if status != 0:
            last = (errors.strip().splitlines() or ["no message"])[-1]
            raise ExportError(f"{path.name}: cannot be loaded in a fresh process without tfransfer: {last}")
        with np.load(place / "answers.npz", allow_pickle=False) as archive:
            return dict(archive)


def own_modules(model: Any) -> list[str]:
    """The modules with this project's own layers in a model, and with operations that its files need."""
    layers = model._flatten_layers()
    own = {type(layer).__module__ for layer in layers if type(layer).__module__.split(".")[0] == "tfransfer"}
    return sorted(own | {layer.operations_from for layer in layers if hasattr(layer, "operations_from")})


def compare(
    kind: Format,
    name: str,
    said: dict[str, np.ndarray],
    expected: np.ndarray,
    classes: Sequence[str],
    task: Task = CLASSIFICATION,
) -> Parity:
    """Compare one file's outputs with the model's.

    Args:
        kind: Its format, for the tolerances.
        name: For messages.
        said: What `replay` wrote for it.
        expected: Outputs of the model in memory.
        classes: What its labels must be.
        task: Decides what must agree besides the numbers, and in which unit these are compared.

    Raises:
        ExportError: They differ by more than rounding, or, of a quantized file, so much that it is another model.
    """
    size = task.magnitude(expected)
    labels, first, second = said.get("labels"), said["first"], said["second"]
    if labels is not None and list(labels) != list(classes):
        raise ExportError(_refused(name, f"its labels are {list(labels)[:5]}, not {list(classes)[:5]}"))
    if first.shape[1:] != expected.shape[1:] or not np.isfinite(first).all():
        raise ExportError(_refused(name, f"it gives values of shape {first.shape}, some perhaps not finite"))
    if np.abs(first[: len(second)] - second[: len(first)]).max() > kind.tolerance * size:
        raise ExportError(_refused(name, "two calls on the same picture disagree: something random is in its graph"))
    for answer in (first, said.get("bytes")):
        if answer is not None:
            (_require_rounding if kind.exact else _require_likeness)(kind, name, answer, expected[: len(answer)], task)
    asked = expected[: len(first)]
    agreeing = int(task.same(first, asked).sum())
    return Parity(len(first), agreeing, float(np.abs(first - asked).max()), first)


def _require_rounding(kind: Format, name: str, answer: np.ndarray, expected: np.ndarray, task: Task) -> None:
    """Check that outputs differ from the model's by rounding alone."""
    size = task.magnitude(expected)
    wrong = ~task.same(answer, expected) & task.clear(expected, kind.margin)
    worst = float(np.abs(answer - expected).max())
    if wrong.any() or worst > kind.tolerance * size:
        raise ExportError(
            _refused(
                name,
                f"on {len(expected)} held-out examples it names another class for {int(wrong.sum())}, and its "
                f"outputs differ by up to {worst:.2g} (rounding explains {kind.tolerance * size:g})",
            )
        )


def _require_likeness(kind: Format, name: str, answer: np.ndarray, expected: np.ndarray, task: Task) -> None:
    """Check that a quantized file is the same model still: what that cost is measured elsewhere."""
    alike = task.likeness(answer, expected)
    if alike < _LEAST_ALIKE:
        raise ExportError(
            _refused(
                name,
                f"on {len(expected)} held-out examples it agrees with it on {alike:.0%}, and below "
                f"{_LEAST_ALIKE:.0%} it is another model: its outputs are mixed up, or this base does not survive "
                "such quantization",
            )
        )


def _refused(name: str, reason: str) -> str:
    return f"{name} does not say what the evaluated model says: {reason}. It was not kept."
