"""Handing a run's model over: each file is compared with it, measured, and written down."""

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.data.sampling import evenly_by_class, spread_over
from tfransfer.display.html import table
from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.errors import ExportError, RunError, SettingError
from tfransfer.evaluation.predictions import predict_inputs
from tfransfer.exports.budget import NO_LIMITS, Budget, best
from tfransfer.exports.bundle import write_bundle
from tfransfer.exports.exporting import Export, Subject, export_model
from tfransfer.exports.formats import find_format, require_formats
from tfransfer.exports.held_out import HeldOut
from tfransfer.exports.model_card import model_card
from tfransfer.exports.rounding import Representative
from tfransfer.exports.table import export_rows
from tfransfer.runs import run_folder, scoring
from tfransfer.runs.manifest import read_manifest, update_manifest
from tfransfer.runs.record import Record
from tfransfer.system.files import whole, write_json
from tfransfer.tasks.task import SINGLE_LABEL

# How many held-out examples files are compared on, and how many bytes their pictures may take.
_COMPARED, _COMPARED_BYTES = 1000, 128_000_000
# How many of them are kept with the run, for a comparison where the data is not at hand.
_SAMPLES = 16
# How many training pictures the ranges of activations are read from.
_REPRESENTATIVE = 200


def hold_out(run: Record, dataset: Dataset, outputs: np.ndarray | None = None) -> HeldOut:
    """Examples of the validation split, in an order of no meaning.

    Args:
        run: Whose model is asked about them.
        dataset: Its data.
        outputs: What the model says of the whole split, where that is known.
    """
    validation = dataset.split("validation")
    each = 3 * run.image_size**2 or 1
    count = min(len(validation), _COMPARED, max(_SAMPLES, _COMPARED_BYTES // each))
    chosen = np.random.default_rng(0).permutation(spread_over(len(validation), count))
    examples = [validation[i] for i in chosen]
    given = flow.model_input(dataset, examples, run.image_size)
    said = predict_inputs(run.model, given) if outputs is None else outputs[chosen]
    return HeldOut(given, said, dataset.targets(examples))


def representative(run: Record, dataset: Dataset) -> Representative:
    """Training pictures, as many of each class as of any other."""
    train = dataset.split("train")
    chosen = evenly_by_class(dataset.targets(train).argmax(axis=1), _REPRESENTATIVE)
    return Representative(run.model, flow.model_input(dataset, [train[i] for i in chosen], run.image_size))


def keep_samples(folder: Path, held: HeldOut) -> None:
    """Save a few held-out examples with the run, for exports where its data is not at hand."""
    run_folder.write_samples(folder / run_folder.SAMPLES, held.given[:_SAMPLES])


def subject_of(
    run: Record, formats: Sequence[str], progress: Progress = quiet, say: Say = silent, held: HeldOut | None = None
) -> Subject:
    """What is exported: the model, and the examples that files of it are compared on.

    Args:
        run: The run. Nothing of it is changed.
        formats: To which it will be exported.
        progress: Shows how far it is, where the data is read again.
        say: Told where the data is not at hand.
        held: The examples, where they are known; None takes them from the data, else from the run's folder.

    Raises:
        ExportError: A format is calibrated on training pictures, and they are not at hand.
        RunError: Neither the data nor the kept samples are there.
    """
    calibrated = [name for name in formats if find_format(name).calibrated]
    dataset = _data_at_hand(run, progress, say, calibrated)
    if held is None:
        held = HeldOut.of(run.model, _samples(run)) if dataset is None else hold_out(run, dataset)
    pictures = None if dataset is None else cache(partial(representative, run, dataset))
    return Subject(run.model, run.classes, held, run.task, run.thresholds, pictures)


def _data_at_hand(run: Record, progress: Progress, say: Say, calibrated: Sequence[str]) -> Dataset | None:
    dataset, reason = scoring.data_at_hand(run, progress, say)
    if dataset is None and calibrated:
        raise ExportError(
            f"{', '.join(calibrated)}: activations are calibrated on training pictures, and the data of "
            f"{run.folder} is not at hand: {reason}"
        )
    if dataset is None:
        say("the data is not at hand: files are compared on a few kept examples, their accuracy is not measured")
    return dataset


def _samples(run: Record) -> np.ndarray:
    """The examples that were kept with a run."""
    try:
        with np.load(run.folder / run_folder.SAMPLES, allow_pickle=False) as archive:
            kept: np.ndarray = archive["pictures"]
            return kept
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{run.folder / run_folder.SAMPLES} is missing or damaged, so no export could be checked."
        ) from error


def export_run(
    run: Record,
    formats: Sequence[str],
    say: Say,
    limits: Budget = NO_LIMITS,
    progress: Progress = quiet,
    held: HeldOut | None = None,
) -> list[Export]:
    """Export a run's model, as `pipeline.export` says, and write to the run's folder what was measured.

    Args:
        run: The run. Nothing of it is changed; its manifest shows the new files, since it is read from the folder.
        formats: Names of formats.
        say: Told what is done.
        limits: What a file may cost.
        progress: Shows how far it is.
        held: As for `subject_of`.

    Raises:
        SettingError: The model cannot be had in such a format.
        RunError: What files are compared on is gone.
        ExportError: A file does not say what the model says, or exceeds a limit; it is not kept.
    """
    require_formats(formats, not run.modality.has_pixels)
    if not formats:
        return []
    subject = subject_of(run, formats, progress, say, held)
    made: list[Export] = []
    with run_folder.alone_in(run.folder):
        for name in dict.fromkeys(formats):  # one by one, so that one that fails does not take the others along
            say(f"export: writing, checking and measuring {name}")
            made.append(export_model(subject, name, run.folder, partial(_require_within, limits)))
            note_exports(run.folder, made[-1:])
    return made


def bundle_run(run: Record, formats: Sequence[str], say: Say, progress: Progress = quiet) -> Path:
    """Write a run's files, those that were exported or those in given formats, into one zip; see `exports.bundle`.

    Raises:
        ExportError: Nothing was exported, or a file does not load.
    """
    noted = run.manifest.exports
    wanted = list(formats) or [name for name in noted if name != "keras"]
    there = [name for name in wanted if name in noted and (run.folder / noted[name]["file"]).exists()]
    export_run(run, [name for name in wanted if name not in there], say, progress=progress)
    if not wanted:
        raise ExportError(f"nothing was exported from {run.folder} yet; name formats with --to.")
    files = [(name, run.folder / find_format(name).file) for name in wanted]
    measured = {name: run.manifest.exports[name] for name in wanted}
    place = run.folder / run_folder.BUNDLE
    say(f"bundle: {', '.join(wanted)}")
    card = model_card(run.manifest.to_dict(), run.metrics, measured)
    with run_folder.alone_in(run.folder):
        write_bundle(place, files, _samples(run), run.classes, run.task, card)
    return place


def note_exports(folder: Path, made: Sequence[Export]) -> None:
    """Write down what was exported to a run's folder, in the manifest and in `exports.json`."""
    noted = read_manifest(folder).exports | {one.format: one.to_dict() for one in made}
    update_manifest(folder, exports=noted)
    write_json(folder / run_folder.EXPORTS, noted)


def _require_within(limits: Budget, made: Export) -> None:
    excess = limits.excess(made)
    if excess:
        raise ExportError(f"{made.path.name} was not kept: {'; '.join(excess)}.")


@dataclass(frozen=True)
class Search:
    """What came of a search for the best file within a budget.

    Attributes:
        tried: Every file that could be made, with its run.
        kept: The best one, in its run's folder; None where none keeps to the limits.
        run: The run that it belongs to.
    """

    tried: tuple[tuple[Record, Export], ...]
    kept: Export | None = None
    run: Record | None = None

    def __repr__(self) -> str:
        kept = f"kept {self.kept.format} of {self.run.folder}" if self.kept and self.run else "none keeps to the limits"
        return f"Search({len(self.tried)} files tried; {kept})"

    def _repr_html_(self) -> str:
        task = self.tried[0][0].task if self.tried else SINGLE_LABEL
        made = [(run.folder, one.format, one.to_dict()) for run, one in self.tried]
        columns, rows = export_rows(task, made)
        return table(repr(self), columns, rows)


def export_within(
    runs: Sequence[Record], formats: Sequence[str], limits: Budget, say: Say, progress: Progress
) -> Search:
    """Try formats of runs that were trained for the same thing, and keep the best file that keeps to the limits.

    Raises:
        SettingError: The runs name other classes.
    """
    _require_alike(runs)
    made: list[tuple[Record, Export]] = []
    with tempfile.TemporaryDirectory() as place:
        for number, run in enumerate(runs):
            subject = subject_of(run, formats, progress, say)
            for name in formats:
                say(f"trying {name} of {run.folder}")
                try:
                    made.append((run, export_model(subject, name, Path(place) / str(number))))
                except ExportError as error:
                    say(f"warning: {error}")
        chosen = best([one for _, one in made], limits)
        if chosen is None:
            return Search(tuple(made))
        run = next(run for run, one in made if one is chosen)
        with run_folder.alone_in(run.folder):
            with whole(run.folder / chosen.path.name) as path:
                shutil.copyfile(chosen.path, path)
            kept = replace(chosen, path=run.folder / chosen.path.name)
            note_exports(run.folder, [kept])
    return Search(tuple(made), kept, run)


def _require_alike(runs: Sequence[Record]) -> None:
    for run in runs[1:]:
        if (run.classes, run.task) != (runs[0].classes, runs[0].task):
            raise SettingError(f"{run.folder} names other classes than {runs[0].folder}; files of them do not compete.")
