"""Scoring a run: on the recorded splits of its own data, or on a folder it has never seen."""

from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.sampling import spread_over
from tfransfer.data.sources.load import is_same, load_again, load_known
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import DataError, SettingError, TransferError
from tfransfer.evaluation import abstention
from tfransfer.evaluation.map2d import LIMIT
from tfransfer.evaluation.predictions import OutputReading, Predictions, predict_examples
from tfransfer.runs import run_folder
from tfransfer.runs.manifest import Abstention
from tfransfer.runs.record import Record
from tfransfer.tasks.task import find_task


def predict_split(run: Record, model: Any, dataset: Dataset, name: str, progress: Progress) -> Predictions:
    """What a model says of a split, each example once, with the features of some of them."""
    examples = dataset.split(name)
    return predict_examples(
        model, dataset, examples, run.image_size,
        progress=progress, title=f"evaluating {name}", keep=spread_over(len(examples), LIMIT),
    )  # fmt: skip


def score_splits(
    run: Record, model: Any, dataset: Dataset, progress: Progress, known: dict[str, Predictions] | None = None
) -> dict[str, tuple[dict[str, Any], Predictions]]:
    """Metrics and predictions for each held-out split that has examples, each example once.

    A multi-label run without thresholds is scored with those that its validation split gives.

    Args:
        run: The run.
        model: Its model.
        dataset: Its data.
        progress: Shows how far it is.
        known: By split, what the model said already.
    """
    said = dict(known or {})
    for name in ("validation", "test"):
        if name not in said and dataset.split(name):
            said[name] = predict_split(run, model, dataset, name, progress)
    thresholds = run.thresholds or thresholds_of(run.task, said.get("validation"))
    return {name: (score(run, one, thresholds), one) for name, one in said.items()}


def score(run: Record, said: Predictions, thresholds: Any = None) -> dict[str, Any]:
    """All metrics of a run's predictions; see `tasks.task.Task.score`. None takes the run's own thresholds."""
    return find_task(run.task).score(said.targets, said.outputs, run.classes, thresholds or run.thresholds)


def thresholds_of(task: str, validation: Predictions | None) -> tuple[float, ...] | None:
    """From which probability on each class applies, chosen on the validation split; None of tasks that need none."""
    if validation is None:
        return None
    chosen = find_task(task).choose_thresholds(validation.targets, validation.outputs)
    return None if chosen is None else tuple(float(threshold) for threshold in chosen)


def recorded_data(run: Record, progress: Progress, say: Say) -> Dataset:
    """The data that a run was trained on, with the recorded splits.

    Raises:
        DataError: Its classes have changed.
    """
    known = run.manifest.data
    dataset = load_again(
        known.source, known.root, known.origin, run.folder / run_folder.SPLITS,
        progress=progress, say=say,
    )  # fmt: skip
    if dataset.classes != run.classes:
        raise DataError(
            f"{dataset.root} has the classes {', '.join(dataset.classes)}; the run has {', '.join(run.classes)}."
        )
    return dataset


def data_at_hand(run: Record, progress: Progress, say: Say) -> tuple[Dataset | None, str]:
    """The data that a run was trained on, in memory or read again; else None, and why it cannot be had."""
    if run.data is not None:
        return run.data, ""
    try:
        return recorded_data(run, progress, say), ""
    except (TransferError, OSError) as error:
        return None, str(error)


def is_own_data(run: Record, data: Any) -> bool:
    """Whether this is the data that the run was trained on, most of which must not be scored."""
    known = run.manifest.data
    return is_same(data, known.source, known.root, known.origin)


def known_data(run: Record, data: Any, progress: Progress, say: Say) -> Dataset:
    """Data of the run's classes, from anywhere.

    Raises:
        DataError: It has other classes.
    """
    if not isinstance(data, Dataset):
        return load_known(data, run.classes, run.task, run.manifest.data.origin, progress, say)
    if data.classes != run.classes:
        raise DataError(f"the data has the classes {', '.join(data.classes)}; the run has {', '.join(run.classes)}.")
    return data


def choose_abstention(
    run: Record, scored: dict[str, tuple[dict[str, Any], Predictions]], precision: float
) -> Abstention:
    """Choose, on validation, below which probability a run had better say nothing.

    Args:
        run: Of one class each.
        scored: From `score_splits`.
        precision: Share of right answers that is wanted among those that are given.

    Raises:
        SettingError: The task is another, or the precision out of range.
        DataError: The precision is not reached on validation.
    """
    if not find_task(run.task).one_class or "validation" not in scored:
        raise SettingError("--precision is for runs of one class each, scored on their own validation split.")
    labelled = {name: (said.targets.argmax(axis=1), said.outputs) for name, (_, said) in scored.items()}
    threshold = abstention.choose_threshold(*labelled["validation"], precision)
    found = {name: abstention.selective(*of_split, threshold) for name, of_split in labelled.items()}
    told = {name: {"threshold": threshold, "coverage": one.coverage, "top1": one.top1} for name, one in found.items()}
    return Abstention(threshold=threshold, precision=precision, splits=told)


def reading_of(run: Record, top: int = 5) -> OutputReading:
    """How the output of a run's model reads."""
    return OutputReading(find_task(run.task), run.classes, tuple(run.thresholds or ()), top, run.least_probability)


def write_predictions(run: Record, scored: dict[str, tuple[dict[str, Any], Predictions]]) -> None:
    """Write `predictions.csv` to the run's folder."""
    reading, rows = reading_of(run), []
    for name, (_, said) in scored.items():
        for example, right, output in zip(said.examples, said.targets, said.outputs, strict=True):
            read = reading.of(example.path, output)
            row = {"path": example.path, "label": reading.task.target_text(right, run.classes), "split": name}
            if read.value is not None:
                row |= {"predicted": repr(read.value)}
            else:
                row |= {"predicted": read.label, "probability": f"{read.probability:.6f}"}
            rows.append(row)
    run_folder.write_table(run.folder / run_folder.PREDICTIONS, rows)
