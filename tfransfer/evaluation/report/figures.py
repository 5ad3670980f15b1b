"""The plots of a report, each with a description in words, and the confusion matrix as a table."""

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
    """SVG of each plot; empty if it cannot be drawn."""
    drawn = dict.fromkeys(("loss", "metric", "reliability", "scatter", "residuals", "map"), "")
    for name, key in (("loss", "loss"), ("metric", task.headline)):
        if content.history and np.isfinite(plots.column(content.history, f"val_{key}")).any():
            plot = plots.history(content.history, [key], selected_row(content.manifest, content.history))
            drawn[name] = drawing.svg(plot, curve_in_words(content.history, key))
    answers = content.answers
    if answers is None:
        return drawn
    drawn |= _of_answers(task, answers)
    if len(answers.points):
        drawn["map"] = _map(content, answers, task)
    return drawn


def _of_answers(task: Task, answers: Answers) -> dict[str, str]:
    """Predicted over true values for tasks with numbers; accuracy over confidence for tasks with probabilities."""
    drawn = {}
    numbers = task.numbers(answers.targets, answers.outputs)
    if numbers is not None:
        targets, predicted = numbers
        drawn["scatter"] = drawing.svg(
            plots.predicted_over_true(targets, predicted),
            f"Predicted over true values, {len(targets)} points; the correlation is "
            f"{np.corrcoef(targets, predicted)[0, 1]:.2f}."
            if len(targets) > 1 and np.ptp(predicted) * np.ptp(targets) > 0 else "Predicted over true values.",
        )  # fmt: skip
        errors = predicted - targets
        drawn["residuals"] = drawing.svg(
            plots.residuals(targets, predicted),
            f"Histogram of errors: half of them are between {np.quantile(errors, 0.25):.3g} and "
            f"{np.quantile(errors, 0.75):.3g}.",
        )
    confidence = task.confidence(answers.targets, answers.outputs)
    if confidence is not None:
        grouped = bins(*confidence)
        drawn["reliability"] = drawing.svg(plots.reliability(grouped), reliability_in_words(grouped))
    return drawn


def selected_row(manifest: dict[str, Any], rows: list[dict[str, Any]]) -> int | None:
    """Position in the history of the epoch whose weights were selected; None where it is not known."""
    phase = manifest.get("kept")
    epoch = manifest.get("phases", {}).get(phase, {}).get("kept_epoch")
    wanted = (phase, str(epoch))
    return next((i for i, row in enumerate(rows) if (row["phase"], str(row["epoch"])) == wanted), None)


def curve_in_words(rows: list[dict[str, Any]], key: str) -> str:
    """A learning curve in words."""
    values, first = plots.column(rows, f"val_{key}"), plots.boundary(rows)
    parts = [f"Curves of {metric_name(key)} over {len(rows)} epochs."]
    for name, part in (("the head phase", values[:first]), ("the fine-tune phase", values[first:])):
        known = part[np.isfinite(part)]
        if len(known):
            before, after = (number_text(float(value)) for value in (known[0], known[-1]))
            parts.append(f"On validation it goes from {before} to {after} in {name}.")
    return " ".join(parts)


def reliability_in_words(grouped: tuple[Bin, ...]) -> str:
    """A reliability diagram in words."""
    described = "; ".join(
        f"confidence {b.confidence:.0%}, accuracy {b.accuracy:.0%}, {b.count} predictions" for b in grouped
    )
    return f"Reliability diagram. {described}."


def matrix_of(scored: dict[str, Any], classes: list[str]) -> dict[str, Any] | None:
    """A confusion matrix as rows of cells; with many classes, the most confused pairs and an image."""
    if "confusion_matrix" not in scored:
        return None
    matrix = np.asarray(scored["confusion_matrix"], int)
    pairs = confused_pairs(matrix, classes)
    if len(classes) > plots.MOST_NAMED:
        plot = plots.confusion(matrix, classes, named=False)
        accuracy = np.trace(matrix) / max(1, matrix.sum())
        described = f"Confusion matrix of {len(classes)} classes as colours: {accuracy:.0%} is on the diagonal."
        return {"rows": None, "pairs": pairs, "picture": drawing.figure_data(plot), "described": described}
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = [
        (name, [
            {"count": int(matrix[i, j]), "correct": i == j, "share": round(float(shares[i, j]), 3)}
            for j in range(len(classes))
        ])
        for i, name in enumerate(classes)
    ]  # fmt: skip
    return {"rows": rows, "classes": classes, "pairs": pairs, "picture": None}


def legend(content: Content, task: Task) -> list[dict[str, str]]:
    """The mark of each class on the map; empty if classes are not distinguished."""
    classes = content.manifest["classes"]
    if not task.one_class or len(classes) > plots.MOST_MARKED:
        return []
    names = {colour: f"c{number}" for number, colour in enumerate(plots.SERIES)}
    marks = [plots.series(label) for label in range(len(classes))]
    return [{"name": n, "colour": names[c], "symbol": _SYMBOLS[m]} for n, (c, m) in zip(classes, marks, strict=True)]


def _map(content: Content, answers: Answers, task: Task) -> str:
    targets, outputs = answers.targets[answers.positions], answers.outputs[answers.positions]
    title = f"Map of {len(answers.points)} {content.split} examples"
    wrong = task.wrong(targets, outputs, content.manifest.get("thresholds"))
    if wrong is None:
        return drawing.svg(plots.values_map(answers.points, targets[:, 0]), f"{title}, coloured by the true value.")
    classes = len(content.manifest["classes"]) if task.one_class else 1
    plot = plots.flat_map(answers.points, task.groups(targets), classes, wrong)
    return drawing.svg(plot, f"{title}, similar ones close together; {int(wrong.sum())} are wrong.")
