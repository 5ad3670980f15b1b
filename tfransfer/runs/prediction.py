"""Predict images or texts with a run, without its training data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.data.inputs import files_at, is_single, read_inputs
from tfransfer.data.modality import IMAGE, MODALITIES, TEXT, Modality
from tfransfer.data.sources.paths import local
from tfransfer.data.sources.table import Columns
from tfransfer.data.text_inputs import names_file, read_texts, why_no_text
from tfransfer.errors import DataError, DataNotFoundError, ExportError, RunError, SettingError, did_you_mean
from tfransfer.evaluation.predictions import Infer, Input, OutputReading, Row, infer_with, rows
from tfransfer.exports.loading import LoadedFile, load_file
from tfransfer.runs import scoring
from tfransfer.runs.record import Record
from tfransfer.tasks.head import find_head
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import PROBABILITIES, find_task

# How many of the inputs that cannot be read a message names.
_NAMED = 10


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to predict what a user gives.

    Attributes:
        infer: Runs the model.
        reading: Turns its outputs into predictions.
        size: Side of its input in pixels; 0 for texts.
        columns: The columns of its training data.
        note: What the user should know of its predictions; empty if there is nothing.
    """

    infer: Infer
    reading: OutputReading
    size: int = 0
    columns: Columns = field(default_factory=Columns)
    note: str = ""

    @property
    def modality(self) -> Modality:
        """The properties of the model's kind of input."""
        return MODALITIES[IMAGE if self.size else TEXT]

    def inputs(self, given: Any) -> Iterator[Input]:
        """The pictures or texts in whatever a user gave."""
        if self.size:
            for picture in read_inputs(local(given), self.size, self.columns):
                yield Input(picture.name, picture.pixels, picture.issue.detail if picture.issue else "")
        else:
            for text in read_texts(given, self.columns):
                yield Input(text, text, why_no_text(text))

    def is_one(self, given: Any) -> bool:
        """Whether this is a single picture or text."""
        return is_single(local(given)) if self.size else isinstance(given, str) and not names_file(given)

    def rows(self, given: Any, batch: int = 32) -> Iterator[Row]:
        """The model's row for each input, in order."""
        return rows(self.infer, self.inputs(given), batch)

    def predictions(self, given: Any, batch: int = 32) -> Iterator[Prediction]:
        """The prediction for each input, in order; one with an error for what cannot be read."""
        return map(self.reading.of_row, self.rows(given, batch))

    def listed(self, words: Sequence[str]) -> list[Any]:
        """What a command line's words stand for: the files of pictures, in folders and tables too, or the texts."""
        if self.size:
            return [file for word in words for file in files_at(Path(local(word)), self.columns)]
        given = [Path(word) if names_file(word) else word for word in words]
        return [one.value for one in self.inputs(given)]


def predictor_of(run: Record, top: int = 5, file: str | None = None, trust: bool = False) -> Predictor:
    """A run's model, or one of its exported files, ready to predict.

    Args:
        run: The run.
        top: Number of likeliest classes to return.
        file: Name of a file in the run's folder, or a path; None takes the model.
        trust: As in `exports.loading.load_file`.

    Raises:
        DataNotFoundError: There is no such file.
        RunError: The file is not of this run.
        ExportError: The file cannot be loaded.
    """
    columns = Columns(**run.manifest.data.origin.get("columns", {}))
    reading = scoring.reading_of(run, top)
    size = run.image_size if run.modality.has_pixels else 0
    if file is None:
        return Predictor(infer_with(run.model), reading, size, columns)
    path = _path_of(run, file)
    loaded = load_file(path, trust or run.trust)
    _require_own(run, path, loaded)
    return Predictor(loaded.infer, reading, _size_of(loaded), columns)


