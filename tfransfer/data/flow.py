"""tf.data pipelines that read, decode, turn upright, resize, augment, batch and prefetch examples.

The order and the augmentation are functions of (seed, phase, epoch, example), so that a run can resume in the middle of
an epoch. Nothing is cached here. Either each epoch augments a picture afresh; or each picture has K views, view 0 clean
and the others augmented, which depend only on the view's number and the picture's content, and epoch e sees view e mod
K, so that the frozen base's outputs for a view can be cached.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfransfer.data import augment, pictures
from tfransfer.data.index import Example, Index, labels_of
from tfransfer.data.modality import IMAGE, TEXT
from tfransfer.data.share import ALL, Share
from tfransfer.errors import DataError, SettingError, did_you_mean
from tfransfer.recipe import Augmentation


@contextmanager
def telling_lost_pictures(dataset: Index | None = None) -> Iterator[None]:
    """Turn TensorFlow's error for a picture that has disappeared or is no longer readable into a DataError.

    Args:
        dataset: What is read: to name a file with another content, which TensorFlow's error does not.

    Raises:
        DataError: A picture that was readable when the data was indexed cannot be read now.
    """
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.DataLossError) as error:
        lines = re.sub(r"\{\{.*?\}\}\s*", "", str(error)).splitlines()
        reason = next((line.strip() for line in lines if "; " in line), lines[0])
        raise DataError(f"a picture that could be read before cannot be read now: {reason}") from error
    except tf.errors.InvalidArgumentError as error:
        changed = None if dataset is None else _first_changed(dataset)
        if dataset is None or changed is None:
            raise
        raise DataError(
            f"{dataset.path_of(changed)} has changed since it was read first, and is no picture any more: restore it, "
            "or remove it, and start again."
        ) from error


def _first_changed(dataset: Index) -> Example | None:
    """The first picture whose file has another content than when it was indexed."""
    if not dataset.modality.has_pixels:
        return None
    return next((e for e in dataset.examples if not _same_content(dataset.path_of(e), e)), None)


def _same_content(path: str, example: Example) -> bool:
    try:
        return pictures.content_hash(Path(path).read_bytes()) == example.content
    except OSError:
        return False


# One picture per core. TensorFlow could tune this itself, but a tuned iterator takes seconds to close (TensorFlow
# 2.21), once for each epoch's validation.
_PARALLEL = os.cpu_count() or 2
_AHEAD = 4
_READ_AT_ONCE = 32


def untuned(flow: tf.data.Dataset) -> tf.data.Dataset:
    """The same pipeline without autotuning, so that the given parallelism and prefetch stay as they are."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return flow.with_options(options)


@dataclass(frozen=True)
class Flow:
    """The pipeline of one split.

    Attributes:
        batches: Batches of (uint8 pixels or strings, float32 targets, float32 weights).
        steps: Batches in an epoch.
        examples: Pictures in an epoch.
    """

    batches: tf.data.Dataset
    steps: int
    examples: int


# Seeds the cached views. They do not depend on a run's seed, so that other runs can use them.
_VIEW_SEED = (20211, 30211)


def as_model_input(values: tf.Tensor) -> tf.Tensor:
    """Convert to a model's input: uint8 pixels to float32; texts and cached features stay as they are."""
    return tf.cast(values, tf.float32) if values.dtype == tf.uint8 else values


