"""Terminal tables for metrics, exports, predictions and a finished run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfransfer.display.numbers import number_text, percent, value_text
from tfransfer.display.terminal import Terminal
from tfransfer.evaluation.abstention import in_words
from tfransfer.exports import signature
from tfransfer.exports.signature import signature_table
from tfransfer.exports.table import TITLE, export_rows
from tfransfer.tasks.task import CROSS_VALIDATED as KEY
from tfransfer.tasks.task import find_task


def show_run(terminal: Terminal, run: Any) -> None:
    """Print a finished run: metrics, exports, folder."""
    show_metrics(terminal, run.task, run.metrics)
    exported = run.manifest.exports.items()
    show_exports(terminal, run.task, [(run.folder / e["file"], name, e) for name, e in exported])
    terminal.say(f"selected: the {run.manifest.kept.replace('_', '-')} phase's model")
    plan = run.manifest.plan
    if plan.instead_of:
        why = f"because the weights of {plan.instead_of} are not available"
        terminal.say(f"base: {plan.base}, which is less accurate, {why}")
    if (run.folder / "report.html").is_file():
        terminal.say(f"report: {run.folder / 'report.html'}")
    terminal.say(f"run: {run.folder} ({run.manifest.seconds or 0:.0f} s)")


def show_exports(terminal: Terminal, task: str, exported: Sequence[tuple[Path, str, dict[str, Any]]]) -> None:
    """Print a row per exported file: size, latency, how it compares with the model; and what it takes and gives.

    Args:
        terminal: Where to print.
        task: The run's task.
        exported: Path, format and measurements of each file.
    """
    terminal.table(TITLE, *export_rows(task, exported), 2)
    ends = signature_table({name: measured for _, name, measured in exported})
    if ends["rows"]:
        terminal.table(signature.TITLE, ends["columns"], ends["rows"], 3)
        for words in ends["words"]:
            terminal.say(words)


def show_metrics(terminal: Terminal, task: str, metrics: dict[str, Any]) -> None:
    """Print a row per split, then a row per class where there are classes."""
    task_rules = find_task(task)
    terminal.table("", *task_rules.split_table(metrics))
    shown = "test" if "test" in metrics else next(iter(metrics))
    if per_class := metrics[shown].get("per_class"):
        terminal.table(f"{shown}, per class", *task_rules.class_table(per_class))
    for of_split in metrics.values():
        if KEY in of_split:
            terminal.say(task_rules.cross_validated_text(of_split[KEY], of_split["n"], shown))
    _show_abstention(terminal, {name: m["abstention"] for name, m in metrics.items() if "abstention" in m})


def _show_abstention(terminal: Terminal, abstention: dict[str, dict[str, Any]]) -> None:
    """Print coverage and accuracy when abstaining below the chosen probability."""
    if abstention:
        threshold = next(iter(abstention.values()))["threshold"]
        rows = [[name, percent(one["coverage"]), one["top1"]] for name, one in abstention.items()]
        title, *more = in_words(threshold, abstention)
        terminal.table(title, ["split", "answered", "top-1 of these"], rows)
        for line in more:
            terminal.say(line)


def show_predictions(terminal: Terminal, predictions: list[Any], what: str) -> None:
    """Print a row per picture or text.

    Args:
        terminal: Where to print.
        predictions: What to print.
        what: "picture" or "text".
    """
    if any(p.value is not None for p in predictions):
        terminal.table("", [what, "value"], [[p.name, p.error or value_text(p.value)] for p in predictions], left=99)
        return
    shown = max(1, *(len(p.top) for p in predictions))
    multi_label = any(p.top and p.label != p.top[0][0] for p in predictions)
    columns = [what, *(["applies"] if multi_label else []), *(f"top {rank}" for rank in range(1, shown + 1))]
    unsure = any(not p.sure for p in predictions)
    if unsure:
        columns.insert(1, "sure")
    rows = [
        [p.name, *(["yes" if p.sure else "no"] if unsure else []), *([p.label] if multi_label else []),
         *(_ranked(p, rank) for rank in range(shown))]
        for p in predictions
    ]  # fmt: skip
    terminal.table("", columns, rows, left=99)


def _ranked(prediction: Any, rank: int) -> str:
    if prediction.error:
        return prediction.error if rank == 0 else ""
    return " ".join(map(number_text, prediction.top[rank])) if rank < len(prediction.top) else ""


def prediction_dict(prediction: Any, what: str) -> dict[str, Any]:
    """Plain values for --json."""
    row: dict[str, Any] = {what: prediction.name, "error": prediction.error or None}
    if prediction.value is not None:
        return row | {"value": prediction.value}
    ranked = [{"label": label, "probability": probability} for label, probability in prediction.top]
    return row | {"label": prediction.label, "sure": prediction.sure, "top": ranked}
