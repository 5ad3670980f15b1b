"""Predict images or texts with a run, without its training data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfransfer.data.inputs import files_at, is_single, read_inputs
from tfransfer.data.modality import IMAGE, MODALITIES, TEXT, Modality
from tfransfer.data.sources.table import Columns
from tfransfer.data.text_inputs import names_file, read_texts, why_no_text
from tfransfer.errors import DataError, RunError, SettingError
from tfransfer.evaluation.predictions import Infer, Input, OutputReading, Row, infer_with, rows
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
    """

    infer: Infer
    reading: OutputReading
    size: int = 0
    columns: Columns = field(default_factory=Columns)

    @property
    def modality(self) -> Modality:
        """The properties of the model's kind of input."""
        return MODALITIES[IMAGE if self.size else TEXT]

    def inputs(self, given: Any) -> Iterator[Input]:
        """The pictures or texts in whatever a user gave."""
        if self.size:
            for picture in read_inputs(given, self.size, self.columns):
                yield Input(picture.name, picture.pixels, picture.issue.detail if picture.issue else "")
        else:
            for text in read_texts(given, self.columns):
                yield Input(text, text, why_no_text(text))

    def is_one(self, given: Any) -> bool:
        """Whether this is a single picture or text."""
        return is_single(given) if self.size else isinstance(given, str) and not names_file(given)

    def rows(self, given: Any, batch: int = 32) -> Iterator[Row]:
        """The model's row for each input, in order."""
        return rows(self.infer, self.inputs(given), batch)

    def predictions(self, given: Any, batch: int = 32) -> Iterator[Prediction]:
        """The prediction for each input, in order; one with an error for what cannot be read."""
        return map(self.reading.of_row, self.rows(given, batch))

    def listed(self, words: Sequence[str]) -> list[Any]:
        """What a command line's words stand for: the files of pictures, in folders and tables too, or the texts."""
        if self.size:
            return [file for word in words for file in files_at(Path(word), self.columns)]
        given = [Path(word) if names_file(word) else word for word in words]
        return [one.value for one in self.inputs(given)]


def predictor_of(run: Record, top: int = 5) -> Predictor:
    """A run's model, ready to predict."""
    columns = Columns(**run.manifest.data.origin.get("columns", {}))
    reading = scoring.reading_of(run, top)
    return Predictor(infer_with(run.model), reading, run.image_size if run.modality.has_pixels else 0, columns)


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
