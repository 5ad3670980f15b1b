"""Evaluate a run on its recorded splits, or on new data."""

from typing import Any

from tfransfer.display.progress import Progress, Say
from tfransfer.errors import SettingError, WriteError
from tfransfer.evaluation import abstention
from tfransfer.evaluation.predictions import predict_examples
from tfransfer.recipe import fits
from tfransfer.runs import run_folder, scoring
from tfransfer.runs.manifest import update_manifest
from tfransfer.runs.record import Record
from tfransfer.runs.report import keep_answers
from tfransfer.system.allocator import keep_freed_memory
from tfransfer.system.files import write_json
from tfransfer.tasks.task import CROSS_VALIDATED


def evaluate_run(
    run: Record, data: Any, predictions: bool, precision: float | None, progress: Progress, say: Say
) -> dict[str, Any]:
    """Evaluate a run's model; see `pipeline.evaluate` for arguments, result and errors."""
    keep_freed_memory()
    if precision is not None:
        abstention.require_precision(precision)
    if data is None or scoring.is_own_data(run, data):
        dataset = run.data or scoring.recorded_data(run, progress, say)
        scored = scoring.score_splits(run, run.model, dataset, progress)
        _keep_from_training(run, scored)
        if precision is not None:
            chosen = scoring.choose_abstention(run, scored, precision)
            for name, coverage in chosen.splits.items():
                scored[name][0]["abstention"] = coverage
            update_manifest(run.folder, abstention=chosen)
        try:
            write_json(run.folder / run_folder.METRICS, {name: metrics for name, (metrics, _) in scored.items()})
            keep_answers(run, scored)  # so that a later report has both from one evaluation
        except WriteError as error:  # return the metrics all the same: they took minutes to compute
            say(f"warning: the metrics are not saved: {error}")
    elif precision is not None:
        raise SettingError("precision needs the run's own validation split: do not pass other data.")
    else:
        dataset = scoring.known_data(run, data, progress, say)
        predicted = predict_examples(run.model, dataset, dataset.examples, run.image_size, progress=progress)
        scored = {"all": (scoring.score(run, predicted), predicted)}
    if predictions:
        scoring.write_predictions(run, scored)
    return {name: metrics for name, (metrics, _) in scored.items()}


def _keep_from_training(run: Record, scored: dict[str, Any]) -> None:
    """Take over what only training can compute: the head's cross-validated figure, and the user's own metrics."""
    recorded: Any = (run.manifest.measures or {}).get("metrics")
    own: list[str] = recorded if fits(tuple[str, ...], recorded) else []
    if (run.folder / run_folder.METRICS).is_file():
        for name, metrics in run.metrics.items():
            if name in scored:
                same = metrics.get("n") == scored[name][0].get("n")  # of the examples that the metrics are of
                kept = [CROSS_VALIDATED, *(own if same else ())]
                scored[name][0].update({key: metrics[key] for key in kept if key in metrics})
