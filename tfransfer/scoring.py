"""Scoring a run: on the recorded splits of its own data, or on a folder it has never seen."""

import os
from pathlib import Path
from typing import Any

from tfransfer import run_folder
from tfransfer.data import folder, sources
from tfransfer.data.index import Dataset
from tfransfer.errors import DataError
from tfransfer.evaluation.metrics import score
from tfransfer.evaluation.predictions import Predictions, predict_examples
from tfransfer.progress import Progress, Say
from tfransfer.runs import Run


def score_splits(
    run: Run, model: Any, dataset: Dataset, progress: Progress
) -> dict[str, tuple[dict[str, Any], Predictions]]:
    """Metrics and predictions for each held-out split that has examples, each example once."""
    scored = {}
    for name in ("validation", "test"):
        examples = dataset.split(name)
        if examples:
            said = predict_examples(
                model, dataset, examples, run.image_size, progress=progress, title=f"evaluating {name}"
            )
            scored[name] = (score(said.labels, said.probabilities, run.classes), said)
    return scored


def recorded_data(run: Run, progress: Progress, say: Say) -> Dataset:
    """The data that a run was trained on, with the recorded splits.

    Raises:
        DataError: Its classes have changed.
    """
    known = run.manifest["data"]
    dataset = sources.load_again(
        known.get("source", sources.FOLDER), known["root"], run.folder / run_folder.SPLITS, progress=progress, say=say
    )
    if dataset.classes != run.classes:
        raise DataError(
            f"{dataset.root} has the classes {', '.join(dataset.classes)}; the run has {', '.join(run.classes)}."
        )
    return dataset


def is_own_data(run: Run, data: Dataset | str | Path) -> bool:
    """Whether this is the data that the run was trained on, most of which must not be scored."""
    root = data.root if isinstance(data, Dataset) else sources.root_of(data)
    return os.path.abspath(root) == run.manifest["data"]["root"]


def known_data(run: Run, data: Dataset | str | Path, progress: Progress, say: Say) -> Dataset:
    """Data of the run's classes, from anywhere.

    Raises:
        DataError: It has other classes.
    """
    if not isinstance(data, Dataset):
        return folder.load_labelled(sources.root_of(data), run.classes, progress=progress, say=say)
    if data.classes != run.classes:
        raise DataError(f"the data has the classes {', '.join(data.classes)}; the run has {', '.join(run.classes)}.")
    return data


def write_predictions(run: Run, scored: dict[str, tuple[dict[str, Any], Predictions]]) -> None:
    """Write `predictions.csv` to the run's folder."""
    rows = []
    for name, (_, said) in scored.items():
        for example, label, row in zip(said.examples, said.labels, said.probabilities, strict=True):
            best = int(row.argmax())
            rows.append({
                "path": example.path, "label": run.classes[label], "split": name,
                "predicted": run.classes[best], "probability": f"{row[best]:.6f}",
            })  # fmt: skip
    run_folder.write_table(run.folder / run_folder.PREDICTIONS, rows)
