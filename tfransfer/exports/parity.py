"""Is what was exported what was evaluated? Each file is replayed in a fresh process and held to the model in memory."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.errors import ExportError
from tfransfer.exports import replay
from tfransfer.exports.formats import Format
from tfransfer.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL

_TIMEOUT = 1800


@dataclass(frozen=True)
class Parity:
    """How closely a file agrees with the model it was made from.

    Attributes:
        pictures: How many were compared.
        agreeing: On how many of them top-1 agrees.
        difference: Largest difference of a probability.
    """

    pictures: int
    agreeing: int
    difference: float


def check(
    files: Sequence[tuple[Format, Path]],
    pictures: np.ndarray,
    expected: np.ndarray,
    classes: Sequence[str],
    task: str = SINGLE_LABEL,
    model: Any = None,
) -> list[Parity]:
    """Replay exported files in a fresh process and compare.

    Args:
        files: Each format with the file or folder to check.
        pictures: Held-out pictures, uint8 (n, size, size, 3), or texts (n,).
        expected: What the model in memory says of them, float32 (n, classes).
        classes: What the files' labels must be.
        task: Decides what must agree besides the numbers.
        model: The model, where a `.keras` file of it may need layers of this project's own.

    Raises:
        ExportError: A file cannot be loaded, or it says something else.
    """
    answers = _replay(files, pictures, model)
    found = []
    for number, (kind, path) in enumerate(files):
        said = {k.split("/", 1)[1]: v for k, v in answers.items() if k.startswith(f"{number}/")}
        found.append(compare(kind, path.name, said, expected, classes, task))
    return found


def _replay(files: Sequence[tuple[Format, Path]], pictures: np.ndarray, model: Any) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "pictures.npy", pictures, allow_pickle=False)
        request = {
            "files": [{"format": kind.name, "path": str(path.resolve())} for kind, path in files],
            "pictures": str(place / "pictures.npy"),
            "answers": str(place / "answers.npz"),
            "modules": own_modules(model) if model is not None else [],
        }
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, replay.__file__, str(place / "request.json")],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            check=False,
        )
        if ran.returncode != 0:
            names = ", ".join(path.name for _, path in files)
            last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportError(f"{names}: cannot be loaded in a fresh process without tfransfer: {last}")
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
    task: str = SINGLE_LABEL,
) -> Parity:
    """Hold one file's answers to the model's.

    Args:
        kind: Its format, for the tolerances.
        name: For messages.
        said: What `replay` wrote for it.
        expected: What the model in memory says.
        classes: What its labels must be.
        task: Single-label files must name the same class, multi-label ones the same classes at one half; the numbers of
            a regression are held to their largest size.

    Raises:
        ExportError: They differ by more than rounding.
    """
    size = max(1.0, float(np.abs(expected).max())) if task == REGRESSION else 1.0
    tolerance = kind.tolerance * size
    labels = said.get("labels")
    if labels is not None and list(labels) != list(classes):
        raise ExportError(_refused(name, f"its labels are {list(labels)[:5]}, not {list(classes)[:5]}"))
    if np.abs(said["first"] - said["second"]).max() > tolerance:
        raise ExportError(_refused(name, "two calls on the same picture disagree: something random is in its graph"))
    clear = _clear(expected, task, kind.margin)
    worst, agreeing = 0.0, len(expected)
    for call in ("first", "bytes"):
        if call not in said:
            continue
        answer = said[call]
        if answer.shape != expected.shape or not np.isfinite(answer).all():
            raise ExportError(_refused(name, f"it gives values of shape {answer.shape}, some perhaps not finite"))
        same = _same(answer, expected, task)
        worst = max(worst, float(np.abs(answer - expected).max()))
        agreeing = min(agreeing, int(same.sum()))
        if not same[clear].all() or worst > tolerance:
            differing = int((~same & clear).sum())
            raise ExportError(
                _refused(
                    name,
                    f"on {len(expected)} held-out examples it names another class for {differing}, and its "
                    f"outputs differ by up to {worst:.2g} (rounding explains {tolerance:g})",
                )
            )
    return Parity(len(expected), agreeing, worst)


def _same(answer: np.ndarray, expected: np.ndarray, task: str) -> np.ndarray:
    """Whether both outputs come to the same class, or set of classes, for each example; a number is no decision."""
    if task == MULTI_LABEL:
        return ((answer >= 0.5) == (expected >= 0.5)).all(axis=1)
    return np.ones(len(answer), bool) if task == REGRESSION else answer.argmax(axis=1) == expected.argmax(axis=1)


def _clear(expected: np.ndarray, task: str, margin: float) -> np.ndarray:
    """Whether an example's decision is further from another one than rounding."""
    if task == REGRESSION:
        return np.ones(len(expected), bool)
    if task == MULTI_LABEL:
        return np.asarray((np.abs(expected - 0.5) > margin).all(axis=1))
    best = np.sort(expected, axis=1)
    return best[:, -1] - best[:, -2] > margin


def _refused(name: str, reason: str) -> str:
    return f"{name} does not say what the evaluated model says: {reason}. It was not kept."
