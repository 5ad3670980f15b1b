"""The model card of a bundle: what a model is, what it was trained on, how good it is, and what it cannot do.

Source: M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tfransfer.display.numbers import number_text
from tfransfer.system.files import size_text
from tfransfer.tasks.figure import EXAMPLES
from tfransfer.tasks.task import Task, task_of


def model_card(manifest: dict[str, Any], metrics: dict[str, Any], measured: dict[str, dict[str, Any]]) -> str:
    """A model card in Markdown.

    Args:
        manifest: What a run's `manifest.json` says.
        metrics: What its `metrics.json` says.
        measured: By format, what was measured of the files in the bundle.
    """
    task = task_of(manifest)
    sections = [
        ("What it is", _what(manifest, task)),
        ("Data", _data(manifest)),
        ("How good it is", _quality(metrics, task)),
        ("Files", _files(measured, task)),
        ("Limits", _limits(manifest, task)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())),
    ]
    title = f"# Model card: {manifest['plan']['base']} for {_name(manifest)}\n"
    return "\n".join([title, *(f"## {head}\n\n{body}\n" for head, body in sections if body)])


def _name(manifest: dict[str, Any]) -> str:
    return str(manifest["data"]["root"]).rstrip("/").split("/")[-1]


def _what(manifest: dict[str, Any], task: Task) -> str:
    plan = manifest["plan"]
    size = plan["image_size"]
    takes = (
        f"RGB pictures of {size} x {size} pixels, each value in [0, 255]; preprocessing is inside" if size else "texts"
    )
    unfrozen = ", ".join(plan.get("unfrozen", []))
    kept = str(manifest.get("kept", "")).replace("_", "-")
    trained = (
        f"A new head was trained on the frozen base{f', then {unfrozen} at a low learning rate' if unfrozen else ''}."
    )
    lines = [
        f"{plan['base']} (weights: {plan.get('weights', 'unknown')}) with a new head. It takes {takes}, and gives "
        f"{task.answer}.",
        f"{trained} The {kept} phase's model was better on validation and is this one." if kept else trained,
    ]
    if manifest.get("temperature", 1.0) != 1.0:
        lines.append(f"Its probabilities are calibrated on validation (temperature {manifest['temperature']:g}).")
    return "\n".join(lines)


def _data(manifest: dict[str, Any]) -> str:
    counts = manifest["data"].get("counts", {})
    names = list(dict.fromkeys(name for of_split in counts.values() for name in of_split))
    if not names:
        return f"{_name(manifest)}."
    rows = [[name, *(of_split.get(name, 0) for of_split in counts.values())] for name in names]
    return table(["class", *counts], rows)


def _quality(metrics: dict[str, Any], task: Task) -> str:
    shown = "test" if "test" in metrics else next(iter(metrics), "")
    if not shown:
        return ""
    said = metrics[shown]
    known = [f"{one.title} {number_text(said[one.key])}" for one in task.figures if said.get(one.key) is not None]
    head = f"On {number_text(said[EXAMPLES.key])} {shown} examples, which chose nothing: {', '.join(known)}."
    per_class = said.get("per_class", {})
    if not per_class:
        return head
    return f"{head}\n\n{table(*task.class_table(per_class))}"


def _files(measured: dict[str, dict[str, Any]], task: Task) -> str:
    rows = [
        [one["file"], name, size_text(one["bytes"]), number_text(one.get(task.main.key)), number_text(one.get("drop")),
         " / ".join(f"{ms:.3g}" for ms in one.get("latency_ms", {}).values())]
        for name, one in measured.items()
    ]  # fmt: skip
    head = [
        "file",
        "format",
        "size",
        f"{task.main.title} on validation",
        "lost to the model",
        "ms a picture, 1 / 2 cores, there",
    ]
    return table(head, rows)


def _limits(manifest: dict[str, Any], task: Task) -> str:
    lines = ["It was scored on data like its training data; on other data it may be worse. Score it on yours."]
    lines += task.limits
    if manifest["plan"]["image_size"]:
        lines.append(
            "Pictures are stretched to a square. Turn photos upright first: no file here reads EXIF orientation."
        )
    abstention = manifest.get("abstention")
    if abstention:
        told = abstention.get("splits", {}).get("test", {})
        lines.append(
            f"Below a probability of {number_text(abstention['threshold'])} it should abstain: then it answers "
            f"{told.get('coverage', 0):.0%} of the test examples, {number_text(told.get('top1'))} of them right."
        )
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; what would end a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(number_text(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )
