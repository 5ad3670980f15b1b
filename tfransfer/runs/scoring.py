"""Score a run on the recorded splits of its own data, or on new data."""

from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.sampling import spread_over
from tfransfer.data.sources.load import is_same, load_again, load_known
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import DataError, SettingError, TransferError
from tfransfer.evaluation import abstention
from tfransfer.evaluation.map2d import LIMIT
from tfransfer.evaluation.predictions import Infer, OutputReading, Predictions, predict_examples
from tfransfer.runs import run_folder
from tfransfer.runs.manifest import Abstention
from tfransfer.runs.record import Record
from tfransfer.system.interface import option
from tfransfer.tasks.task import find_task

# Enough for an engine to make batches of texts of similar length.
_ENGINE_BATCH = 128


def predict_split(
    run: Record, model: Any, dataset: Dataset, name: str, progress: Progress, infer: Infer | None = None
) -> Predictions:
    """A model's predictions on a split, each example once, with the features of some of them."""
    examples = dataset.split(name)
    return predict_examples(
        model, dataset, examples, run.image_size, batch=32 if infer is None else _ENGINE_BATCH, infer=infer,
        progress=progress, title=f"evaluating {name}", keep=spread_over(len(examples), LIMIT),
    )  # fmt: skip


def score_splits(
    run: Record,
    model: Any,
    dataset: Dataset,
    progress: Progress,
    known: dict[str, Predictions] | None = None,
    infer: Infer | None = None,
) -> dict[str, tuple[dict[str, Any], Predictions]]:
    """Metrics and predictions for each held-out split that has examples, each example once.

    A multi-label run without thresholds takes those chosen on the validation split.

    Args:
        run: The run.
        model: Its model.
        dataset: Its data.
        progress: Shows the progress.
        known: Existing predictions, by split.
        infer: Runs the model another way; see `predict_examples`.
    """
    predictions = dict(known or {})
    for name in ("validation", "test"):
        if name not in predictions and dataset.split(name):
            predictions[name] = predict_split(run, model, dataset, name, progress, infer)
    thresholds = run.thresholds or thresholds_of(run.task, predictions.get("validation"))
    return {name: (score(run, of_split, thresholds), of_split) for name, of_split in predictions.items()}


def score(run: Record, predicted: Predictions, thresholds: Any = None) -> dict[str, Any]:
    """All metrics of a run's predictions; see `tasks.task.Task.score`. None takes the run's own thresholds.

    `interval` is the 95% interval of the headline.
    """
    task = find_task(run.task)
    scored = task.score(predicted.targets, predicted.outputs, run.classes, thresholds or run.thresholds)
    value = scored.get(task.main.key)
    if value is None:
        return scored
    interval = task.interval(value, scored["n"], predicted.targets, predicted.outputs)
    return scored | {"interval": interval and list(interval)}


def thresholds_of(task: str, validation: Predictions | None) -> tuple[float, ...] | None:
    """Lowest probability at which each class applies, chosen on the validation split; None for other tasks."""
    if validation is None:
        return None
    chosen = find_task(task).choose_thresholds(validation.targets, validation.outputs)
    return None if chosen is None else tuple(float(threshold) for threshold in chosen)


def recorded_data(run: Record, progress: Progress, say: Say) -> Dataset:
    """The data that a run was trained on, with the recorded splits.

    Raises:
        DataError: Its classes have changed.
    """
    recorded = run.manifest.data
    dataset = load_again(
        recorded.source, recorded.root, recorded.origin, run.folder / run_folder.SPLITS,
        progress=progress, say=say,
    )  # fmt: skip
    if dataset.classes != run.classes:
        raise DataError(
            f"{dataset.root} has the classes {', '.join(dataset.classes)}; the run has {', '.join(run.classes)}."
        )
    return dataset


def data_at_hand(run: Record, progress: Progress, say: Say) -> tuple[Dataset | None, str]:
    """The data that a run was trained on, in memory or read again; else None, and why it is not available."""
    if run.data is not None:
        return run.data, ""
    try:
        return recorded_data(run, progress, say), ""
    except (TransferError, OSError) as error:
        return None, str(error)


def is_own_data(run: Record, data: Any) -> bool:
    """Whether this is the data that the run was trained on, whose training split must not be scored."""
    recorded = run.manifest.data
    return is_same(data, recorded.source, recorded.root, recorded.origin)


def known_data(run: Record, data: Any, progress: Progress, say: Say) -> Dataset:
    """Load new data with the run's classes.

    Raises:
        DataError: It has other classes.
    """
    if not isinstance(data, Dataset):
        data = load_known(data, run.classes, run.task, run.manifest.data.origin, progress, say)
    if data.modality != run.modality:
        raise DataError(f"the data holds {data.modality.item}s; the run reads {run.modality.item}s.")
    if data.classes != run.classes:
        raise DataError(f"the data has the classes {', '.join(data.classes)}; the run has {', '.join(run.classes)}.")
    return data


def choose_abstention(
    run: Record, scored: dict[str, tuple[dict[str, Any], Predictions]], precision: float
) -> Abstention:
    """Choose, on validation, the threshold below which a run abstains.

    Args:
        run: A single-label run.
        scored: From `score_splits`.
        precision: Requested share of correct predictions among those that are not abstained from.

    Raises:
        SettingError: The task is not single-label, or the precision is out of range.
        DataError: The precision is not reached on validation.
    """
    if not find_task(run.task).one_class or "validation" not in scored:
        raise SettingError(f"{option('precision')} is for single-label runs, scored on their own validation split.")
    labelled = {name: (split.targets.argmax(axis=1), split.outputs) for name, (_, split) in scored.items()}
    threshold = abstention.choose_threshold(*labelled["validation"], precision)
    selective = {name: abstention.selective(*of_split, threshold) for name, of_split in labelled.items()}
    splits = {
        name: {"threshold": threshold, "coverage": one.coverage, "top1": one.top1} for name, one in selective.items()
    }
    return Abstention(threshold=threshold, precision=precision, splits=splits)


def reading_of(run: Record, top: int = 5) -> OutputReading:
    """How to turn the outputs of a run's model into predictions."""
    return OutputReading(find_task(run.task), run.classes, tuple(run.thresholds or ()), top, run.least_probability)


def write_predictions(run: Record, scored: dict[str, tuple[dict[str, Any], Predictions]]) -> None:
    """Write `predictions.csv` to the run's folder."""
    reading, rows = reading_of(run), []
    for name, (_, split) in scored.items():
        for example, target, output in zip(split.examples, split.targets, split.outputs, strict=True):
            prediction = reading.of(example.path, output)
            row = {"path": example.path, "label": reading.task.target_text(target, run.classes), "split": name}
            if prediction.value is not None:
                row |= {"predicted": repr(prediction.value)}
            else:
                row |= {"predicted": prediction.label, "probability": f"{prediction.probability:.6f}"}
            rows.append(row)
    run_folder.write_table(run.folder / run_folder.PREDICTIONS, rows)
