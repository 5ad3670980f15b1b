"""Check that an exported file matches the evaluated model, by replaying it in a fresh process."""

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
from tfransfer.exports.signature import Signature, read_signatures
from tfransfer.system.plain_paths import plain_path
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.tasks.task import Task

# Time limits in seconds for running a file on pictures; a quantized file's accuracy is measured on them.
_SECONDS, _QUANTIZED_SECONDS = 15.0, 120.0
# A quantized file that agrees with the model on a smaller share of examples is refused.
LEAST_AGREEMENT = 0.75
# Characters of an error that are shown: Keras appends the whole config of a layer.
_LONGEST_CAUSE = 600


@dataclass(frozen=True)
class Parity:
    """How closely a file agrees with the model it was exported from, and its cost.

    Attributes:
        pictures: Number compared; fewer for a slow file.
        agreeing: Number of them on which top-1 agrees.
        difference: Largest difference of a probability.
        answers: The file's outputs for them, float32 (pictures, classes).
        load_seconds: Time to load the file.
        latency_ms: Median time of a call with one picture, by number of cores, where it could be measured.
        peak_memory: Bytes taken by loading and calling it; None if unknown.
        signatures: What it takes and gives.
    """

    pictures: int
    agreeing: int
    difference: float
    answers: np.ndarray | None = field(default=None, repr=False)
    load_seconds: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    _: KW_ONLY
    peak_memory: int | None = None
    signatures: tuple[Signature, ...] = ()


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
        held: Examples to compare on.
        classes: Expected labels.
        task: Decides what must agree besides the numbers.
        model: The model, if its `.keras` file may need tfransfer's own layers.
        measured: Whether to measure latency too.

    Raises:
        ExportError: It cannot be loaded, or does not match the model.
    """
    answers = replay_file(kind, path, held.given, model, measured)
    result = compare(kind, path.name, answers, held.expected, classes, task)
    latencies = {str(cores): float(ms) for cores, ms in enumerate(answers["latency_ms"], start=1) if np.isfinite(ms)}
    memory = float(answers["peak_memory"])
    return replace(
        result,
        load_seconds=float(answers["load_seconds"]),
        latency_ms=latencies,
        peak_memory=int(memory) if np.isfinite(memory) else None,
        signatures=read_signatures(json.loads(str(answers["signatures"]))),
    )


def replay_file(
    kind: Format, path: Path, given: np.ndarray, model: Any = None, measured: bool = False
) -> dict[str, np.ndarray]:
    """A file's outputs for examples and its cost, from a fresh process; see `replay`.

    Args:
        kind: Its format.
        path: The file or folder.
        given: Pictures, uint8 (n, size, size, 3), or texts, (n,).
        model: As for `check`.
        measured: Whether to measure latency too.

    Raises:
        ExportError: It cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "pictures.npy", given, allow_pickle=False)
        request = {
            "format": kind.reader,
            "path": str(plain_path(path.resolve())),
            "pictures": str(place / "pictures.npy"),
            "answers": str(place / "answers.npz"),
            "modules": own_modules(model) if model is not None else [],
            "measured": measured,
            "seconds": _SECONDS if kind.exact else _QUANTIZED_SECONDS,
        }
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        status, errors = fresh.run(place / "request.json", imports_tensorflow=kind.reader in ("keras", "savedmodel"))
        if status != 0:
            cause = _cause(place, status, errors)
            raise ExportError(f"{path.name}: cannot be loaded in a fresh process without tfransfer: {cause}")
        with np.load(place / "answers.npz", allow_pickle=False) as archive:
            return dict(archive)


def _cause(place: Path, status: int, errors: str) -> str:
    """Why a fresh process failed: the error that it recorded, or how it ended if it could not record any."""
    try:
        return (place / "request.json.cause").read_text(encoding="utf-8")[:_LONGEST_CAUSE]
    except FileNotFoundError:
        ended = f"it was ended by signal {-status}" if status < 0 else f"it ended with status {status}"
        return f"{ended} ({(errors.strip().splitlines() or ['no message'])[-1]})"


def own_modules(model: Any) -> list[str]:
    """Modules with tfransfer's own layers in a model, and with operations that its files need."""
    layers = model._flatten_layers()
    own = {type(layer).__module__ for layer in layers if type(layer).__module__.split(".")[0] == "tfransfer"}
    return sorted(own | {layer.operations_from for layer in layers if hasattr(layer, "operations_from")})


def compare(
    kind: Format,
    name: str,
    answers: dict[str, np.ndarray],
    expected: np.ndarray,
    classes: Sequence[str],
    task: Task = CLASSIFICATION,
) -> Parity:
    """Compare one file's outputs with the model's.

    Args:
        kind: Its format, for the tolerances.
        name: For messages.
        answers: What `replay` wrote for it.
        expected: Outputs of the model in memory.
        classes: Expected labels.
        task: Decides what must agree besides the numbers, and the unit in which these are compared.

    Raises:
        ExportError: They differ by more than rounding, or, for a quantized file, agree too rarely.
    """
    size = task.magnitude(expected)
    labels, first, second = answers.get("labels"), answers["first"], answers["second"]
    if labels is not None and list(labels) != list(classes):
        raise ExportError(_refused(name, f"its labels are {list(labels)[:5]}, not {list(classes)[:5]}"))
    if first.shape[1:] != expected.shape[1:]:
        raise ExportError(_refused(name, f"its outputs have shape {first.shape[1:]}, not {expected.shape[1:]}"))
    if not np.isfinite(first).all():
        raise ExportError(_refused(name, "some of its outputs are not finite"))
    if np.abs(first[: len(second)] - second[: len(first)]).max() > kind.tolerance * size:
        raise ExportError(_refused(name, "two calls on the same example disagree: its graph contains something random"))
    for outputs in (first, answers.get("bytes")):
        if outputs is not None:
            require = _require_rounding if kind.exact else _require_agreement
            require(kind, name, outputs, expected[: len(outputs)], task)
    compared = expected[: len(first)]
    agreeing = int(task.same(first, compared).sum())
    return Parity(len(first), agreeing, float(np.abs(first - compared).max()), first)


def _require_rounding(kind: Format, name: str, outputs: np.ndarray, expected: np.ndarray, task: Task) -> None:
    """Check that outputs differ from the model's by rounding alone."""
    size = task.magnitude(expected)
    wrong = ~task.same(outputs, expected) & task.clear(expected, kind.margin)
    worst = float(np.abs(outputs - expected).max())
    if wrong.any() or worst > kind.tolerance * size:
        raise ExportError(
            _refused(
                name,
                f"on {int(wrong.sum())} of {len(expected)} held-out examples it predicts another class, and its "
                f"outputs differ by up to {worst:.2g} (rounding explains {kind.tolerance * size:g})",
            )
        )


def _require_agreement(kind: Format, name: str, outputs: np.ndarray, expected: np.ndarray, task: Task) -> None:
    """Check that a quantized file agrees with the model on most examples; its accuracy is measured elsewhere."""
    agreement = task.likeness(outputs, expected)
    if agreement < LEAST_AGREEMENT:
        raise ExportError(
            _refused(
                name,
                f"it agrees with the model on {agreement:.0%} of {len(expected)} held-out examples; at least "
                f"{LEAST_AGREEMENT:.0%} is required: its outputs are reordered, or this base does not tolerate this "
                "quantization",
            )
        )


def _refused(name: str, reason: str) -> str:
    return f"{name} does not match the evaluated model: {reason}. It was not saved."
