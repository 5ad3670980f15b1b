"""Predictions of a model: for a split's examples, each once and in order, or for any images and texts."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from tfransfer.display.progress import Progress, quiet
from tfransfer.errors import SettingError
from tfransfer.tasks.head import find_head
from tfransfer.tasks.prediction import Prediction
from tfransfer.tasks.task import Task

_COMPILED: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


@dataclass(frozen=True)
class Predictions:
    """A model's outputs on some examples.

    Attributes:
        examples: The examples, in order.
        targets: Ground truth, float32, shape (n, classes).
        outputs: Probabilities or values, float32, shape (n, classes).
        features: The head's input for some of the examples, float32, shape (k, width); None if none were requested.
        positions: Positions of those examples, int64, shape (k,).
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
    *,
    progress: Progress = quiet,
    title: str = "evaluating",
    keep: np.ndarray | None = None,
    infer: "Infer | None" = None,
) -> Predictions:
    """Run a model on examples, in inference mode, on uint8-rounded pixels as an exported model gets them.

    Args:
        model: float32 pixels (batch, size, size, 3) to probabilities (batch, classes).
        dataset: The dataset of the examples.
        examples: The examples to predict.
        size: Side of the images in pixels.
        batch: Images per call.
        progress: Shows the progress.
        title: Title of the progress display.
        keep: Positions of examples whose features to return, too, if the model has a head built by `train`.
        infer: Runs the model another way, with the same outputs; None runs it in Keras.
    """
    flow = evaluation_flow(dataset, examples, np.zeros((len(examples), 1), np.float32), size, batch)
    run, wanted = infer or infer_with(model), np.zeros(0, np.int64) if keep is None else keep
    outputs, features, done = [], [], 0
    with telling_lost_pictures(dataset), progress(title, len(examples), dataset.modality.unit) as advance:
        for pixels, _, _ in flow.batches:
            *of_head, output = run(pixels.numpy())
            inside = (wanted >= done) & (wanted < done + len(pixels))
            if of_head and inside.any():
                features.append(of_head[0][wanted[inside] - done])
            outputs.append(output)
            done += len(pixels)
            advance(len(pixels))
    predictions = Predictions(tuple(examples), dataset.targets(examples), np.concatenate(outputs))
    return replace(predictions, features=np.concatenate(features), positions=wanted) if features else predictions


def inference(model: Any) -> Any:
    """A compiled function from uint8 or float32 pixels in [0, 255], or strings, to float32 outputs, in inference mode.

    It is traced once per model, for any batch size, and always uses the model's current weights.
    """
    compiled = _compiled(model)
    return lambda given: compiled(as_model_input(tf.convert_to_tensor(given)))[-1]


def _compiled(model: Any) -> Any:
    """A function from a model's input to a list: its head's input features, if it has a head, and its outputs."""
    if model not in _COMPILED:
        dtype = tf.string if reads_text(model) else tf.float32
        spec = tf.TensorSpec((None, *model.input_shape[1:]), dtype)
        traced = _with_features(model)
        plain = lambda given: [tf.cast(v, tf.float32) for v in tf.nest.flatten(traced(given, training=False))]  # noqa: E731
        function = tf.function(plain, input_signature=[spec])
        _COMPILED[model] = function.get_concrete_function()  # unlike `function`, it does not keep the model alive
    return _COMPILED[model]


def _with_features(model: Any) -> Any:
    """The model with its head's input features as a first output; the model itself if it has no such head."""
    head = find_head(model)
    if head is None or len(head.features.shape) != 2:
        return model
    return keras.Model(model.inputs[0], [head.features, model.outputs[0]])


def predict_inputs(model: Any, given: np.ndarray, batch: int = 32) -> np.ndarray:
    """A model's output, float32 (n, classes), for texts (n,), or images of the model's size (n, size, size, 3)."""
    predict = inference(model)
    return np.concatenate([predict(tf.constant(given[i : i + batch])).numpy() for i in range(0, len(given), batch)])


@dataclass(frozen=True)
class Input:
    """One picture or text for a model.

    Attributes:
        name: Its name in the results.
        value: uint8 pixels (size, size, 3), or a text; None if it cannot be read.
        error: Why it cannot be read.
    """

    name: str
    value: Any
    error: str = ""


@dataclass(frozen=True)
class Row:
    """A model's row for one input.

    Attributes:
        name: The input's name.
        error: Why it cannot be read; then there are no numbers.
        output: Probabilities or values, float32, shape (classes,).
        features: The head's input, float32, shape (width,); None if the model has no head built by `train`.
    """

    name: str
    error: str
    output: np.ndarray | None = None
    features: np.ndarray | None = None


Infer = Callable[[np.ndarray], Sequence[np.ndarray]]


def infer_with(model: Any) -> Infer:
    """A function from a batch of uint8 pixels or of texts to a model's outputs, after the features if it has a head."""
    compiled = _compiled(model)
    return lambda given: [values.numpy() for values in compiled(as_model_input(tf.constant(given)))]


def rows(infer: Infer, inputs: Iterable[Input], batch: int = 32) -> Iterator[Row]:
    """Run a model on inputs, in order; no more than a batch of them is in memory.

    Args:
        infer: From pixels (n, size, size, 3) or texts (n,) to outputs (n, classes), perhaps after features (n, width).
        inputs: What to run it on.
        batch: Inputs per call.
    """
    for part in batched(iter(inputs), batch):
        readable = [one.value for one in part if not one.error]
        outputs: Iterator[Sequence[np.ndarray]] = iter(())
        if readable:
            given = np.array(readable, object) if isinstance(readable[0], str) else np.stack(readable)
            outputs = iter(list(zip(*infer(given), strict=True)))
        for one in part:
            *features, output = (None,) if one.error else next(outputs)
            yield Row(one.name, one.error, output, features[0] if features else None)


@dataclass(frozen=True)
class OutputReading:
    """How to turn a model's output into predictions.

    Attributes:
        task: Decides what an output means.
        classes: Class names in the order of the model's outputs.
        thresholds: Multi-label tasks: one per class.
        top: Number of likeliest classes to return.
        least: Single-label tasks: the probability below which the model abstains.
    """

    task: Task
    classes: tuple[str, ...]
    thresholds: tuple[float, ...] = ()
    top: int = 5
    least: float = 0.0

    def __post_init__(self) -> None:
        if self.top < 1:
            raise SettingError(f"top must be 1 or more; it is {self.top}.")

    def of_row(self, row: Row) -> Prediction:
        """The prediction of one input; one with an error if it cannot be read."""
        return Prediction(row.name, "", 0.0, (), row.error) if row.output is None else self.of(row.name, row.output)

    def of(self, name: str, output: np.ndarray) -> Prediction:
        """The prediction of one row of the model's output, (classes,)."""
        return self.task.read(name, output, self.classes, thresholds=self.thresholds, top=self.top, least=self.least)


def batched(values: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` values (itertools.batched comes with Python 3.12)."""
    while part := list(itertools.islice(values, size)):
        yield part
