"""Find a learning rate for the head phase: train one head per rate, all at once on the same cached features.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, raises the rate step by step and reads a
good one off the training loss. With cached features there is no need to guess from a hundred steps: heads that see the
same batches share all work except a small matrix product, so each rate gets a complete head phase, and all of them
together take about the time of one.

Compared with the best of seven rates (1e-4 to 1e-1), by mean validation top-1 over three seeds: on 3,000 pictures of
cifar10 with the built-in base, the suggestion reached 0.631, the grid's best the same; on flower_photos 0.681 and
0.684, with MobileNetV2 0.878 and the same; on digits, whose best rate is ten times the default, 0.811 and 0.823, the
default 0.757. Measured by `benchmarks/learning_rates.py`.

Rates are compared on the validation split, which also selects a training's epoch. Test data is not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf

from tfransfer.display.progress import Progress
from tfransfer.errors import SettingError
from tfransfer.methods.losses import as_loss
from tfransfer.methods.supervised import Supervised
from tfransfer.training import optimizers
from tfransfer.training.callbacks import KeepBest
from tfransfer.training.loop import Loop
from tfransfer.training.model import Parts, freeze_base
from tfransfer.training.phase import HEAD
from tfransfer.training.session import Session

# Three per decade, so that the best rate is at most a factor of 1.5 away from one that is tried.
RATES = tuple(float(f"{rate:.2g}") for rate in np.logspace(-5, -1, 13))


@dataclass(frozen=True)
class Tried:
    """The validation result of a head phase at one learning rate.

    Attributes:
        rate: The learning rate.
        loss: Validation loss in the epoch that training would select.
        score: The task's headline metric in that epoch.
        epoch: That epoch, from 1.
    """

    rate: float
    loss: float
    score: float
    epoch: int


def try_rates(session: Session, rates: Sequence[float], progress: Progress) -> list[Tried]:
    """Train a head at each learning rate, as the head phase would, on cached features.

    Args:
        session: A session with extracted features. Its model is not changed, except that the base is frozen.
        rates: Learning rates of Adam.
        progress: Shows a progress bar.

    Returns:
        The result at each rate, in their order.

    Raises:
        SettingError: No features are cached.
        DivergedError: The loss is not finite at some rate.
    """
    if not session.caching.plan.head:
        raise SettingError(f"learning rates are tried on cached features; none are cached: {session.caching.plan.why}.")
    plan, parts = session.plan, freeze_base(session.whole)
    heads = _heads(session, parts, len(rates))
    batches = session.cached_batches(HEAD, parts, plan.head_epochs)(plan.batch_size)
    loss = _OverHeads(as_loss(session.task.loss(session.recipe.label_smoothing)))
    validator = _Validator(session, heads, loss, batches.validation)
    # A single loop trains all heads. Their losses are summed, so that each head gets the gradient of its own loss, and
    # the optimizer holds one learning rate per output column.
    optimizer = optimizers.ColumnwiseAdam(np.repeat(rates, len(session.dataset.classes)))
    objective = Supervised(as_loss(loss.summed), session.recipe.head.mixup)
    loop = Loop(
        heads, Parts(parts.frozen, heads), optimizers.scaled(optimizer, plan.precision), objective, list,
        session.phase(HEAD), strategy=session.devices.strategy,
    )  # fmt: skip
    without_validation = replace(batches, validation=batches.validation.take(0))  # the validator scores each head
    pictures = batches.steps * batches.batch
    with progress(f"trying {len(rates)} learning rates", plan.head_epochs * pictures, batches.unit) as advance:
        advancing = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: advance(pictures))
        loop.run(without_validation, plan.head_epochs, [validator, advancing])
    return [_tried(rate, selector) for rate, selector in zip(rates, validator.selectors, strict=True)]


def lowest(tried: Sequence[Tried]) -> Tried:
    """The result with the lowest validation loss, which is less noisy than an accuracy on a few hundred examples."""
    return min(tried, key=lambda one: one.loss)


def _heads(session: Session, parts: Parts, count: int) -> keras.Model:
    """A model from pooled features to the outputs of all heads (batch, heads, classes), which start with equal weights.

    The heads are one wide Dense layer, because one large matrix product costs hardly more than a single head's.
    """
    whole, classes = session.whole, len(session.dataset.classes)
    features = keras.Input(parts.trained.input_shape[1:], dtype=parts.trained.inputs[0].dtype)
    dropped = keras.layers.Dropout(session.recipe.head.dropout, seed=session.recipe.seed)(features)
    kernel = keras.initializers.GlorotUniform(seed=session.recipe.seed)((features.shape[-1], classes))
    start = keras.initializers.Constant(np.tile(keras.ops.convert_to_numpy(kernel), count))
    logits = keras.layers.Dense(count * classes, kernel_initializer=start, dtype="float32")(dropped)
    apart = keras.layers.Reshape((count, classes), dtype="float32")(logits)
    return keras.Model(features, whole.model.get_layer(whole.head[-1])(apart), name="heads")


class _OverHeads:
    """The loss of many heads at once.

    Args:
        loss: The loss of one head's outputs, over the last axis.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        self._loss = loss

    def each(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """From (batch, classes) and (batch, heads, classes) to (batch, heads)."""
        return self._loss.call(tf.broadcast_to(targets[:, tf.newaxis], tf.shape(outputs)), outputs)

    def summed(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Summed over the heads, (batch,); its gradient in a head's weights is that of this head's own loss."""
        return tf.reduce_sum(self.each(targets, outputs), axis=1)


class _Validator(keras.callbacks.Callback):
    """Scores every head on validation after each epoch, and stops when every head's training would have stopped.

    Attributes:
        selectors: For each head, the callback that selects the epoch a training would use.
    """

    def __init__(self, session: Session, heads: keras.Model, loss: _OverHeads, validation: tf.data.Dataset) -> None:
        super().__init__()
        task, count = session.task, heads.output.shape[1]
        self._heads, self._loss, self._validation, self._headline = heads, loss, validation, task.headline
        self._metrics = [next(m for m in task.metrics() if m.name == task.headline) for _ in range(count)]
        self._score = tf.function(self._score_batch, reduce_retracing=True)
        held_out = len(session.dataset.split("validation")) if task.share else 0
        self.selectors = [_selector(session.recipe.head.patience, task.headline, held_out) for _ in range(count)]

    def _score_batch(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        outputs = self._heads(inputs, training=False)
        for number, metric in enumerate(self._metrics):
            metric.update_state(targets, outputs[:, number])
        return self._loss.each(targets, outputs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Score each head and pass the result to its selector, until its training would have stopped."""
        for metric in self._metrics:
            metric.reset_state()
        losses = tf.concat([self._score(inputs, targets) for inputs, targets, _ in self._validation], 0)
        for selector, metric, loss in zip(self.selectors, self._metrics, losses.numpy().mean(axis=0), strict=True):
            if not selector.model.stop_training:
                selector.on_epoch_end(epoch, {"val_loss": float(loss), f"val_{self._headline}": float(metric.result())})
        self.model.stop_training = all(selector.model.stop_training for selector in self.selectors)


class _Flag:
    """Stands for the model of a head's training: `KeepBest` sets `stop_training` on it."""

    stop_training = False


def _selector(patience: int, headline: str, held_out: int) -> KeepBest:
    selector = KeepBest(patience, headline, held_out, variables=())
    selector.set_model(_Flag())
    return selector


def _tried(rate: float, selector: KeepBest) -> Tried:
    logs = selector.kept_logs
    return Tried(rate, logs["val_loss"], logs[f"val_{selector.headline}"], selector.kept_epoch + 1)