class _Texts:
    """A split's texts as a tensor, looked up by position. They are not augmented."""

    def __init__(self, dataset: Index, examples: Sequence[Example], size: int) -> None:
        self.texts = tf.constant([e.text or "" for e in examples], tf.string)

    def read(self, position: tf.Tensor) -> tf.Tensor:
        """The text at a position: string, shape ()."""
        return self.texts[position]

    def read_checked(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The text at a position, which cannot have changed since it was indexed."""
        return self.texts[position], tf.constant(True)

    def view(self, text: tf.Tensor, position: tf.Tensor, number: tf.Tensor, settings: Augmentation) -> tf.Tensor:
        """The text as it is."""
        return text

    def fresh(self, text: tf.Tensor, position: tf.Tensor, seed: tf.Tensor, settings: Augmentation) -> tf.Tensor:
        """The text as it is."""
        return text


class _Pictures:
    """A split's pictures as tensors, looked up by position."""

    def __init__(self, dataset: Index, examples: Sequence[Example], size: int) -> None:
        self.size = size
        self.paths = tf.constant([dataset.path_of(e) for e in examples])
        self.contents = tf.constant([e.content for e in examples])
        self.through_pillow = tf.constant([e.reader == "pillow" for e in examples])
        self.orientations = tf.constant([e.orientation for e in examples], tf.int32)
        self.keys = tf.constant([e.key for e in examples], tf.int64)
        self.content_keys = tf.constant([e.content_key for e in examples], tf.int64)
        self.any_pillow = any(e.reader == "pillow" for e in examples)
        self.any_turned = any(e.orientation != 1 for e in examples)

    def read(self, position: tf.Tensor) -> tf.Tensor:
        """uint8 pixels, shape (size, size, 3), of the example at a position."""
        return self._decoded(tf.io.read_file(self.paths[position]), position)

    def read_checked(self, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `read`, and whether the file still has the content that was indexed; if not, the pixels are all zero."""
        encoded = tf.io.read_file(self.paths[position])
        same = pictures.has_content(encoded, self.contents[position])
        blank = lambda: tf.zeros((self.size, self.size, 3), tf.uint8)  # noqa: E731
        return tf.cond(same, lambda: self._decoded(encoded, position), blank), same

    def _decoded(self, encoded: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        if self.any_pillow:
            pixels = pictures.decode_any(encoded, self.size, self.through_pillow[position])
        else:
            pixels = pictures.decode_full(encoded, self.size)
        if self.any_turned:
            pixels = pictures.turn_upright(pixels, self.orientations[position])
        return pictures.resize(pixels, self.size)

    def view(self, pixels: tf.Tensor, position: tf.Tensor, number: tf.Tensor, settings: Augmentation) -> tf.Tensor:
        """One view of an example's pixels: number 0 is clean."""
        seed = _fold(tf.constant(_VIEW_SEED, tf.int64), number, self.content_keys[position])
        return tf.cond(tf.equal(number, 0), lambda: pixels, lambda: augment.augment(pixels, seed, settings))

    def fresh(self, pixels: tf.Tensor, position: tf.Tensor, seed: tf.Tensor, settings: Augmentation) -> tf.Tensor:
        """An example's pixels, augmented afresh if the settings augment at all."""
        if not settings.moves:
            return pixels
        return augment.augment(pixels, _fold(seed, self.keys[position]), settings)


_COLUMNS: dict[str, type[_Texts] | type[_Pictures]] = {IMAGE: _Pictures, TEXT: _Texts}


def _columns(dataset: Index, examples: Sequence[Example], size: int) -> _Texts | _Pictures:
    return _COLUMNS[dataset.kind](dataset, examples, size)


def view_batches(
    dataset: Index, examples: Sequence[Example], views: Sequence[int], settings: Augmentation, size: int, batch: int
) -> Iterator[np.ndarray]:
    """Views of examples, each file decoded once, of the bytes that were indexed and of no others.

    Features are cached under the hash of a file's content. If the file had changed since it was hashed, another
    picture's features would carry that name for ever.

    Args:
        dataset: Where the examples come from.
        examples: What to read.
        views: Numbers of the requested views of each example.
        settings: How views other than 0 are augmented.
        size: Side of the pictures in pixels.
        batch: Pictures per batch.

    Yields:
        Batches of uint8 pixels, shape (n, size, size, 3), or of strings, shape (n,): all views of the first example,
        then of the second, ...

    Raises:
        DataError: A file has changed since it was indexed, or cannot be read any more.
    """
    columns, numbers = _columns(dataset, examples, size), tf.constant(list(views), tf.int64)

    def load(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, same = columns.read_checked(position)
        seen = tf.stack([columns.view(pixels, position, numbers[i], settings) for i in range(len(views))])
        return seen, tf.fill((len(views),), same)

    flow = tf.data.Dataset.range(len(examples)).map(load, num_parallel_calls=_PARALLEL)
    with telling_lost_pictures():
        for number, (pixels, same) in enumerate(untuned(flow.unbatch().batch(batch).prefetch(2)).as_numpy_iterator()):
            if not same.all():
                raise _changed(examples[(number * batch + int(np.argmin(same))) // len(views)])
            yield pixels


def _changed(example: Example) -> DataError:
    return DataError(
        f"{example.path} has changed since this command read it first: nothing of it was cached. Run the command again "
        "when no other program writes to the folder."
    )


def epoch_order(seed: tuple[int, int], epoch: tf.Tensor | int, examples: int) -> tf.Tensor:
    """The order of a training split in one epoch: int64 positions, shape (examples,).

    Args:
        seed: The run's seed and the phase's number.
        epoch: From 0.
        examples: Size of the split.
    """
    number = tf.stack([tf.constant(seed[0] * 1000 + seed[1], tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.stateless_shuffle(tf.range(examples, dtype=tf.int64), seed=number)


def model_input(dataset: Index, examples: Sequence[Example], size: int) -> np.ndarray:
    """A model's input for some examples: pictures, uint8 (n, size, size, 3); or texts, str (n,)."""
    if dataset.modality.has_pixels:
        return pixels_of(dataset, examples, size)
    return np.array([example.text for example in examples])


def pixels_of(dataset: Index, examples: Sequence[Example], size: int) -> np.ndarray:
    """The pixels of some examples, as a model sees them: uint8 (n, size, size, 3)."""
    flow = evaluation_flow(dataset, examples, np.zeros((len(examples), 1), np.float32), size, _READ_AT_ONCE)
    return np.concatenate([pixels.numpy() for pixels, _, _ in flow.batches])


def evaluation_flow(
    dataset: Index, examples: Sequence[Example], targets: np.ndarray, size: int, batch: int, share: Share = ALL
) -> Flow:
    """Each example once, in the order given; the last batch may be smaller.

    Args:
        dataset: Where the examples come from.
        examples: What to read.
        targets: float32, shape (n, classes).
        size: Side of the pictures in pixels.
        batch: Pictures per batch and replica.
        share: This worker's part; padding of a batch has weight 0.
    """
    columns = _columns(dataset, examples, size)
    target_rows = tf.constant(targets, tf.float32)
    positions, weights = share.evaluated(len(examples), batch)

    def load(position: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return columns.read(position), target_rows[position], weight

    flow = tf.data.Dataset.from_tensor_slices((positions, weights)).map(load, num_parallel_calls=_PARALLEL)
    steps = -(-len(positions) // (batch * share.pieces))
    return Flow(untuned(flow.batch(batch).prefetch(_AHEAD)), steps, len(examples))


def training_flow(
    dataset: Index,
    examples: Sequence[Example],
    targets: np.ndarray,
    weights: np.ndarray,
    size: int,
    batch: int,
    *,
    settings: Augmentation,
    seed: tuple[int, int],
    first_epoch: int = 0,
    first_step: int = 0,
    epochs: int = 1,
    views: int | None = None,
    share: Share = ALL,
) -> Flow:
    """All examples, augmented, in a new order each epoch; an incomplete last batch is dropped.

    Args:
        dataset: Where the examples come from.
        examples: What to read.
        targets: float32, shape (n, classes).
        weights: float32, shape (n,).
        size: Side of the pictures in pixels.
        batch: Pictures per batch of all devices; cut to the number of examples where there are fewer.
        settings: How pictures are augmented.
        seed: The run's seed and the phase's number.
        first_epoch: Epoch to begin with.
        first_step: Step of that epoch to begin with.
        epochs: The phase's number of epochs: the flow ends after epoch `epochs - 1`.
        views: Use view `epoch mod views` of each picture instead of fresh augmentation.
        share: This worker's part of each batch; each of its replicas gets one of the resulting batches.
    """
    columns = _columns(dataset, examples, size)
    target_rows, weight_column = tf.constant(targets, tf.float32), tf.constant(weights, tf.float32)
    batch = min(batch, len(examples))
    steps = len(examples) // batch
    root = tf.constant(seed, tf.int64)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = tf.reshape(epoch_order(seed, epoch, len(examples))[: steps * batch], (steps, share.workers, -1))
        own = tf.reshape(shuffled[:, share.worker], (-1,))
        return tf.data.Dataset.from_tensor_slices((tf.fill(tf.shape(own), epoch), own))

    def load(epoch: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = columns.read(position)
        if views:
            pixels = columns.view(pixels, position, epoch % views, settings)
        else:
            pixels = columns.fresh(pixels, position, _fold(root, epoch), settings)
        return pixels, target_rows[position], weight_column[position]

    flow = tf.data.Dataset.range(first_epoch, epochs).flat_map(order).skip(first_step * batch // share.workers)
    flow = flow.map(load, num_parallel_calls=_PARALLEL).batch(share.piece(batch), drop_remainder=True)
    return Flow(untuned(flow.prefetch(_AHEAD)), steps, steps * batch)


def _fold(seed: tf.Tensor, *numbers: tf.Tensor) -> tf.Tensor:
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, number)
    return seed


def class_weights(examples: Sequence[Example], classes: Sequence[str], how: str | dict[str, float]) -> np.ndarray:
    """A weight per example.

    Args:
        examples: The training split.
        classes: Class names.
        how: "none" gives ones; "balanced" gives n / (classes * count of the example's class), as scikit-learn does; or
            weights as for `weights_by_class`.

    Returns:
        float32, shape (n,).

    Raises:
        SettingError: As in `weights_by_class`.
    """
    labels = labels_of(examples)
    if isinstance(how, dict):
        named = weights_by_class(classes, how)
        return np.array([named.get(name, 1.0) for name in classes], np.float32)[labels]
    if how == "none":
        return np.ones(len(labels), np.float32)
    counts = np.bincount(labels, minlength=len(classes))
    return (len(labels) / (len(classes) * np.maximum(counts, 1))).astype(np.float32)[labels]


def weights_by_class(classes: Sequence[str], given: dict[str, float]) -> dict[str, float]:
    """Weights by class name, from weights by name or, if no key is a name, by index.

    Raises:
        SettingError: A key is neither a class nor an index of one.
    """
    if set(given) <= set(classes):
        return given
    indices = {str(number): name for number, name in enumerate(classes)}
    if set(given) <= set(indices) and not set(given) & set(classes):
        return {indices[key]: weight for key, weight in given.items()}
    unknown = next((key for key in given if key not in classes), "")
    raise SettingError(
        f"class_weights has {unknown!r}, which is no class; the classes are {', '.join(classes[:20])}."
        f"{did_you_mean(unknown, classes)}"
    )
