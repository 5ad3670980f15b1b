"""What a model says of a split: each example once, in order."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from tfransfer.data.flow import evaluation_flow, telling_lost_pictures
from tfransfer.data.index import Dataset, Example, labels_of
from tfransfer.data.inputs import read_inputs
from tfransfer.errors import SettingError
from tfransfer.progress import Progress, quiet

_COMPILED: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


@dataclass(frozen=True)
class Predictions:
    """A model's answers.

    Attributes:
        examples: What was asked, in order.
        labels: True labels, int64, shape (n,).
        probabilities: float32, shape (n, classes).
    """

    examples: tuple[Example, ...]
    labels: np.ndarray
    probabilities: np.ndarray


def predict_examples(
    model: Any,
    dataset: Dataset,
    examples: Sequence[Example],
    size: int,
    batch: int = 32,
    progress: Progress = quiet,
    title: str = "evaluating",
) -> Predictions:
    """Ask a model about examples, in inference mode, on uint8 pixels as an exported model gets them.

    Args:
        model: float32 pixels (batch, size, size, 3) to probabilities (batch, classes).
        dataset: Where the examples come from.
        examples: What to ask.
        size: Side of the pictures in pixels.
        batch: Pictures per call.
        progress: Shows how far it is.
        title: What the progress display calls this.
    """
    labels = labels_of(examples)
    flow = evaluation_flow(dataset, examples, np.zeros((len(examples), 1), np.float32), size, batch)
    ask = inference(model)
    answers = []
    with telling_lost_pictures(), progress(title, len(examples), "images") as advance:
        for pixels, _, _ in flow.batches:
            answers.append(ask(pixels).numpy())
            advance(len(pixels))
    return Predictions(tuple(examples), labels, np.concatenate(answers))


def inference(model: Any) -> Any:
    """A compiled function from pixels (any dtype, [0, 255]) to float32 probabilities, in inference mode.

    It is traced once for a model, whatever the batch, and always computes with the weights that the model has now.
    """
    if model not in _COMPILED:
        spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
        ask = tf.function(lambda pixels: tf.cast(model(pixels, training=False), tf.float32), input_signature=[spec])
        _COMPILED[model] = ask.get_concrete_function()  # which, unlike `ask`, does not keep the model alive
    compiled = _COMPILED[model]
    return lambda pixels: compiled(tf.cast(pixels, tf.float32))


def predict_pixels(model: Any, pixels: np.ndarray, batch: int = 32) -> np.ndarray:
    """Probabilities, float32 (n, classes), for pictures that are already of the model's size, (n, size, size, 3)."""
    ask = inference(model)
    return np.concatenate([ask(tf.constant(pixels[i : i + batch])).numpy() for i in range(0, len(pixels), batch)])


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        name: Path of the file, or its number for a picture in memory.
        label: The likeliest class; empty where the picture cannot be read.
        probability: Its probability, in [0, 1].
        top: The likeliest classes with their probabilities, best first.
        error: Why the picture cannot be read; empty where it can.
    """

    name: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    error: str = ""


def name_pictures(
    model: Any, classes: Sequence[str], size: int, pictures: Any, top: int = 5, batch: int = 32
) -> list[Prediction]:
    """Name what is on pictures; those that cannot be read come back with their error.

    Args:
        model: float32 pixels (batch, size, size, 3) to probabilities (batch, classes).
        classes: Class names in the order of the model's outputs.
        size: Side of the model's input in pixels.
        pictures: Whatever `data.inputs.read_inputs` takes.
        top: How many of the likeliest classes to give.
        batch: Pictures per call of the model; no more than these are in memory at once.

    Raises:
        SettingError: `top` is below 1.
    """
    if top < 1:
        raise SettingError(f"top must be 1 or more; it is {top}.")
    ask = inference(model)
    said: list[Prediction] = []
    for part in batched(read_inputs(pictures, size), batch):
        good = [p.pixels for p in part if p.pixels is not None]
        answers = iter(ask(tf.constant(np.stack(good))).numpy() if good else [])
        for picture in part:
            if picture.issue:
                said.append(Prediction(picture.name, "", 0.0, (), picture.issue.detail))
            else:
                said.append(_named(picture.name, next(answers), classes, top))
    return said


def _named(name: str, probabilities: np.ndarray, classes: Sequence[str], top: int) -> Prediction:
    best = np.argsort(-probabilities, kind="stable")[:top]
    ranked = tuple((classes[i], float(probabilities[i])) for i in best)
    return Prediction(name, ranked[0][0], ranked[0][1], ranked)


def batched(values: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` values (itertools.batched comes with Python 3.12)."""
    while part := list(itertools.islice(values, size)):
        yield part
