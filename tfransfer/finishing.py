"""The end of a run: the kept model is evaluated, saved and exported."""

from collections.abc import Sequence

import numpy as np

from tfransfer import reporting, run_folder, scoring, trust
from tfransfer.data import flow
from tfransfer.data.index import TEXT, Dataset, Example
from tfransfer.errors import RunError
from tfransfer.exports.exporting import Export, export_model
from tfransfer.exports.formats import require_formats
from tfransfer.files import file_hash, write_json
from tfransfer.progress import Progress, Say
from tfransfer.runs import Run
from tfransfer.training.session import Kept, Session

_SAMPLES, _COMPARED = 16, 64


def finish_run(run: Run, session: Session, kept: Kept, progress: Progress) -> None:
    """Evaluate the kept model and save it; the last thing that is written says that the run is finished."""
    run_folder.write_table(run.folder / run_folder.HISTORY, kept.history_rows())
    run.manifest |= {"phases": kept.to_dict(), "kept": kept.kept}
    model = run.model
    scored = scoring.score_splits(run, model, session.dataset, progress)
    write_json(run.folder / run_folder.METRICS, {name: score_of for name, (score_of, _) in scored.items()})
    reporting.keep_answers(run, scored)
    validation = session.dataset.split("validation")
    pictures = _pictures(session.dataset, validation, session.plan.image_size)
    run_folder.write_samples(run.folder / run_folder.SAMPLES, pictures[:_SAMPLES])
    made = export_model(model, run.classes, pictures, ["keras"], run.folder, run.task)
    run.manifest["exports"] = {e.format: e.to_dict() for e in made}
    run.manifest["model_hash"] = file_hash(run.folder / run_folder.MODEL)
    trust.remember(run.folder / run_folder.MODEL, run.manifest["model_hash"])
    del run.manifest["progress"]
    run.write_manifest()
    (run.folder / run_folder.STATE).unlink(missing_ok=True)


def _pictures(dataset: Dataset, examples: Sequence[Example], size: int) -> np.ndarray:
    """Some held-out pictures, spread over the split, uint8 (n, size, size, 3); or texts, (n,)."""
    chosen = [examples[i] for i in np.unique(np.linspace(0, len(examples) - 1, _COMPARED).astype(int))]
    order = np.random.default_rng(0).permutation(len(chosen))
    ordered = [chosen[i] for i in order]
    if dataset.kind == TEXT:
        return np.array([example.text for example in ordered])
    made = flow.evaluation_flow(dataset, ordered, np.zeros((len(ordered), 1), np.float32), size, len(ordered))
    return next(iter(made.batches))[0].numpy()


def export_run(run: Run, formats: Sequence[str], say: Say) -> list[Export]:
    """Export a run's model, as `pipeline.export` says.

    Raises:
        SettingError: The model cannot be had in such a format.
        RunError: The pictures that files are compared on are gone.
        ExportError: A file does not say what the model says; it is not kept.
    """
    require_formats(formats, run.kind == TEXT)
    if not formats:
        return []
    try:
        with np.load(run.folder / run_folder.SAMPLES, allow_pickle=False) as archive:
            pictures = archive["pictures"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{run.folder / run_folder.SAMPLES} is missing or damaged, so no export could be checked."
        ) from error
    made: list[Export] = []
    with run_folder.alone_in(run.folder):
        for name in dict.fromkeys(formats):  # one by one, so that one that fails does not take the others along
            say(f"export: writing and checking {name}")
            made += export_model(run.model, run.classes, pictures, [name], run.folder, run.task)
            run.manifest.setdefault("exports", {})[name] = made[-1].to_dict()
            run.write_manifest()
    return made