def predictor_of_file(path: Path, top: int = 5) -> Predictor:
    """A LiteRT file alone, without its run, ready to predict: with the labels that are packed in.

    Raises:
        DataNotFoundError: It does not exist.
        ExportError: It cannot be loaded, or does not say what its outputs are.
    """
    loaded = load_file(path)
    if loaded.labels is None or loaded.task is None:
        raise ExportError(
            f"{path} does not say what its outputs are, as a .tflite file does: give the run's folder, and this file "
            "with --file."
        )
    note = "the file has no thresholds: a class applies from 0.5 on; with its run and --file, the run's are used"
    reading = OutputReading(loaded.task, loaded.labels, top=top)
    return Predictor(loaded.infer, reading, _size_of(loaded), note=note if loaded.task.several else "")


def _path_of(run: Record, file: str) -> Path:
    inside = run.folder / file
    path = inside if inside.exists() else Path(file)
    if not path.exists():
        known = sorted(e["file"] for e in run.manifest.exports.values() if (run.folder / e["file"]).exists())
        raise DataNotFoundError(
            f"{file} is neither a path nor in {run.folder}, whose files are {', '.join(known)}."
            f"{did_you_mean(file, known)}"
        )
    return path


def _size_of(loaded: LoadedFile) -> int:
    """Side of a file's input in pixels; 0 for texts."""
    return int(loaded.signature.input.shape[1] or 0) if loaded.signature.input.is_pixels else 0


def _require_own(run: Record, path: Path, loaded: LoadedFile) -> None:
    """Check that a file is of this run, as far as it says."""
    if bool(_size_of(loaded)) != run.modality.has_pixels or loaded.signature.output.shape[-1] != len(run.classes):
        raise RunError(f"{path} is not of {run.folder}: its input or output is another.")
    if loaded.labels is None and path.absolute().parent != run.folder.absolute():
        raise RunError(f"{path} has no labels, so whether it is of {run.folder} is not known: copy it to that folder.")
    if loaded.labels is not None and loaded.labels != run.classes:
        raise RunError(
            f"{path} is not of {run.folder}: its labels are {', '.join(loaded.labels[:5])}, those of the run are "
            f"{', '.join(run.classes[:5])}."
        )


def predict_inputs_of(run: Record, pictures: Any, top: int, batch: int) -> Prediction | list[Prediction]:
    """Predict with a run's model; see `pipeline.predict` for arguments, result and errors."""
    predictor = predictor_of(run, top)
    predictions = list(predictor.predictions(pictures, batch))
    return predictions[0] if predictor.is_one(pictures) else predictions


def embed(run: Record, pictures: Any, batch: int) -> np.ndarray:
    """The head's input for pictures or texts; see `pipeline.embed`."""
    head = find_head(run.model)
    if head is None or len(head.features.shape) != 2:
        raise RunError(f"the model of {run.folder} has no head on pooled features, so it has no features to give.")
    features = [row.features for row in _readable(run, pictures, batch)]
    return _stacked(features, int(head.features.shape[-1]))


def predict_proba(run: Record, pictures: Any, batch: int) -> np.ndarray:
    """Probabilities of pictures or texts; see `pipeline.predict_proba`."""
    task = find_task(run.task)
    if task.output != PROBABILITIES:
        raise SettingError(
            f"predict_proba gives the probabilities of classes, but this run predicts {task.in_words(run.classes)}: "
            "predict gives it, as the `value` of each prediction."
        )
    return _stacked([row.output for row in _readable(run, pictures, batch)], len(run.classes))


def _readable(run: Record, pictures: Any, batch: int) -> list[Row]:
    """A row for each input.

    Raises:
        DataError: One cannot be read: a row that is left out, or that is not a number, would be taken for a result.
    """
    found = list(predictor_of(run).rows(pictures, batch))
    failed = [row for row in found if row.error]
    if failed:
        named = "; ".join(f"{row.name[:200]}: {row.error}" for row in failed[:_NAMED])
        more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise DataError(
            f"{len(failed)} of {len(found)} {run.modality.item}s cannot be read: {named}{more}. An array has no place "
            "for an error: leave them out, or call predict, which returns one for each."
        )
    return found


def _stacked(values: list[Any], width: int) -> np.ndarray:
    return np.stack(values).astype(np.float32) if values else np.zeros((0, width), np.float32)
