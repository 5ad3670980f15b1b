"""The end of a run: the kept model is calibrated, evaluated and saved."""

from dataclasses import replace

from tfransfer.data.dataset import Dataset
from tfransfer.display.progress import Progress, Say
from tfransfer.evaluation import calibration
from tfransfer.evaluation.predictions import Predictions
from tfransfer.exports import fresh
from tfransfer.exports.exporting import Subject, export_model
from tfransfer.runs import handover, run_folder, scoring
from tfransfer.runs.record import Record
from tfransfer.runs.report import keep_answers
from tfransfer.system import trust
from tfransfer.system.files import file_hash, write_json
from tfransfer.tasks.task import find_task
from tfransfer.training.session import Kept, Session

# A `.keras` file is compared on this many examples: it is what the others are made from.
_COMPARED = 64


def finish_run(run: Record, session: Session, kept: Kept, progress: Progress, say: Say) -> None:
    """Calibrate, evaluate and save the kept model; the last thing that is written says that the run is finished."""
    fresh.prepare()
    run_folder.write_table(run.folder / run_folder.HISTORY, kept.history_rows())
    run.manifest |= {"phases": kept.to_dict(), "kept": kept.kept}
    validation = _calibrate(run, session.dataset, session.recipe.calibrate, progress, say)
    scored = scoring.score_splits(run, run.model, session.dataset, progress, {"validation": validation})
    write_json(run.folder / run_folder.METRICS, {name: score_of for name, (score_of, _) in scored.items()})
    keep_answers(run, scored)
    handover.keep_samples(run, handover.hold_out(run, session.dataset, validation.outputs))
    few = replace(run.held_out.first(_COMPARED), targets=None)  # accuracy on so few would only mislead
    subject = Subject(run.model, run.classes, few, run.task)
    handover.note_exports(run, [export_model(subject, "keras", run.folder)])
    run.manifest["model_hash"] = file_hash(run.folder / run_folder.MODEL)
    trust.remember(run.folder / run_folder.MODEL, run.manifest["model_hash"])
    del run.manifest["progress"]
    run.write_manifest()
    (run.folder / run_folder.STATE).unlink(missing_ok=True)


def _calibrate(run: Record, dataset: Dataset, wanted: bool, progress: Progress, say: Say) -> Predictions:
    """Put a temperature that is fitted on validation into the model; what it then says of the validation split."""
    task = find_task(run.task)
    said = scoring.predict_split(run, run.model, dataset, "validation", progress)
    temperature = calibration.fit_temperature(task, said.targets, said.outputs) if wanted else 1.0
    run.manifest["temperature"] = temperature
    if temperature == 1:
        return said
    calibration.divide_logits(run.model, temperature)
    outputs = calibration.tempered(task, said.outputs, temperature)
    before, after = (calibration.log_loss(task, said.targets, values) for values in (said.outputs, outputs))
    say(f"calibrated: temperature {temperature:g}; log loss on validation {before:.3f}, now {after:.3f}")
    return replace(said, outputs=outputs)
