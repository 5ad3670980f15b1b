"""Predict images or texts with a run, without its training data."""

from typing import Any

from tfransfer.data.inputs import is_single
from tfransfer.data.sources.paths import local
from tfransfer.data.sources.table import Columns
from tfransfer.data.text_inputs import names_file, read_texts, why_no_text
from tfransfer.evaluation.predictions import predict_pictures, predict_texts
from tfransfer.runs import scoring
from tfransfer.runs.record import Record
from tfransfer.tasks.prediction import Prediction


def predict_inputs_of(run: Record, pictures: Any, top: int, batch: int) -> Prediction | list[Prediction]:
    """Predict with a run's model; see `pipeline.predict` for arguments, result and errors."""
    reading = scoring.reading_of(run, top)
    if not run.modality.has_pixels:
        texts = read_texts(pictures, Columns(**run.manifest.data.origin.get("columns", {})))
        problems = [why_no_text(text) for text in texts]
        readable = [text for text, problem in zip(texts, problems, strict=True) if not problem]
        read = iter(predict_texts(run.model, reading, readable, batch) if readable else [])
        of_texts = [
            Prediction(text, "", 0.0, (), problem) if problem else next(read)
            for text, problem in zip(texts, problems, strict=True)
        ]
        return of_texts[0] if isinstance(pictures, str) and not names_file(pictures) else of_texts
    pictures = local(pictures)
    pictures = local(pictures)
    predictions = predict_pictures(run.model, reading, run.image_size, pictures, batch)
    return predictions[0] if is_single(pictures) else predictions
