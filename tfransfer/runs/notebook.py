"""What a notebook asks of a run: its curves, its confusions, its mistakes, and where it looked on a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfransfer.data.inputs import is_single, read_inputs
from tfransfer.display.html import Card, Gallery, picture_data, table
from tfransfer.display.numbers import percent, value_text
from tfransfer.display.progress import quiet, silent
from tfransfer.errors import DataError, SettingError
from tfransfer.evaluation import plots
from tfransfer.evaluation.attention import heat_maps
from tfransfer.evaluation.predictions import predict_inputs
from tfransfer.evaluation.report import drawing
from tfransfer.evaluation.report.content import Shown
from tfransfer.evaluation.report.figures import kept_row
from tfransfer.runs import scoring
from tfransfer.runs.record import Record
from tfransfer.runs.report import gather
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import find_task

_SIDE = 320


@dataclass(frozen=True)
class Explanation:
    """Where a model looked on a picture.

    Attributes:
        picture: What the model saw: uint8 (size, size, 3).
        heat: float32 (size, size) in [0, 1]: what spoke for the class most is 1.
        label: The class that is explained; of a regression, what is measured.
        prediction: What the model says of the picture.
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
        where = f"what spoke for {self.label} lies at the {drawing.brightest_part(self.heat)}"
        pair = (
            (picture_data(self.picture, _SIDE), "The picture."),
            (picture_data(self.overlay, _SIDE), f"Heat map: {where}."),
        )
        card = Card(_said(self.prediction), pair)
        return Gallery(f"What spoke for {self.label} is bright ({self.method}).", (card,))._repr_html_()

    def __repr__(self) -> str:
        part = drawing.brightest_part(self.heat)
        return f"Explanation({', '.join(_said(self.prediction))}; {self.method} for {self.label}: {part})"


def _said(prediction: Prediction) -> tuple[str, ...]:
    if prediction.value is not None:
        return (f"predicted {value_text(prediction.value)}",)
    return tuple(f"{name} {percent(share)}" for name, share in prediction.top[:3])


def explain(run: Record, picture: Any, label: str | None = None) -> Explanation:
    """Where a run's model looked on one picture.

    Args:
        run: Of a task on pictures.
        picture: A path, a PIL image or an array in [0, 255].
        label: The class to explain; None takes the likeliest.

    Raises:
        SettingError: The run takes texts, or has no such class.
        DataError: It is not one picture, or one that cannot be read.
    """
    if not run.modality.has_pixels:
        raise SettingError("explain shows where a model looked on a picture; this run takes texts.")
    if label is not None and label not in run.classes:
        raise SettingError(f"the run has no class {label!r}; it has {', '.join(run.classes)}.")
    if not is_single(picture):
        raise DataError("explain takes one picture: a path, a PIL image or an array (height, width, 3).")
    read = next(read_inputs(picture, run.image_size))
    if read.pixels is None:
        raise DataError(f"{read.name} cannot be read: {read.issue.detail if read.issue else ''}")
    output = predict_inputs(run.model, read.pixels[np.newaxis])[0]
    chosen = run.classes.index(label) if label is not None else int(output.argmax())
    looked = heat_maps(run.model, read.pixels[np.newaxis], [chosen])
    said = scoring.reading_of(run).of(read.name, output)
    return Explanation(read.pixels, looked.maps[0], run.classes[chosen], said, looked.method)


def plot_history(run: Record) -> plots.Plot:
    """Learning curves of both phases: the loss and the metric that decides."""
    rows = run.history
    keys = [key for key in ("loss", find_task(run.task).headline) if rows and f"val_{key}" in rows[0]]
    return plots.history(rows, keys, kept_row(run.manifest.to_dict(), rows))


def plot_confusion(run: Record, split: str = "test") -> plots.Plot:
    """Which class was taken for which.

    Raises:
        SettingError: The run's task has no confusion matrix, or the split was not scored.
    """
    scored = _scored(run, split)
    if "confusion_matrix" not in scored:
        raise SettingError(f"a {run.task} run has no confusion matrix; run.metrics has what there is.")
    return plots.confusion(np.asarray(scored["confusion_matrix"], int), run.classes)


def _scored(run: Record, split: str) -> dict[str, Any]:
    metrics = run.metrics
    if split not in metrics:
        raise SettingError(f"the run was not scored on {split!r}; it was on {', '.join(metrics) or 'nothing'}.")
    found: dict[str, Any] = metrics[split]
    return found


def show_mistakes(run: Record, limit: int = 12) -> Gallery:
    """What the model got most wrong, with photos and heat maps, or texts, where the training data is at hand.

    Args:
        run: Any.
        limit: How many to show.
    """
    gathered = gather(run, limit, quiet, silent)
    cards = tuple(_card(one) for one in gathered.shown)
    heading = f"{len(cards)} of the {gathered.split} examples that it got most wrong."
    return Gallery(f"{heading} {gathered.missing}".strip(), cards)


def _card(one: Shown) -> Card:
    sure = "" if one.mistake.probability is None else f" {percent(one.mistake.probability)}"
    caption = (f"said {one.mistake.said}{sure}", f"is {one.mistake.right}", one.name)
    images: Sequence[tuple[str, str]] = ()
    if one.pixels is not None:
        images = [(picture_data(one.pixels, _SIDE), f"{one.name}, which is {one.mistake.right}.")]
        if one.heat is not None:
            where = drawing.brightest_part(one.heat)
            over = picture_data(drawing.overlay(one.pixels, one.heat), _SIDE)
            images = [*images, (over, f"Heat map: what spoke for {one.mistake.said} lies at the {where}.")]
    return Card(caption, tuple(images), one.text or "")


def run_html(run: Record) -> str:
    """A run as a notebook shows it: a row for each split."""
    what = find_task(run.task).in_words(run.classes)
    kept = run.manifest.kept.replace("_", "-")
    title = f"{run.folder}: {run.manifest.plan.base}, {what}" + (f"; kept: the {kept} phase's model" if kept else "")
    return table(title, *find_task(run.task).split_table(run.metrics))
