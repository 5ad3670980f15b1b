"""Predict images or texts with a run, without its training data."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfransfer.data.inputs import is_single, read_inputs
from tfransfer.data.sources.table import Columns
from tfransfer.data.text_inputs import names_file, read_texts, why_no_text
from tfransfer.errors import DataError, RunError, SettingError
from tfransfer.evaluation.predictions import Input, Row, infer_with, rows
from tfransfer.runs import scoring
from tfransfer.runs.record import Record
from tfransfer.tasks.head import find_head
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import PROBABILITIES, find_task

# How many of the inputs that cannot be read a message names.
_NAMED = 10


def predict_inputs_of(run: Record, pictures: Any, top: int, batch: int) -> Prediction | list[Prediction]:
    """Predict with a run's model; see `pipeline.predict` for arguments, result and errors."""
    reading = scoring.reading_of(run, top)
    predictions = [reading.of_row(row) for row in rows(infer_with(run.model), inputs_of(run, pictures), batch)]
    return predictions[0] if _is_one(run, pictures) else predictions


def inputs_of(run: Record, given: Any) -> Iterator[Input]:
    """The pictures or texts in whatever a user gave, as a run's model takes them."""
    columns = Columns(**run.manifest.data.origin.get("columns", {}))
    if run.modality.has_pixels:
        for picture in read_inputs(given, run.image_size, columns):
            yield Input(picture.name, picture.pixels, picture.issue.detail if picture.issue else "")
    else:
        for text in read_texts(given, columns):
            yield Input(text, text, why_no_text(text))


def _is_one(run: Record, given: Any) -> bool:
    if run.modality.has_pixels:
        return is_single(given)
    return isinstance(given, str) and not names_file(given)


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
    found = list(rows(infer_with(run.model), inputs_of(run, pictures), batch))
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
