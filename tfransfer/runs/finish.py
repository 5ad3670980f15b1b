"""Finish a run: calibrate, evaluate and save the selected model."""

from dataclasses import replace

from tfransfer.data.dataset import Dataset
from tfransfer.display.progress import Progress, Say
from tfransfer.evaluation import calibration
from tfransfer.evaluation.predictions import Infer, Predictions
from tfransfer.exports import fresh
from tfransfer.exports.exporting import Subject, export_model
from tfransfer.exports.held_out import HeldOut
from tfransfer.runs import handover, run_folder, scoring
from tfransfer.runs.manifest import update_manifest
from tfransfer.runs.own_parts import own_figures
from tfransfer.runs.record import Record
from tfransfer.runs.report import keep_answers
from tfransfer.runs.split_model import split_inference
from tfransfer.system import trust
from tfransfer.system.files import file_hash, write_json
from tfransfer.system.signals import stop_if_requested
from tfransfer.tasks.task import CROSS_VALIDATED, find_task
from tfransfer.training.phases import Selected
from tfransfer.training.session import Session

# The `.keras` file is compared on this many examples only: all other files are converted from the same model.
_COMPARED = 64


def finish_run(run: Record, session: Session, selected: Selected, progress: Progress, say: Say) -> HeldOut:
    """Calibrate, evaluate and save the selected model; the last write marks the run as finished.

    Returns:
        Held-out examples that exported files are compared on.
    """
    fresh.prepare()
    run_folder.write_table(run.folder / run_folder.HISTORY, selected.history_rows())
    infer = split_inference(session, selected.phase, say)
    validation, temperature = _calibrate(run, session.dataset, session.recipe.calibrate, progress, say, infer)
    thresholds = scoring.thresholds_of(run.task, validation)
    phases = selected.to_dict()
    update_manifest(run.folder, phases=phases, kept=selected.phase, temperature=temperature, thresholds=thresholds)
    scored = scoring.score_splits(run, run.model, session.dataset, progress, {"validation": validation}, infer)
    metrics = {name: score_of | own_figures(session.metrics, of_split) for name, (score_of, of_split) in scored.items()}
    if session.cross_validated:
        metrics[max(metrics, key=("validation", "test").index)][CROSS_VALIDATED] = session.cross_validated
    write_json(run.folder / run_folder.METRICS, metrics)
    keep_answers(run, scored)
    held = handover.hold_out(run, session.dataset, validation.outputs)
    handover.keep_samples(run.folder, held)
    stop_if_requested()
    few = replace(held.first(_COMPARED), targets=None)  # accuracy on so few examples would mislead
    subject = Subject(run.model, run.classes, few, run.task)
    handover.note_exports(run.folder, [export_model(subject, "keras", run.folder)])
    model_hash = file_hash(run.folder / run_folder.MODEL)
    trust.remember(run.folder / run_folder.MODEL, model_hash)
    update_manifest(run.folder, model_hash=model_hash, progress=None)
    (run.folder / run_folder.STATE).unlink(missing_ok=True)
    return held


def _calibrate(
    run: Record, dataset: Dataset, wanted: bool, progress: Progress, say: Say, infer: Infer | None
) -> tuple[Predictions, float]:
    """Fit a temperature on validation and apply it to the model; return the new predictions and the temperature."""
    task = find_task(run.task)
    predicted = scoring.predict_split(run, run.model, dataset, "validation", progress, infer)
    temperature = calibration.fit_temperature(task, predicted.targets, predicted.outputs) if wanted else 1.0
    if temperature == 1:
        return predicted, temperature
    calibration.divide_logits(run.model, temperature)
    outputs = calibration.tempered(task, predicted.outputs, temperature)
    before, after = (calibration.log_loss(task, predicted.targets, values) for values in (predicted.outputs, outputs))
    say(f"calibrated: temperature {temperature:g}; log loss on validation {before:.3f}, now {after:.3f}")
    return replace(predicted, outputs=outputs), temperature
