"""What a run's files may hold besides the right types: a folder may have been edited by hand, or come from anyone.

Everything that reads a run relies on these checks, and makes none of its own.
"""

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from tfransfer.data.modality import MODALITIES
from tfransfer.data.sources.kinds import DIGITS, FOLDER, MEMORY, TABLE, TFDS
from tfransfer.errors import SettingError
from tfransfer.recipe import fits, type_in_words
from tfransfer.tasks.task import CROSS_VALIDATED, TASKS, find_task

# No number of a run comes near these: larger ones would only break what shows or allocates them.
_MOST, _LARGEST_SIDE, _LONGEST_PATH = 10**15, 100_000, 10_000
_PHASE: dict[str, Any] = {
    "epochs": int, "kept_epoch": int, "batch_size": int, "validation": dict[str, float | None], "seconds": float | None,
    "diverged": str | bool,
}  # fmt: skip
_EXPORT: dict[str, Any] = {
    "file": str, "bytes": int, "pictures_compared": int, "top1_agreeing": int, "largest_difference": float,
    "load_seconds": float | None, "latency_ms": dict[str, float], "peak_memory_mb": float | None, "worst_class": str,
    "split": str, "signatures": tuple[dict, ...],
}  # fmt: skip
_TENSOR: dict[str, Any] = {
    "name": str, "shape": tuple[int | None, ...], "dtype": str, "scale": float, "zero_point": int,
}  # fmt: skip

_ORIGIN: dict[str, Any] = {
    "file": str, "columns": dict, "frame": bool, "data": str, "data_dir": str | None, "splits": dict[str, str] | None,
    "name": str,
}  # fmt: skip


def require_sound_manifest(manifest: Any) -> None:
    """Check the values of a typed manifest.

    Raises:
        SettingError: One of them cannot be true; the message names its key.
    """
    plan, data = manifest.plan, manifest.data
    for key, value, known in (("task", manifest.task, TASKS), ("data.kind", data.kind, MODALITIES)):
        _require(value in [*known], key, f"one of {', '.join(known)}", value)
    classes = manifest.classes
    _require(len(set(classes)) == len(classes) > 0, "classes", "a list of one or more different names", list(classes))
    _within(plan.image_size, int(MODALITIES[data.kind].has_pixels), _LARGEST_SIDE, "plan.image_size")
    for name in ("batch_size", "steps_per_call", "replicas"):
        _within(getattr(plan, name), 1, _MOST, f"plan.{name}")
    for name in ("head_epochs", "fine_tune_epochs", "fine_tune_patience", "head_learning_rate"):
        _within(getattr(plan, name), 0, _MOST, f"plan.{name}")
    _within(plan.fine_tune_learning_rate, 0, _MOST, "plan.fine_tune_learning_rate")
    _within(manifest.features.views, 1, _MOST, "plan.features.views")
    _within(manifest.temperature, 1e-12, _MOST, "temperature")
    if manifest.thresholds is not None:
        _require(len(manifest.thresholds) == len(classes), "thresholds", f"{len(classes)} numbers", manifest.thresholds)
    for name, result in manifest.phases.items():
        _require_shape(result, _PHASE, f"phases.{name}")
    for name, export in manifest.exports.items():
        _require_export(export, f"exports.{name}")
    for name, seed in manifest.seeds.items():
        _within(seed, -_MOST, _MOST, f"seeds.{name}")
    _require_origin(data)
    measured = {"data.sizes": data.sizes, "data.counts": data.counts, "data.set_aside": data.set_aside}
    measured |= {
        "seconds": manifest.seconds,
        "thresholds": manifest.thresholds,
        "plan.features": vars(manifest.features),
    }
    if manifest.abstention is not None:
        measured |= {"abstention": vars(manifest.abstention)}
        for name, covered in manifest.abstention.splits.items():
            shape = {"threshold": float, "coverage": float, "top1": float | None}
            _require_shape(covered, shape, f"abstention.splits.{name}")
            _require("coverage" in covered, f"abstention.splits.{name}.coverage", "given", "missing")
    if manifest.progress is not None:
        measured |= {"progress": vars(manifest.progress) | {"kept": None}}
    for key, values in measured.items():
        _require_numbers(values, key)


def _require_origin(data: Any) -> None:
    """Check what the data is opened again from."""
    sources = (DIGITS, FOLDER, TABLE, TFDS, MEMORY)
    _require(data.source in sources, "data.source", f"one of {', '.join(sources)}", data.source)
    _require_shape(data.origin, _ORIGIN, "data.origin")
    for key, needed in (("file", data.source == TABLE or data.origin.get("frame")), ("data", data.source == TFDS)):
        _require(not needed or key in data.origin, f"data.origin.{key}", "given", "missing")
    for key in ("root", "file", "data", "data_dir"):
        text = data.root if key == "root" else data.origin.get(key) or ""
        _require("\0" not in text and len(text) <= _LONGEST_PATH, f"data {key}", "a path", text)


