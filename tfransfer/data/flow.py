"""How pictures flow: tf.data pipelines that read, decode, turn upright, resize, augment, batch and prefetch.

Which picture comes when, and how it is varied, is a function of (seed, phase, epoch, example), so that a run can go on
in the middle of an epoch. Nothing here is cached: an augmented picture is made anew in each epoch.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfransfer.data import augment, pictures
from tfransfer.data.index import Dataset, Example, labels_of
from tfransfer.errors import DataError
from tfransfer.recipe import Augmentation


@contextmanager
def telling_lost_pictures() -> Iterator[None]:
    """Turn TensorFlow's error for a picture that is gone, or cannot be read any more, into one for people.

    Raises:
        DataError: A picture that was read when the data was indexed cannot be read now.
    """
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.DataLossError) as error:
        lines = re.sub(r"\{\{.*?\}\}\s*", "", str(error)).splitlines()
        reason = next((line.strip() for line in lines if "; " in line), lines[0])
        raise DataError(f"a picture that could be read before cannot be read now: {reason}") from error


@dataclass(frozen=True)
class Flow:
    """Pictures of one split, ready to be iterated.

    Attributes:
        batches: Batches of (uint8 pixels, float32 targets, float32 weights).
        steps: Batches in an epoch.
        examples: Pictures in an epoch.
    """

    batches: tf.data.Dataset
    steps: int
    examples: int


class _Columns:
    """A split's examples as tensors, to be looked up by position."""

    def __init__(self, dataset: Dataset, examples: Sequence[Example], size: int) -> None:
        self.size = size
        self.paths = tf.constant([dataset.path_of(e) for e in examples])
        self.through_pillow = tf.constant([e.reader == "pillow" for e in examples])
        self.orientations = tf.constant([e.orientation for e in examples], tf.int32)
        self.keys = tf.constant([e.key for e in examples], tf.int64)
        self.any_pillow = any(e.reader == "pillow" for e in examples)
        self.any_turned = any(e.orientation != 1 for e in examples)

    def read(self, position: tf.Tensor) -> tf.Tensor:
        """uint8 pixels, shape (size, size, 3), of the example at a position."""
        path = self.paths[position]
        if self.any_pillow:
            encoded = pictures.read_as_decodable(path, self.through_pillow[position])
        else:
            encoded = tf.io.read_file(path)
        pixels = pictures.decode_full(encoded, self.size)
        if self.any_turned:
            pixels = pictures.turn_upright(pixels, self.orientations[position])
        return pictures.resize(pixels, self.size)


def evaluation_flow(dataset: Dataset, examples: Sequence[Example], targets: np.ndarray, size: int, batch: int) -> Flow:
    """Each example once, in the order given; the last batch may be smaller.

    Args:
        dataset: Where the examples come from.
        examples: What to read.
        targets: float32, shape (n, classes).
        size: Side of the pictures in pixels.
        batch: Pictures per batch.
    """
    columns = _Columns(dataset, examples, size)
    wanted = tf.constant(targets, tf.float32)

    def load(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return columns.read(position), wanted[position], tf.constant(1.0)

    flow = tf.data.Dataset.range(len(examples)).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    steps = -(-len(examples) // batch)
    return Flow(flow.batch(batch).prefetch(tf.data.AUTOTUNE), steps, len(examples))


def training_flow(
    dataset: Dataset,
    examples: Sequence[Example],
    targets: np.ndarray,
    weights: np.ndarray,
    size: int,
    batch: int,
    settings: Augmentation,
    seed: tuple[int, int],
    first_epoch: int = 0,
    first_step: int = 0,
    epochs: int = 1,
) -> Flow:
    """All examples in a new order each epoch, varied; an incomplete last batch is dropped.

    Args:
        dataset: Where the examples come from.
        examples: What to read.
        targets: float32, shape (n, classes).
        weights: float32, shape (n,).
        size: Side of the pictures in pixels.
        batch: Pictures per batch; cut to the number of examples where there are fewer.
        settings: How pictures are varied.
        seed: The run's seed and the phase's number.
        first_epoch: Epoch to begin with.
        first_step: Step of that epoch to begin with.
        epochs: The phase's number of epochs: the flow ends after epoch `epochs - 1`.
    """
    columns = _Columns(dataset, examples, size)
    wanted, weight = tf.constant(targets, tf.float32), tf.constant(weights, tf.float32)
    batch = min(batch, len(examples))
    steps = len(examples) // batch
    root = tf.constant(seed, tf.int64)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = tf.random.experimental.stateless_shuffle(
            tf.range(len(examples), dtype=tf.int64), seed=tf.stack([root[0] * 1000 + root[1], epoch])
        )
        return tf.data.Dataset.from_tensor_slices((tf.fill([steps * batch], epoch), shuffled[: steps * batch]))

    def load(epoch: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = columns.read(position)
        if settings.moves:
            pixels = augment.augment(pixels, _fold(root, epoch, columns.keys[position]), settings)
        return pixels, wanted[position], weight[position]

    flow = tf.data.Dataset.range(first_epoch, epochs).flat_map(order).skip(first_step * batch)
    flow = flow.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch, drop_remainder=True)
    if settings.mixup:
        first = first_epoch * steps + first_step

        def mix(
            step: tf.Tensor, part: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return augment.mixup(*part, _fold(root, step, tf.constant(-1, tf.int64)), settings.mixup)

        flow = flow.enumerate(first).map(mix, num_parallel_calls=tf.data.AUTOTUNE)
    return Flow(flow.prefetch(tf.data.AUTOTUNE), steps, steps * batch)


def _fold(seed: tf.Tensor, *numbers: tf.Tensor) -> tf.Tensor:
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, number)
    return seed


def class_weights(examples: Sequence[Example], classes: int, how: str) -> np.ndarray:
    """A weight per example.

    Args:
        examples: The training split.
        classes: How many there are.
        how: "none" gives ones; "balanced" gives n / (classes * count of the example's class), as scikit-learn does.

    Returns:
        float32, shape (n,).
    """
    labels = labels_of(examples)
    if how == "none":
        return np.ones(len(labels), np.float32)
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)[labels]
