"""Predictions of a model: a split's examples, each once and in order, or pictures and texts from anywhere."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from tfransfer.base.preprocessing import reads_text
from tfransfer.data.dataset import Dataset
from tfransfer.data.flow import as_model_input, evaluation_flow, telling_lost_pictures
from tfransfer.data.index import Example
from tfransfer.data.inputs import read_inputs
from tfransfer.display.progress import Progress, quiet
from tfransfer.errors import SettingError
from tfransfer.tasks.head import find_head
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import Task

_COMPILED: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


@dataclass(frozen=True)
class Predictions:
    """A model's answers.

    Attributes:
        examples: What was asked, in order.
        targets: What was right, float32, shape (n, classes).
        outputs: Probabilities or values, float32, shape (n, classes).
        features: What the head reads of some of the examples, float32, shape (k, width); None where none were kept.
        positions: Which examples these are, int64, shape (k,).
    """

    examples: tuple[Example, ...]
    targets: np.ndarray
    outputs: np.ndarray
    features: np.ndarray | None = None
    positions: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def predict_examples(
    model: Any,
    dataset: Dataset,
    examples: Sequence[Example],
    size: int,
    batch: int = 32,
    progress: Progress = quiet,
    title: str = "evaluating",
    keep: np.ndarray | None = None,
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
        keep: Positions of examples whose features are wanted, too, where the model has a head of this project's.
    """
    flow = evaluation_flow(dataset, examples, np.zeros((len(examples), 1), np.float32), size, batch)
    ask, wanted = _compiled(model), np.zeros(0, np.int64) if keep is None else keep
    answers, features, done = [], [], 0
    with telling_lost_pictures(), progress(title, len(examples), dataset.modality.unit) as advance:
        for pixels, _, _ in flow.batches:
            *kept, said = ask(as_model_input(pixels))
            inside = (wanted >= done) & (wanted < done + len(pixels))
            if kept and inside.any():
                features.append(kept[0].numpy()[wanted[inside] - done])
            answers.append(said.numpy())
            done += len(pixels)
            advance(len(pixels))
    found = Predictions(tuple(examples), dataset.targets(examples), np.concatenate(answers))
    return replace(found, features=np.concatenate(features), positions=wanted) if features else found


def inference(model: Any) -> Any:
    """A compiled function from uint8 or float32 pixels in [0, 255], or strings, to float32 outputs, in inference mode.

    It is traced once for a model, whatever the batch, and always computes with the weights that the model has now.
    """
    compiled = _compiled(model)
    return lambda given: compiled(as_model_input(tf.convert_to_tensor(given)))[-1]


def _compiled(model: Any) -> Any:
    """From a model's input to a list: the features that its head reads, where it has one, and its outputs."""
    if model not in _COMPILED:
        dtype = tf.string if reads_text(model) else tf.float32
        spec = tf.TensorSpec((None, *model.input_shape[1:]), dtype)
        traced = _with_features(model)
        plain = lambda given: [tf.cast(v, tf.float32) for v in tf.nest.flatten(traced(given, training=False))]  # noqa: E731
        ask = tf.function(plain, input_signature=[spec])
        _COMPILED[model] = ask.get_concrete_function()  # which, unlike `ask`, does not keep the model alive
    return _COMPILED[model]


def _with_features(model: Any) -> Any:
    """The model that gives what the head reads beside its output; the model itself where it has no such head."""
    head = find_head(model)
    if head is None or len(head.features.shape) != 2:
        return model
    return keras.Model(model.inputs[0], [head.features, model.outputs[0]])


def predict_inputs(model: Any, given: np.ndarray, batch: int = 32) -> np.ndarray:
    """A model's output, float32 (n, classes), for texts (n,), or pictures of the model's size (n, size, size, 3)."""
    ask = inference(model)
    return np.concatenate([ask(tf.constant(given[i : i + batch])).numpy() for i in range(0, len(given), batch)])


@dataclass(frozen=True)
class OutputReading:
    """How a model's output is turned into predictions.

    Attributes:
        task: Decides what an output means.
        classes: Class names in the order of the model's outputs.
        thresholds: Of a multi-label task, one per class.
        top: How many of the likeliest classes to give.
        least: Of one class each, the probability below which the model is not sure.
    """

    task: Task
    classes: tuple[str, ...]
    thresholds: tuple[float, ...] = ()
    top: int = 5
    least: float = 0.0

    def __post_init__(self) -> None:
        if self.top < 1:
            raise SettingError(f"top must be 1 or more; it is {self.top}.")

    def of(self, name: str, output: np.ndarray) -> Prediction:
        """The prediction of one row of the model's output, (classes,)."""
        return self.task.read(name, output, self.classes, thresholds=self.thresholds, top=self.top, least=self.least)


def name_texts(model: Any, reading: OutputReading, texts: Sequence[str], batch: int = 32) -> list[Prediction]:
    """What a model says of texts.

    Args:
        model: Strings (batch,) to probabilities or values (batch, classes).
        reading: How its output reads.
        texts: Any number.
        batch: Texts per call of the model.
    """
    said = predict_inputs(model, np.array(texts, object), batch)
    return [reading.of(text, output) for text, output in zip(texts, said, strict=True)]


def name_pictures(model: Any, reading: OutputReading, size: int, pictures: Any, batch: int = 32) -> list[Prediction]:
    """Name what is on pictures; those that cannot be read come back with their error.

    Args:
        model: float32 pixels (batch, size, size, 3) to probabilities or values (batch, classes).
        reading: How its output reads.
        size: Side of the model's input in pixels.
        pictures: Whatever `data.inputs.read_inputs` takes.
        batch: Pictures per call of the model; no more than these are in memory at once.
    """
    ask = inference(model)
    said: list[Prediction] = []
    for part in batched(read_inputs(pictures, size), batch):
        good = [p.pixels for p in part if p.pixels is not None]
        answers = iter(ask(tf.constant(np.stack(good))).numpy() if good else [])
        for picture in part:
            if picture.issue:
                said.append(Prediction(picture.name, "", 0.0, (), picture.issue.detail))
            else:
                said.append(reading.of(picture.name, next(answers)))
    return said


def batched(values: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` values (itertools.batched comes with Python 3.12)."""
    while part := list(itertools.islice(values, size)):
        yield part
