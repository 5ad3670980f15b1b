"""What a model says of a split: each example once, in order."""

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
from tfransfer.data.index import SEPARATOR, Example
from tfransfer.data.inputs import read_inputs
from tfransfer.display.progress import Progress, quiet
from tfransfer.errors import SettingError
from tfransfer.tasks.task import MULTI_LABEL, REGRESSION

# The first layer of the head that `training.model` puts behind a base's pooled features.
HEAD = "dropout"
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
    with telling_lost_pictures(), progress(title, len(examples), f"{dataset.kind}s") as advance:
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
    head = next((layer for layer in model.layers if layer.name == HEAD), None)
    if head is None or len(getattr(head.input, "shape", ())) != 2:
        return model
    return keras.Model(model.inputs[0], [head.input, model.outputs[0]])


def predict_inputs(model: Any, given: np.ndarray, batch: int = 32) -> np.ndarray:
    """A model's output, float32 (n, classes), for texts (n,), or pictures of the model's size (n, size, size, 3)."""
    ask = inference(model)
    return np.concatenate([ask(tf.constant(given[i : i + batch])).numpy() for i in range(0, len(given), batch)])


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture or text.

    Attributes:
        name: Path of the file, or its number for a picture in memory; of a text, the text.
        label: The likeliest class; of several that apply, all of them with `;` between; empty for a regression, and
            where the picture cannot be read.
        probability: Of the likeliest class, in [0, 1].
        top: The likeliest classes with their probabilities, best first.
        error: Why the picture cannot be read; empty where it can.
        value: What a regression says, in the targets' unit; None for other tasks.
        sure: Whether the probability reaches the threshold below which the run had better say nothing.
    """

    name: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    error: str = ""
    value: float | None = None
    sure: bool = True


@dataclass(frozen=True)
class Reading:
    """How a model's output reads.

    Attributes:
        task: Its name.
        classes: Class names in the order of the model's outputs.
        thresholds: Of a multi-label task, one per class.
        top: How many of the likeliest classes to give.
        least: Of one class each, the probability below which the model is not sure.
    """

    task: str
    classes: tuple[str, ...]
    thresholds: tuple[float, ...] = ()
    top: int = 5
    least: float = 0.0

    def __post_init__(self) -> None:
        if self.top < 1:
            raise SettingError(f"top must be 1 or more; it is {self.top}.")

    def of(self, name: str, output: np.ndarray) -> Prediction:
        """What one row of the model's output says."""
        if self.task == REGRESSION:
            return Prediction(name, "", 0.0, (), value=float(output[0]))
        best = np.argsort(-output, kind="stable")
        ranked = tuple((self.classes[i], float(output[i])) for i in best[: self.top])
        label = ranked[0][0]
        if self.task == MULTI_LABEL:
            thresholds = self.thresholds or (0.5,) * len(self.classes)
            label = SEPARATOR.join(self.classes[i] for i in best if output[i] >= thresholds[i])
        return Prediction(name, label, ranked[0][1], ranked, sure=ranked[0][1] >= self.least)


def name_texts(model: Any, reading: Reading, texts: Sequence[str], batch: int = 32) -> list[Prediction]:
    """What a model says of texts.

    Args:
        model: Strings (batch,) to probabilities or values (batch, classes).
        reading: How its output reads.
        texts: Any number.
        batch: Texts per call of the model.
    """
    said = predict_inputs(model, np.array(texts, object), batch)
    return [reading.of(text, output) for text, output in zip(texts, said, strict=True)]


def name_pictures(model: Any, reading: Reading, size: int, pictures: Any, batch: int = 32) -> list[Prediction]:
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
