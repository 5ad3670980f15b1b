"""The plots of a report, each with what one sees in words, and the confusion matrix as a table."""

from typing import Any

import numpy as np

from tfransfer.display.numbers import number_text
from tfransfer.evaluation import plots
from tfransfer.evaluation.answers import Answers
from tfransfer.evaluation.mistakes import confused_pairs
from tfransfer.evaluation.report import drawing
from tfransfer.evaluation.report.content import Content
from tfransfer.tasks.reliability import Bin, bins
from tfransfer.tasks.task import Task, metric_name

_SYMBOLS = dict(zip(plots.MARKS, "●■▲◆▼✚✖★", strict=True))


def plots_of(content: Content, task: Task) -> dict[str, str]:
    """SVG of each plot; empty where it cannot be drawn."""
    found = dict.fromkeys(("loss", "metric", "reliability", "scatter", "residuals", "map"), "")
    for name, key in (("loss", "loss"), ("metric", task.headline)):
        if content.history and np.isfinite(plots.column(content.history, f"val_{key}")).any():
            drawn = plots.history(content.history, [key], kept_row(content.manifest, content.history))
            found[name] = drawing.svg(drawn, curve_in_words(content.history, key))
    answers = content.answers
    if answers is None:
        return found
    found |= _of_answers(task, answers)
    if len(answers.points):
        found["map"] = _map(content, answers, task)
    return found


def _of_answers(task: Task, answers: Answers) -> dict[str, str]:
    """Predicted against true numbers, where the task measures; confidence against accuracy, where it has any."""
    found = {}
    measured = task.numbers(answers.targets, answers.outputs)
    if measured is not None:
        right, said = measured
        found["scatter"] = drawing.svg(
            plots.said_against_right(right, said),
            f"Predictions against true values, {len(right)} points; the correlation is "
            f"{np.corrcoef(right, said)[0, 1]:.2f}." if len(right) > 1 and np.ptp(said) * np.ptp(right) > 0
            else "Predictions against true values.",
        )  # fmt: skip
        found["residuals"] = drawing.svg(
            plots.residuals(right, said),
            f"Histogram of errors: half of them are between {np.quantile(said - right, 0.25):.3g} and "
            f"{np.quantile(said - right, 0.75):.3g}.",
        )
    confident = task.confidence(answers.targets, answers.outputs)
    if confident is not None:
        grouped = bins(*confident)
        found["reliability"] = drawing.svg(plots.reliability(grouped), reliability_in_words(grouped))
    return found


def kept_row(manifest: dict[str, Any], rows: list[dict[str, Any]]) -> int | None:
    """Position in the history of the epoch whose weights were selected; None where it is not known."""
    phase = manifest.get("kept")
    epoch = manifest.get("phases", {}).get(phase, {}).get("kept_epoch")
    wanted = (phase, str(epoch))
    return next((i for i, row in enumerate(rows) if (row["phase"], str(row["epoch"])) == wanted), None)


def curve_in_words(rows: list[dict[str, Any]], key: str) -> str:
    """What a learning curve shows."""
    values, first = plots.column(rows, f"val_{key}"), plots.boundary(rows)
    parts = [f"Curves of {metric_name(key)} over {len(rows)} epochs."]
    for name, part in (("the head phase", values[:first]), ("the fine-tune phase", values[first:])):
        seen = part[np.isfinite(part)]
        if len(seen):
            before, after = (number_text(float(value)) for value in (seen[0], seen[-1]))
            parts.append(f"On validation it goes from {before} to {after} in {name}.")
    return " ".join(parts)


def reliability_in_words(grouped: tuple[Bin, ...]) -> str:
    """What a reliability diagram shows."""
    told = "; ".join(f"{b.confidence:.0%} sure, {b.right:.0%} right, {b.count} answers" for b in grouped)
    return f"Reliability diagram. {told}."


def matrix_of(scored: dict[str, Any], classes: list[str]) -> dict[str, Any] | None:
    """A confusion matrix as rows of cells; of many classes the most confused pairs and a picture."""
    if "confusion_matrix" not in scored:
        return None
    matrix = np.asarray(scored["confusion_matrix"], int)
    pairs = confused_pairs(matrix, classes)
    if len(classes) > plots.MOST_NAMED:
        drawn = plots.confusion(matrix, classes, named=False)
        right = np.trace(matrix) / max(1, matrix.sum())
        described = f"Confusion matrix of {len(classes)} classes as colours: {right:.0%} of it lies on the diagonal."
        return {"rows": None, "pairs": pairs, "picture": drawing.figure_data(drawn), "described": described}
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = [
        (name, [
            {"count": int(matrix[i, j]), "right": i == j, "share": round(float(shares[i, j]), 3)}
            for j in range(len(classes))
        ])
        for i, name in enumerate(classes)
    ]  # fmt: skip
    return {"rows": rows, "classes": classes, "pairs": pairs, "picture": None}


def legend(content: Content, task: Task) -> list[dict[str, str]]:
    """The mark of each class on the map; none where classes are not told apart."""
    classes = content.manifest["classes"]
    if not task.one_class or len(classes) > plots.MOST_MARKED:
        return []
    names = {colour: f"c{number}" for number, colour in enumerate(plots.SERIES)}
    marks = [plots.series(label) for label in range(len(classes))]
    return [{"name": n, "colour": names[c], "symbol": _SYMBOLS[m]} for n, (c, m) in zip(classes, marks, strict=True)]


def _map(content: Content, answers: Answers, task: Task) -> str:
    targets, outputs = answers.targets[answers.positions], answers.outputs[answers.positions]
    counted = f"Map of {len(answers.points)} {content.split} examples"
    wrong = task.wrong(targets, outputs, content.manifest.get("thresholds"))
    if wrong is None:
        return drawing.svg(plots.values_map(answers.points, targets[:, 0]), f"{counted}, coloured by the true value.")
    told_apart = len(content.manifest["classes"]) if task.one_class else 1
    drawn = plots.flat_map(answers.points, task.groups(targets), told_apart, wrong)
    return drawing.svg(drawn, f"{counted}, what looks alike to the base lies together; {int(wrong.sum())} are wrong.")
