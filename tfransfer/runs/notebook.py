"""Notebook views of a run: learning curves, confusion matrix, mistakes, and heat maps of single images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfransfer.data.inputs import is_single, read_inputs
from tfransfer.data.sources.paths import local
from tfransfer.display.html import Card, Gallery, picture_data, table
from tfransfer.display.numbers import percent, value_text
from tfransfer.display.progress import quiet, silent
from tfransfer.errors import DataError, SettingError
from tfransfer.evaluation import plots
from tfransfer.evaluation.attention import heat_maps
from tfransfer.evaluation.predictions import predict_inputs
from tfransfer.evaluation.report import drawing
from tfransfer.evaluation.report.content import Shown
from tfransfer.evaluation.report.figures import selected_row
from tfransfer.runs import scoring
from tfransfer.runs.record import Record
from tfransfer.runs.report import gather
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import find_task

_SIDE = 320


@dataclass(frozen=True)
class Explanation:
    """Where a model looked on an image.

    Attributes:
        picture: The model's input, uint8 (size, size, 3).
        heat: float32 (size, size) in [0, 1]; 1 where the evidence for the class is strongest.
        label: The class that is explained; in a regression, the measured quantity.
        prediction: The model's prediction.
        method: "Grad-CAM" or "occlusion".
    """

    picture: np.ndarray
    heat: np.ndarray
    label: str
    prediction: Prediction
    method: str

    @property
    def overlay(self) -> np.ndarray:
        """The heat map over the picture: uint8 (size, size, 3)."""
        return drawing.overlay(self.picture, self.heat)

    def _repr_html_(self) -> str:
        where = f"the evidence for {self.label} is mostly at the {drawing.brightest_part(self.heat)}"
        pair = (
            (picture_data(self.picture, _SIDE), "The image."),
            (picture_data(self.overlay, _SIDE), f"Heat map: {where}."),
        )
        card = Card(_top_texts(self.prediction), pair)
        return Gallery(f"Bright areas are evidence for {self.label} ({self.method}).", (card,))._repr_html_()

    def __repr__(self) -> str:
        part = drawing.brightest_part(self.heat)
        return f"Explanation({', '.join(_top_texts(self.prediction))}; {self.method} for {self.label}: {part})"


def _top_texts(prediction: Prediction) -> tuple[str, ...]:
    if prediction.value is not None:
        return (f"predicted {value_text(prediction.value)}",)
    return tuple(f"{name} {percent(share)}" for name, share in prediction.top[:3])


def explain(run: Record, picture: Any, label: str | None = None) -> Explanation:
    """Where a run's model looked on one image.

    Args:
        run: A run on images.
        picture: A path, a PIL image or an array in [0, 255].
        label: The class to explain; None takes the likeliest.

    Raises:
        SettingError: The run takes texts, or has no such class.
        DataError: `picture` is not a single image, or cannot be read.
    """
    if not run.modality.has_pixels:
        raise SettingError("explain shows where a model looked on an image, but this run takes texts.")
    if label is not None and label not in run.classes:
        raise SettingError(f"the run has no class {label!r}; it has {', '.join(run.classes)}.")
    picture = local(picture)
    if not is_single(picture):
        raise DataError("explain takes one image: a path, a PIL image or an array (height, width, 3).")
    read = next(read_inputs(picture, run.image_size))
    if read.pixels is None:
        raise DataError(f"{read.name} cannot be read: {read.issue.detail if read.issue else ''}")
    output = predict_inputs(run.model, read.pixels[np.newaxis])[0]
    chosen = run.classes.index(label) if label is not None else int(output.argmax())
    heat = heat_maps(run.model, read.pixels[np.newaxis], [chosen])
    prediction = scoring.reading_of(run).of(read.name, output)
    return Explanation(read.pixels, heat.maps[0], run.classes[chosen], prediction, heat.method)


def plot_history(run: Record) -> plots.Plot:
    """Learning curves of both phases: the loss and the headline metric."""
    rows = run.history
    keys = [key for key in ("loss", find_task(run.task).headline) if rows and f"val_{key}" in rows[0]]
    return plots.history(rows, keys, selected_row(run.manifest.to_dict(), rows))


def plot_confusion(run: Record, split: str = "test") -> plots.Plot:
    """The confusion matrix of a split.

    Raises:
        SettingError: The run's task has no confusion matrix, or the split was not scored.
    """
    scored = _scored(run, split)
    if "confusion_matrix" not in scored:
        raise SettingError(f"a {run.task} run has no confusion matrix; see run.metrics for its metrics.")
    return plots.confusion(np.asarray(scored["confusion_matrix"], int), run.classes)


def _scored(run: Record, split: str) -> dict[str, Any]:
    metrics = run.metrics
    if split not in metrics:
        raise SettingError(f"the run was not scored on {split!r}, only on {', '.join(metrics) or 'nothing'}.")
    of_split: dict[str, Any] = metrics[split]
    return of_split


def show_mistakes(run: Record, limit: int = 12) -> Gallery:
    """The worst mistakes, with images and heat maps, or texts, if the training data is available.

    Args:
        run: Any run.
        limit: Maximum number of mistakes.
    """
    content = gather(run, limit, quiet, silent)
    cards = tuple(_card(mistake) for mistake in content.shown)
    heading = f"The {len(cards)} worst mistakes on the {content.split} split."
    return Gallery(f"{heading} {content.missing}".strip(), cards)


def _card(shown: Shown) -> Card:
    mistake = shown.mistake
    probability = "" if mistake.probability is None else f" {percent(mistake.probability)}"
    caption = (f"predicted {mistake.predicted}{probability}", f"true {mistake.target}", shown.name)
    images: Sequence[tuple[str, str]] = ()
    if shown.pixels is not None:
        images = [(picture_data(shown.pixels, _SIDE), f"{shown.name}, labelled {mistake.target}.")]
        if shown.heat is not None:
            where = drawing.brightest_part(shown.heat)
            overlay = picture_data(drawing.overlay(shown.pixels, shown.heat), _SIDE)
            images = [*images, (overlay, f"Heat map: the evidence for {mistake.predicted} is mostly at the {where}.")]
    return Card(caption, tuple(images), shown.text or "")


def run_html(run: Record) -> str:
    """A run as HTML for notebooks: a row for each split."""
    what = find_task(run.task).in_words(run.classes)
    phase = run.manifest.kept.replace("_", "-")
    selected = f"; selected: the {phase} phase's model" if phase else ""
    title = f"{run.folder}: {run.manifest.plan.base}, {what}{selected}"
    return table(title, *find_task(run.task).split_table(run.metrics))
