"""The report of a run: what is known of it is gathered, and written as one HTML file."""

import csv
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
from tfransfer.runs import run_folder, scoring
from tfransfer.runs.record import Record
from tfransfer.system.allocator import keep_freed_memory
from tfransfer.system.files import write_text
from tfransfer.tasks.prediction import Mistake
from tfransfer.tasks.task import find_task

# Heat maps by occlusion begin no further picture after so many seconds.
_PATIENCE = 6.0
_SHOWN = 12
# Side of the photos of findings, in pixels.
_ODD_SIDE = 96


def keep_answers(run: Record, scored: dict[str, tuple[dict[str, Any], Predictions]]) -> Answers | None:
    """Keep in a run's folder what its model said of the test split, or of the validation split where there is none."""
    split = next((name for name in ("test", "validation") if name in scored), None)
    if split is None:
        return None
    answers = answers_of(split, scored[split][1])
    write_answers(run.folder / run_folder.ANSWERS, answers)
    return answers


def write_report(run: Record, progress: Progress, say: Say) -> Path:
    """Write `report.html` to a run's folder; what takes the training data is left out where that is gone, and said.

    Raises:
        RunError: The run's files are damaged.
        WriteError: It cannot be written.
    """
    keep_freed_memory()
    path = run.folder / run_folder.REPORT
    write_text(path, render(gather(run, _SHOWN, progress, say)))
    return path


def gather(run: Record, limit: int, progress: Progress, say: Say) -> Content:
    """Everything a report says.

    Args:
        run: Any.
        limit: How many mistakes to show.
        progress: Shows how far it is, where the model must be asked.
        say: Told what was set aside, where the data is read anew.

    Raises:
        RunError: The run's files are damaged.
    """
    dataset, missing = _data_of(run, progress, say)
    answers = read_answers(run.folder / run_folder.ANSWERS, run.classes)
    if answers is None and dataset is not None:
        answers = keep_answers(run, scoring.score_splits(run, run.model, dataset, progress))
    shown: list[Shown] = []
    looked = ""
    if answers is not None:
        wrong = find_task(run.task).most_wrong(answers.targets, answers.outputs, run.classes, run.thresholds, limit)
        shown, looked, gone = _shown(run, dataset, answers, wrong)
        missing = missing or gone
    findings = [] if dataset is None else survey.index_findings(dataset)
    issues = _recorded_issues(run) if dataset is None else [_issue(one) for one in findings]
    return Content(
        run.manifest.to_dict(), run.metrics, run.history, _read(run.folder / run_folder.RECIPE), issues,
        run.folder.absolute().name, answers, tuple(shown), looked, missing,
        {} if dataset is None else photos_of(dataset, findings),
    )  # fmt: skip


def report_or_warn(run: Record, progress: Progress, say: Say) -> None:
    """Write the report at the end of a training, which it must not cost."""
    try:
        write_report(run, progress, say)
    except Exception as error:  # noqa: BLE001  a plot that fails is no reason to lose what took hours
        why = str(error).rstrip(".")
        say(f"warning: the report is not written: {why}. Try again with tfransfer report {run.folder}")


def _data_of(run: Record, progress: Progress, say: Say) -> tuple[Dataset | None, str]:
    """The run's data, or why nothing of it is shown."""
    dataset, reason = scoring.data_at_hand(run, progress, say)
    missing = f"No {run.modality.nouns} are shown, because the training data is not at hand: {reason}"
    return dataset, "" if dataset is not None else missing


def _shown(
    run: Record, dataset: Dataset | None, answers: Answers, wrong: Sequence[Mistake]
) -> tuple[list[Shown], str, str]:
    """Mistakes with their photos and heat maps or their texts, how the maps were made, and why photos are missing."""
    names = [answers.paths[mistake.position] for mistake in wrong]
    plain = [Shown(mistake, name) for mistake, name in zip(wrong, names, strict=True)]
    if dataset is None or not wrong:
        return plain, "", ""
    by_path = {example.path: example for example in dataset.examples}
    if not all(name in by_path for name in names):
        return plain, "", "No examples are shown, because the data is not what it was when the run was evaluated."
    examples = [by_path[name] for name in names]
    if not run.modality.has_pixels:
        return [Shown(one.mistake, one.name, e.text) for one, e in zip(plain, examples, strict=True)], "", ""
    try:
        with flow.telling_lost_pictures():
            pixels = flow.pixels_of(dataset, examples, run.image_size)
    except TransferError as error:
        return plain, "", f"No photos are shown: {error}"
    looked = heat_maps(run.model, pixels, [mistake.output for mistake in wrong], _PATIENCE)
    maps: list[np.ndarray | None] = [*looked.maps, *([None] * (len(wrong) - len(looked.maps)))]
    found = [Shown(one.mistake, one.name, None, pixels[i], maps[i]) for i, one in enumerate(plain)]
    return found, looked.method, ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _issue(found: Finding) -> dict[str, str]:
    return {
        "kind": found.kind,
        "path": " = ".join(found.paths[:2]),
        "detail": found.detail,
        "set_aside": str(found.set_aside).lower(),
    }


def photos_of(dataset: Dataset, findings: Sequence[Finding]) -> dict[str, tuple[np.ndarray, ...]]:
    """The photos of the first finding of each kind, small, where they can be read."""
    found: dict[str, tuple[np.ndarray, ...]] = {}
    for one in findings:
        if one.kind not in found and dataset.modality.has_pixels:
            files = [dataset.root / path for path in one.paths[:2]]
            seen = [read_encoded(file.read_bytes(), file.name, _ODD_SIDE) for file in files if file.is_file()]
            found[one.kind] = tuple(picture.pixels for picture in seen if picture.pixels is not None)
    return found


def _recorded_issues(run: Record) -> list[dict[str, str]]:
    """What was written down of the data when it was read."""
    try:
        with (run.folder / run_folder.DATA_ISSUES).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
