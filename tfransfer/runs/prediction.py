"""Predict images or texts with a run, without its training data."""

from typing import Any

from tfransfer.data.inputs import is_single
from tfransfer.evaluation.predictions import predict_pictures, predict_texts
from tfransfer.runs import scoring
from tfransfer.runs.record import Record
from tfransfer.tasks.prediction import Prediction


def predict_inputs_of(run: Record, pictures: Any, top: int, batch: int) -> Prediction | list[Prediction]:
    """Predict with a run's model; see `pipeline.predict` for arguments, result and errors."""
    reading = scoring.reading_of(run, top)
    if not run.modality.has_pixels:
        texts = [pictures] if isinstance(pictures, str) else [str(text) for text in pictures]
        of_texts = predict_texts(run.model, reading, texts, batch)
        return of_texts[0] if isinstance(pictures, str) else of_texts
    predictions = predict_pictures(run.model, reading, run.image_size, pictures, batch)
    return predictions[0] if is_single(pictures) else predictions
