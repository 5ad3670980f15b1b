"""The model card of a bundle: what the model is, its training data, its accuracy and its limits.

Source: M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tfransfer.display.numbers import number_text
from tfransfer.evaluation.abstention import in_words
from tfransfer.system.files import size_text
from tfransfer.tasks.figure import EXAMPLES
from tfransfer.tasks.task import Task, task_of


def model_card(manifest: dict[str, Any], metrics: dict[str, Any], measured: dict[str, dict[str, Any]]) -> str:
    """A model card in Markdown.

    Args:
        manifest: Content of a run's `manifest.json`.
        metrics: Content of its `metrics.json`.
        measured: Measurements of the files in the bundle, by format.
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
    selected = str(manifest.get("kept", "")).replace("_", "-")
    trained = (
        f"A new head was trained on the frozen base{f', then {unfrozen} at a low learning rate' if unfrozen else ''}."
    )
    lines = [
        f"{plan['base']} (weights: {plan.get('weights', 'unknown')}) with a new head. It takes {takes} and returns "
        f"{task.answer}.",
        f"{trained} This is the {selected} phase's model, the better one on validation." if selected else trained,
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
    scores = metrics[shown]
    known = [f"{one.title} {number_text(scores[one.key])}" for one in task.figures if scores.get(one.key) is not None]
    count = number_text(scores.get(EXAMPLES.key, "the"))
    head = f"On {count} {shown} examples, which were used for no choice: {', '.join(known)}."
    per_class = scores.get("per_class", {})
    if not per_class:
        return head
    return f"{head}\n\n{table(*task.class_table(per_class))}"


def _files(measured: dict[str, dict[str, Any]], task: Task) -> str:
    rows = [
        [one["file"], name, size_text(one.get("bytes", 0)), number_text(one.get(task.main.key)),
         number_text(one.get("drop")), " / ".join(f"{ms:.3g}" for ms in one.get("latency_ms", {}).values())]
        for name, one in measured.items()
    ]  # fmt: skip
    head = [
        "file",
        "format",
        "size",
        f"{task.main.title} on validation",
        "drop from the model",
        "ms per example, 1 / 2 cores, as measured",
    ]
    return table(head, rows)


def _limits(manifest: dict[str, Any], task: Task) -> str:
    lines = ["It was evaluated on data like its training data and may be worse on other data. Evaluate it on yours."]
    lines += task.limits
    if manifest["plan"]["image_size"]:
        lines.append(
            "Pictures are stretched to a square. Turn photos upright first: no file here reads EXIF orientation."
        )
    abstention = manifest.get("abstention")
    if abstention:
        on_test = abstention.get("splits", {}).get("test", {})
        of_these = "" if on_test.get("top1") is None else f", with an accuracy of {number_text(on_test['top1'])}"
        lines.append(
            f"For a precision of {number_text(abstention['precision'])} it is "
            f"{'; '.join(in_words(abstention['threshold'], abstention.get('splits', {})))}. It then answers "
            f"{on_test.get('coverage', 0):.0%} of the test examples{of_these}."
        )
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; characters that would end a cell are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(number_text(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )
