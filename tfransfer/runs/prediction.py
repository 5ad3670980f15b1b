"""Predicting with a run: pictures or texts, without the training data."""

from typing import Any

from tfransfer.data.inputs import is_single
from tfransfer.evaluation.predictions import name_pictures, name_texts
from tfransfer.runs import scoring
from tfransfer.runs.record import Record
from tfransfer.tasks.prediction import Prediction


def predict_inputs_of(run: Record, pictures: Any, top: int, batch: int) -> Prediction | list[Prediction]:
    """Predict with a run's model; see `pipeline.predict` for arguments, result and errors."""
    reading = scoring.reading_of(run, top)
    if not run.modality.has_pixels:
        texts = [pictures] if isinstance(pictures, str) else [str(text) for text in pictures]
        named = name_texts(run.model, reading, texts, batch)
        return named[0] if isinstance(pictures, str) else named
    said = name_pictures(run.model, reading, run.image_size, pictures, batch)
    return said[0] if is_single(pictures) else said
