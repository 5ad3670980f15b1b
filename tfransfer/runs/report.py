"""Gather a run's results and write them as one HTML report."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.data.health import survey
from tfransfer.data.health.findings import Finding
from tfransfer.data.inputs import read_encoded
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import TransferError
from tfransfer.evaluation.answers import Answers, answers_of, read_answers, write_answers
from tfransfer.evaluation.attention import heat_maps
from tfransfer.evaluation.predictions import Predictions
from tfransfer.evaluation.report.content import Content, Shown
from tfransfer.evaluation.report.page import render
from tfransfer.exports.signature import signature_table
from tfransfer.runs import run_folder, scoring
from tfransfer.runs.record import Record
from tfransfer.system.allocator import keep_freed_memory
from tfransfer.system.files import read_limited, write_text
from tfransfer.system.signals import stop_if_requested
from tfransfer.system.spreadsheet import unescaped
from tfransfer.tasks.prediction import Mistake
from tfransfer.tasks.task import find_task

# Seconds after which occlusion starts no further heat map.
_PATIENCE = 6.0
_SHOWN = 12
# Side of the photos of findings, in pixels.
_ODD_SIDE = 96
# Of a recipe, and of the recorded issues: a line of 100 bytes for each of a million files.
_LARGEST_TEXT = 100_000_000


def keep_answers(run: Record, scored: dict[str, tuple[dict[str, Any], Predictions]]) -> Answers | None:
    """Save the model's outputs on the test split, or else the validation split, in a run's folder."""
    split = next((name for name in ("test", "validation") if name in scored), None)
    if split is None:
        return None
    answers = answers_of(split, scored[split][1])
    write_answers(run.folder / run_folder.ANSWERS, answers)
    return answers


def write_report(run: Record, progress: Progress, say: Say) -> Path:
    """Write `report.html` to a run's folder; without the training data it shows no examples and says so.

    Raises:
        RunError: The run's files are damaged.
        WriteError: It cannot be written.
    """
    keep_freed_memory()
    path = run.folder / run_folder.REPORT
    write_text(path, render(gather(run, _SHOWN, progress, say)))
    return path


def gather(run: Record, limit: int, progress: Progress, say: Say) -> Content:
    """The content of a report.

    Args:
        run: Any run.
        limit: Maximum number of mistakes.
        progress: Shows the progress if the model must be evaluated.
        say: Called with lines on skipped files if the data is read again.

    Raises:
        RunError: The run's files are damaged.
    """
    dataset, missing = _data_of(run, progress, say)
    answers = read_answers(run.folder / run_folder.ANSWERS, run.classes)
    if answers is None and os.path.lexists(run.folder / run_folder.ANSWERS):
        say(f"warning: {run.folder / run_folder.ANSWERS} is damaged, too large or of other classes, and is not used")
    if answers is None and dataset is not None:
        answers = keep_answers(run, scoring.score_splits(run, run.model, dataset, progress))
    shown: list[Shown] = []
    method = ""
    if answers is not None:
        wrong = find_task(run.task).most_wrong(answers.targets, answers.outputs, run.classes, run.thresholds, limit)
        shown, method, reason = _shown(run, dataset, answers, wrong)
        missing = missing or reason
    findings = [] if dataset is None else survey.index_findings(dataset)
    issues = _recorded_issues(run) if dataset is None else [_issue(one) for one in findings]
    return Content(
        run.manifest.to_dict(), run.metrics, run.history, _read(run.folder / run_folder.RECIPE), issues,
        run.folder.absolute().name, answers, tuple(shown), method, missing,
        {} if dataset is None else photos_of(dataset, findings), signature_table(run.manifest.exports),
    )  # fmt: skip


def report_or_warn(run: Record, progress: Progress, say: Say) -> None:
    """Write the report at the end of a training; warn if that fails."""
    try:
        write_report(run, progress, say)
    except Exception as error:  # noqa: BLE001  a failing plot must not fail a training of hours
        stop_if_requested()
        why = str(error).rstrip(".")
        say(f"warning: the report was not written: {why}. Try again with tfransfer report {run.folder}")


def _data_of(run: Record, progress: Progress, say: Say) -> tuple[Dataset | None, str]:
    """The run's data, or why no examples are shown."""
    dataset, reason = scoring.data_at_hand(run, progress, say)
    missing = f"No {run.modality.nouns} are shown, because the training data is not available: {reason}"
    return dataset, "" if dataset is not None else missing


def _shown(
    run: Record, dataset: Dataset | None, answers: Answers, wrong: Sequence[Mistake]
) -> tuple[list[Shown], str, str]:
    """Mistakes with images and heat maps, or texts; the method of the maps; why images are missing."""
    names = [answers.paths[mistake.position] for mistake in wrong]
    plain = [Shown(mistake, name) for mistake, name in zip(wrong, names, strict=True)]
    if dataset is None or not wrong:
        return plain, "", ""
    by_path = {example.path: example for example in dataset.examples}
    if not all(name in by_path for name in names):
        return plain, "", "No examples are shown, because the data has changed since the run was evaluated."
    examples = [by_path[name] for name in names]
    if not run.modality.has_pixels:
        return [Shown(one.mistake, one.name, e.text) for one, e in zip(plain, examples, strict=True)], "", ""
    try:
        with flow.telling_lost_pictures(dataset):
            pixels = flow.pixels_of(dataset, examples, run.image_size)
    except TransferError as error:
        return plain, "", f"No photos are shown: {error}"
    heat = heat_maps(run.model, pixels, [mistake.output for mistake in wrong], _PATIENCE)
    maps: list[np.ndarray | None] = [*heat.maps, *([None] * (len(wrong) - len(heat.maps)))]
    with_pixels = [Shown(one.mistake, one.name, None, pixels[i], maps[i]) for i, one in enumerate(plain)]
    return with_pixels, heat.method, ""


def _read(path: Path) -> str:
    try:
        return read_limited(path, _LARGEST_TEXT).decode("utf-8")
    except (OSError, ValueError):
        return ""


def _issue(finding: Finding) -> dict[str, str]:
    return {
        "kind": finding.kind,
        "path": " = ".join(finding.paths[:2]),
        "detail": finding.detail,
        "set_aside": str(finding.set_aside).lower(),
    }


def photos_of(dataset: Dataset, findings: Sequence[Finding]) -> dict[str, tuple[np.ndarray, ...]]:
    """Thumbnails of the first finding of each kind, if its images can be read."""
    photos: dict[str, tuple[np.ndarray, ...]] = {}
    for finding in findings:
        if finding.kind not in photos and dataset.modality.has_pixels:
            files = [dataset.root / path for path in finding.paths[:2]]
            pictures = [read_encoded(file.read_bytes(), file.name, _ODD_SIDE) for file in files if file.is_file()]
            photos[finding.kind] = tuple(picture.pixels for picture in pictures if picture.pixels is not None)
    return photos


def _recorded_issues(run: Record) -> list[dict[str, str]]:
    """The issues recorded when the data was read."""
    try:
        rows = list(csv.DictReader(io.StringIO(_read(run.folder / run_folder.DATA_ISSUES), newline="")))
    except csv.Error:
        return []
    return [{key: unescaped(row.get(key) or "") for key in ("kind", "path", "detail", "set_aside")} for row in rows]
