"""Export a run's model: write each file, compare it with the model, measure it, and record the result."""

import shutil
import tempfile
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
from tfransfer.system.files import read_arrays, whole, write_json
from tfransfer.system.interface import option
from tfransfer.system.plain_paths import is_plain
from tfransfer.system.signals import stoppable
from tfransfer.tasks.task import SINGLE_LABEL

# Number of held-out examples that files are compared on, and the bytes that their images may take.
_COMPARED, _COMPARED_BYTES = 1000, 128_000_000
# Number of samples saved with the run, to compare files when the data is not available.
_SAMPLES = 16
# Sixteen images of 1,500 pixels take 108 MB.
_LARGEST_SAMPLES = 1_000_000_000
# Number of training images that the ranges of activations are calibrated on.
_REPRESENTATIVE = 200


def hold_out(run: Record, dataset: Dataset, outputs: np.ndarray | None = None) -> HeldOut:
    """Examples of the validation split in random order, with the model's outputs.

    Args:
        run: The run.
        dataset: Its data.
        outputs: The model's outputs on the whole split, if they are known.
    """
    validation = dataset.split("validation")
    each = 3 * run.image_size**2 or 1
    count = min(len(validation), _COMPARED, max(_SAMPLES, _COMPARED_BYTES // each))
    chosen = np.random.default_rng(0).permutation(spread_over(len(validation), count))
    examples = [validation[i] for i in chosen]
    given = flow.model_input(dataset, examples, run.image_size)
    expected = predict_inputs(run.model, given) if outputs is None else outputs[chosen]
    return HeldOut(given, expected, dataset.targets(examples), "validation")


def representative(run: Record, dataset: Dataset) -> Representative:
    """Training images to calibrate activations on, the same number from each class."""
    train = dataset.split("train")
    chosen = evenly_by_class(dataset.targets(train).argmax(axis=1), _REPRESENTATIVE)
    return Representative(run.model, flow.model_input(dataset, [train[i] for i in chosen], run.image_size))


def keep_samples(folder: Path, held: HeldOut) -> None:
    """Save a few held-out examples with the run, for exports when its data is not available."""
    run_folder.write_samples(folder / run_folder.SAMPLES, held.given[:_SAMPLES])


def subject_of(
    run: Record, formats: Sequence[str], progress: Progress = quiet, say: Say = silent, held: HeldOut | None = None
) -> Subject:
    """The model to export, and the examples that its files are compared on.

    Args:
        run: The run, which is not changed.
        formats: Formats to export to.
        progress: Shows the progress if the data is read again.
        say: Called with a line if the data is not available.
        held: The examples, if they are known; None takes them from the data, else from the run's folder.

    Raises:
        ExportError: A format is calibrated on training images, which are not available.
        RunError: Neither the data nor the saved samples are available.
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
            f"{', '.join(calibrated)}: activations are calibrated on training images, but the data of "
            f"{run.folder} is not available: {reason}"
        )
    if dataset is None:
        say("the data is not available: files are compared on a few saved examples, their accuracy is not measured")
    return dataset


def _samples(run: Record) -> np.ndarray:
    """The examples that were saved with a run."""
    try:
        samples = read_arrays(run.folder / run_folder.SAMPLES, _LARGEST_SAMPLES)["pictures"]
        shape = (run.image_size, run.image_size, 3) if run.modality.has_pixels else ()
        if not len(samples) or samples.shape[1:] != shape or samples.dtype.kind != ("u" if shape else "U"):
            raise ValueError(f"its samples are {samples.dtype} of shape {samples.shape}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{run.folder / run_folder.SAMPLES} is missing or damaged, so exports cannot be checked: {error}."
        ) from error
    return samples


def export_run(
    run: Record,
    formats: Sequence[str],
    say: Say,
    limits: Budget = NO_LIMITS,
    progress: Progress = quiet,
    held: HeldOut | None = None,
) -> list[Export]:
    """Export a run's model as in `pipeline.export`, and record the measurements in the run's folder.

    Args:
        run: The run. The object is not changed; it rereads its manifest, which then lists the new files.
        formats: Names of formats.
        say: Called with a line on each step.
        limits: Limits on accuracy, size and latency.
        progress: Shows the progress.
        held: As in `subject_of`.

    Raises:
        SettingError: The model cannot be exported to one of the formats.
        RunError: The examples to compare files on are missing.
        ExportError: A file's outputs differ from the model's, or it exceeds a limit; it is discarded.
        Stopped: SIGINT or SIGTERM arrived; the formats that were done before are recorded.
    """
    require_formats(formats, not run.modality.has_pixels)
    if not formats:
        return []
    subject = subject_of(run, formats, progress, say, held)
    exports: list[Export] = []
    with stoppable(), run_folder.alone_in(run.folder):
        for name in dict.fromkeys(formats):  # recorded one by one, so that a failure does not lose the earlier ones
            say(f"export: writing, checking and measuring {name}")
            exports.append(export_model(subject, name, run.folder, partial(_require_within, limits)))
            note_exports(run.folder, exports[-1:])
    if "savedmodel" in formats and not is_plain(run.folder):
        say(
            f"warning: TensorFlow itself cannot load a SavedModel from {run.folder}, because it takes [, ], *, ? and "
            "\\ in a path for a pattern: move or copy it to another folder first"
        )
    return exports


def bundle_run(run: Record, formats: Sequence[str], say: Say, progress: Progress = quiet) -> Path:
    """Write a run's files in given formats, by default all exported ones, into one zip; see `exports.bundle`.

    Raises:
        ExportError: Nothing was exported, or a file does not load.
    """
    recorded = run.manifest.exports
    wanted = list(formats) or [name for name in recorded if name != "keras"]
    existing = [name for name in wanted if name in recorded and (run.folder / recorded[name]["file"]).exists()]
    export_run(run, [name for name in wanted if name not in existing], say, progress=progress)
    if not wanted:
        raise ExportError(f"nothing was exported from {run.folder} yet: give {option('formats')}.")
    files = [(name, run.folder / find_format(name).file) for name in wanted]
    measured = {name: run.manifest.exports[name] for name in wanted}
    path = run.folder / run_folder.BUNDLE
    say(f"bundle: {', '.join(wanted)}")
    card = model_card(run.manifest.to_dict(), run.metrics, measured)
    with stoppable(), run_folder.alone_in(run.folder):
        write_bundle(path, files, _samples(run), run.classes, run.task, card)
    return path


def note_exports(folder: Path, exports: Sequence[Export]) -> None:
    """Record exports in a run's manifest and in `exports.json`."""
    recorded = read_manifest(folder).exports | {export.format: export.to_dict() for export in exports}
    update_manifest(folder, exports=recorded)
    write_json(folder / run_folder.EXPORTS, recorded)


def _require_within(limits: Budget, export: Export) -> None:
    excess = limits.excess(export)
    if excess:
        raise ExportError(f"{export.path.name} was discarded: {'; '.join(excess)}.")


@dataclass(frozen=True)
class Search:
    """The result of a search for the best file within a budget.

    Attributes:
        tried: Every exported file, with its run.
        kept: The best file, in its run's folder; None if none is within the limits.
        run: The run that it belongs to.
    """

    tried: tuple[tuple[Record, Export], ...]
    kept: Export | None = None
    run: Record | None = None

    def __repr__(self) -> str:
        text = f"best: {self.kept.format} of {self.run.folder}" if self.kept and self.run else "none within the limits"
        return f"Search({len(self.tried)} files tried; {text})"

    def _repr_html_(self) -> str:
        task = self.tried[0][0].task if self.tried else SINGLE_LABEL
        exports = [(run.folder, export.format, export.to_dict()) for run, export in self.tried]
        columns, rows = export_rows(task, exports)
        return table(repr(self), columns, rows)


def export_within(
    runs: Sequence[Record], formats: Sequence[str], limits: Budget, say: Say, progress: Progress
) -> Search:
    """Try formats of runs with the same task and classes, and save the best file within the limits.

    Raises:
        SettingError: The runs have different tasks or classes.
    """
    _require_alike(runs)
    tried: list[tuple[Record, Export]] = []
    with stoppable(), tempfile.TemporaryDirectory() as folder:
        for number, run in enumerate(runs):
            subject = subject_of(run, formats, progress, say)
            for name in formats:
                say(f"trying {name} of {run.folder}")
                try:
                    tried.append((run, export_model(subject, name, Path(folder) / str(number))))
                except ExportError as error:
                    say(f"warning: {error}")
        chosen = best([export for _, export in tried], limits)
        if chosen is None:
            return Search(tuple(tried))
        run = next(run for run, export in tried if export is chosen)
        with run_folder.alone_in(run.folder):
            with whole(run.folder / chosen.path.name) as path:
                shutil.copyfile(chosen.path, path)
            saved = replace(chosen, path=run.folder / chosen.path.name)
            note_exports(run.folder, [saved])
    return Search(tuple(tried), saved, run)


def _require_alike(runs: Sequence[Record]) -> None:
    for run in runs[1:]:
        if (run.classes, run.task) != (runs[0].classes, runs[0].task):
            raise SettingError(f"{run.folder} and {runs[0].folder} differ in task or classes: search them separately.")