def _require_export(export: dict[str, Any], key: str) -> None:
    _require_shape(export, _EXPORT, key)
    _require("file" in export, f"{key}.file", "given", "missing")
    file = export["file"]
    _require(bool(file) and PurePath(file).name == file, f"{key}.file", "the name of a file in the run's folder", file)
    for signature in export.get("signatures", ()):
        _require_shape(signature, {"name": str}, f"{key}.signatures")
        for end in ("input", "output"):
            tensor = signature.get(end)
            whole = isinstance(tensor, dict) and set(tensor) >= {"name", "shape", "dtype"}
            _require(whole, f"{key}.signatures.{end}", "an object with name, shape and dtype", tensor)
            _require_shape(tensor, _TENSOR, f"{key}.signatures.{end}")
    rest = {name: value for name, value in export.items() if name not in _EXPORT}
    _require_shape(rest, dict.fromkeys(rest, float | str | None), key)
    _require_numbers(export, key)


def require_sound_metrics(metrics: Any, task: str, classes: Sequence[str]) -> None:
    """Check the content of `metrics.json`.

    Args:
        metrics: Plain values; a number that is not finite becomes None, because it is not known.
        task: The run's task.
        classes: Its classes.

    Raises:
        SettingError: A value has the wrong type or cannot be true; the message names its key.
    """
    _require(fits(dict[str, dict], metrics), "it", "an object of objects, one for each split", metrics)
    shares = {figure.key for figure in find_task(task).figures if figure.share}
    for split, scored in metrics.items():
        _forget_unknown(scored)
        _require_shape(scored, {"n": int, "per_class": dict[str, dict[str, float | None]]}, split)
        for key, value in scored.items():
            where = f"{split}.{key}"
            if key == "confusion_matrix":
                square = fits(tuple[tuple[int, ...], ...], value) and {len(classes)} == {len(value), *map(len, value)}
                _require(square, where, f"{len(classes)} rows of {len(classes)} whole numbers", value)
            elif key == "interval":
                _require_interval(value, where)
            elif key == CROSS_VALIDATED:
                _require(isinstance(value, dict) and fits(int, value.get("n")), where, "a figure with its n", value)
                main = find_task(task).main.key
                _require(fits(float, value.get(main)), f"{where}.{main}", "a number", value.get(main))
                _require_interval(value.get("interval"), f"{where}.interval")
            elif not isinstance(value, dict | list):
                _require(fits(float | None, value), where, "a number", value)
                _require(key not in shares or value is None or 0 <= value <= 1, where, "between 0 and 1", value)
        _require_numbers(scored, split)


def _require_interval(value: Any, where: str) -> None:
    right = value is None or (fits(tuple[float, ...], value) and len(value) == 2)
    _require(right, where, "two numbers", value)


def require_sound_history(rows: Sequence[dict[str, Any]]) -> None:
    """Check the rows of `history.csv`.

    Raises:
        SettingError: A column is missing, or a value is no number; the message names its line.
    """
    for number, row in enumerate(rows, 2):
        whole = {"phase", "epoch"} <= set(row) and None not in row and row["phase"]
        _require(bool(whole), f"line {number}", "a phase, an epoch and numbers", row)
        for key, value in row.items():
            _require(key == "phase" or _is_number(value or "0"), f"{key} in line {number}", "a number", value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _forget_unknown(values: dict[str, Any]) -> None:
    """Replace numbers that are not finite by None."""
    for key, value in values.items():
        if isinstance(value, dict):
            _forget_unknown(value)
        elif isinstance(value, float) and not math.isfinite(value):
            values[key] = None


def _require_shape(values: dict[str, Any], shape: dict[str, Any], prefix: str) -> None:
    for name, hint in shape.items():
        if name in values:
            _require(fits(hint, values[name]), f"{prefix}.{name}", type_in_words(hint), values[name])


def _require_numbers(values: Any, key: str) -> None:
    """Check that all numbers in plain values are finite and not absurdly large; whole ones count something."""
    stack = [(key, values)]
    while stack:
        where, value = stack.pop()
        if isinstance(value, dict):
            stack += [(f"{where}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list | tuple):
            stack += [(where, inner) for inner in value]
        elif isinstance(value, int | float):
            _within(value, 0 if isinstance(value, int) else -_MOST, _MOST, where)


def _within(value: float, least: float, most: float, key: str) -> None:
    text = f"{least}" if least == most else f"between {least} and {most}"
    _require(least <= value <= most, key, text, value)


def _require(right: bool, key: str, wanted: str, came: Any) -> None:
    if not right:
        raise SettingError(f"{key[:100]} must be {wanted}; it is {repr(came)[:100]}.")
