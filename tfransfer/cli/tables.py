"""How results look on the terminal: metrics of each task, a finished run, predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfransfer.display.numbers import number_text, percent, value_text
from tfransfer.display.terminal import Terminal
from tfransfer.exports.table import TITLE, export_rows
from tfransfer.tasks.task import find_task


def show_run(terminal: Terminal, run: Any) -> None:
    """A finished run: metrics, exports, where it is."""
    show_metrics(terminal, run.task, run.metrics)
    made = run.manifest.exports.items()
    show_exports(terminal, run.task, [(run.folder / e["file"], name, e) for name, e in made])
    terminal.say(f"kept: the {run.manifest.kept.replace('_', '-')} phase's model")
    plan = run.manifest.plan
    if plan.instead_of:
        why = f"because the weights of {plan.instead_of} are not available"
        terminal.say(f"base: {plan.base}, which is less accurate, {why}")
    if (run.folder / "report.html").is_file():
        terminal.say(f"report: {run.folder / 'report.html'}")
    terminal.say(f"run: {run.folder} ({run.manifest.seconds or 0:.0f} s)")


def show_exports(terminal: Terminal, task: str, made: Sequence[tuple[Path, str, dict[str, Any]]]) -> None:
    """A row per exported file: what it costs, and how it compares with the model.

    Args:
        terminal: Where to.
        task: The run's.
        made: Where each file is, its format, and what was measured.
    """
    terminal.table(TITLE, *export_rows(task, made), 2)


def show_metrics(terminal: Terminal, task: str, metrics: dict[str, Any]) -> None:
    """A row per split, then a row per class where there are classes."""
    decides = find_task(task)
    terminal.table("", *decides.split_table(metrics))
    shown = "test" if "test" in metrics else next(iter(metrics))
    if per_class := metrics[shown].get("per_class"):
        terminal.table(f"{shown}, per class", *decides.class_table(per_class))
    _show_abstention(terminal, {name: m["abstention"] for name, m in metrics.items() if "abstention" in m})


def _show_abstention(terminal: Terminal, told: dict[str, dict[str, Any]]) -> None:
    """What it costs and gives not to answer below the chosen probability."""
    if told:
        threshold = next(iter(told.values()))["threshold"]
        rows = [[name, percent(one["coverage"]), one["top1"]] for name, one in told.items()]
        terminal.table(f"not sure below {number_text(threshold)}", ["split", "answered", "top-1 of these"], rows)


def show_predictions(terminal: Terminal, said: list[Any], what: str) -> None:
    """A row per picture or text.

    Args:
        terminal: Where to.
        said: Predictions.
        what: "picture" or "text".
    """
    if any(p.value is not None for p in said):
        terminal.table("", [what, "value"], [[p.name, p.error or value_text(p.value)] for p in said], left=99)
        return
    shown = max(1, *(len(p.top) for p in said))
    several = any(p.top and p.label != p.top[0][0] for p in said)
    columns = [what, *(["applies"] if several else []), *(f"top {rank}" for rank in range(1, shown + 1))]
    unsure = any(not p.sure for p in said)
    if unsure:
        columns.insert(1, "sure")
    rows = [
        [p.name, *(["yes" if p.sure else "no"] if unsure else []), *([p.label] if several else []),
         *(_ranked(p, rank) for rank in range(shown))]
        for p in said
    ]  # fmt: skip
    terminal.table("", columns, rows, left=99)


def _ranked(prediction: Any, rank: int) -> str:
    if prediction.error:
        return prediction.error if rank == 0 else ""
    return " ".join(map(number_text, prediction.top[rank])) if rank < len(prediction.top) else ""


def prediction_dict(prediction: Any, what: str) -> dict[str, Any]:
    """Plain values for --json."""
    found: dict[str, Any] = {what: prediction.name, "error": prediction.error or None}
    if prediction.value is not None:
        return found | {"value": prediction.value}
    ranked = [{"label": label, "probability": probability} for label, probability in prediction.top]
    return found | {"label": prediction.label, "sure": prediction.sure, "top": ranked}
