"""Which learning rate suits the head phase: a head for each rate, all trained at once on the same kept features.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, raises the rate step by step and reads a
good one off the training loss. Where features are kept there is no need to guess from a hundred steps: heads that see
the same batches share all the work but a small product of matrices, so each rate gets the head phase that it would
have, to its last epoch, in about the time of one.

Against a grid of seven rates (1e-4 to 1e-1), mean validation top-1 over three seeds: on cifar10's 3,000 pictures with
the built-in base the suggestion gave 0.631, the grid's best the same; on flower_photos 0.681 and 0.684, with
MobileNetV2 0.878 and the same; on digits, whose best rate is ten times the default, 0.811 and 0.823, the default 0.757.
`benchmarks/learning_rates.py` measures it.

The rates are judged on the validation split, which also chooses the epoch that a training keeps. Test data is not read.
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

# Three in each decade, so that the best is at most half as large again, or two thirds, of one that is tried.
RATES = tuple(float(f"{rate:.2g}") for rate in np.logspace(-5, -1, 13))


@dataclass(frozen=True)
class Tried:
    """What a head phase at one learning rate reaches.

    Attributes:
        rate: The learning rate.
        loss: On validation, in the epoch that would be kept.
        score: The task's headline metric there.
        epoch: Which epoch that is, from 1.
    """

    rate: float
    loss: float
    score: float
    epoch: int


def try_rates(session: Session, rates: Sequence[float], progress: Progress) -> list[Tried]:
    """Train a head at each learning rate, as the head phase would, on kept features.

    Args:
        session: Its features are extracted. Nothing in its model is changed but that the base is frozen.
        rates: Of Adam.
        progress: Shows how far it is.

    Returns:
        One for each rate, in their order.

    Raises:
        SettingError: No features are kept.
        DivergedError: The loss is no number at some rate.
    """
    if not session.caching.plan.head:
        raise SettingError(f"learning rates are tried on kept features; none are kept: {session.caching.plan.why}.")
    plan, parts = session.plan, freeze_base(session.whole)
    heads = _heads(session, parts, len(rates))
    batches = session.cached_batches(HEAD, parts, plan.head_epochs)(plan.batch_size)
    loss = _OverHeads(as_loss(session.task.loss(session.recipe.label_smoothing)))
    judge = _Judge(session, heads, loss, batches.validation)
    optimizer = optimizers.ColumnwiseAdam(np.repeat(rates, len(session.dataset.classes)))
    objective = Supervised(as_loss(loss.summed), session.recipe.head.mixup)
    loop = Loop(
        heads, Parts(parts.frozen, heads), optimizers.scaled(optimizer, plan.precision), objective, list,
        session.phase(HEAD), strategy=session.devices.strategy,
    )  # fmt: skip
    without = replace(batches, validation=batches.validation.take(0))  # the judge validates head by head
    pictures = batches.steps * batches.batch
    with progress(f"trying {len(rates)} learning rates", plan.head_epochs * pictures, batches.unit) as advance:
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: advance(pictures))
        loop.run(without, plan.head_epochs, [judge, told])
    return [_tried(rate, keeper) for rate, keeper in zip(rates, judge.keepers, strict=True)]


def lowest(tried: Sequence[Tried]) -> Tried:
    """The one with the lowest validation loss, which is less noisy than a share of a few hundred examples."""
    return min(tried, key=lambda one: one.loss)


def _heads(session: Session, parts: Parts, count: int) -> keras.Model:
    """From pooled features to the outputs of so many heads (batch, heads, classes), all begun alike.

    They are one wide Dense layer: a product of matrices for all, where one for each would cost as much each.
    """
    whole, classes = session.whole, len(session.dataset.classes)
    features = keras.Input(parts.trained.input_shape[1:], dtype=parts.trained.inputs[0].dtype)
    dropped = keras.layers.Dropout(session.recipe.head.dropout, seed=session.recipe.seed)(features)
    begin = keras.initializers.GlorotUniform(seed=session.recipe.seed)((features.shape[-1], classes))
    start = keras.initializers.Constant(np.tile(keras.ops.convert_to_numpy(begin), count))
    logits = keras.layers.Dense(count * classes, kernel_initializer=start, dtype="float32")(dropped)
    apart = keras.layers.Reshape((count, classes), dtype="float32")(logits)
    return keras.Model(features, whole.model.get_layer(whole.head[-1])(apart), name="heads")


class _OverHeads:
    """A loss of many heads at once.

    Args:
        loss: Of one head's outputs; it looks at the last axis.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        self._loss = loss

    def each(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """From (batch, classes) and (batch, heads, classes) to (batch, heads)."""
        return self._loss.call(tf.broadcast_to(targets[:, tf.newaxis], tf.shape(outputs)), outputs)

    def summed(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Over the heads (batch,): its gradient in one head's weights is that of this head's own loss."""
        return tf.reduce_sum(self.each(targets, outputs), axis=1)


class _Judge(keras.callbacks.Callback):
    """Scores every head on validation after each epoch, and stops when none would train on.

    Attributes:
        keepers: What decides for each head which epoch a training would keep.
    """

    def __init__(self, session: Session, heads: keras.Model, loss: _OverHeads, validation: tf.data.Dataset) -> None:
        super().__init__()
        task, count = session.task, heads.output.shape[1]
        self._heads, self._loss, self._validation, self._headline = heads, loss, validation, task.headline
        self._metrics = [next(m for m in task.metrics() if m.name == task.headline) for _ in range(count)]
        self._score = tf.function(self._score_batch, reduce_retracing=True)
        held_out = len(session.dataset.split("validation")) if task.share else 0
        self.keepers = [_keeper(session.recipe.head.patience, task.headline, held_out) for _ in range(count)]

    def _score_batch(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        outputs = self._heads(inputs, training=False)
        for number, metric in enumerate(self._metrics):
            metric.update_state(targets, outputs[:, number])
        return self._loss.each(targets, outputs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Score, and let each head's keeper see it, until its training would have stopped."""
        for metric in self._metrics:
            metric.reset_state()
        losses = tf.concat([self._score(inputs, targets) for inputs, targets, _ in self._validation], 0)
        for keeper, metric, loss in zip(self.keepers, self._metrics, losses.numpy().mean(axis=0), strict=True):
            if not keeper.model.stop_training:
                keeper.on_epoch_end(epoch, {"val_loss": float(loss), f"val_{self._headline}": float(metric.result())})
        self.model.stop_training = all(keeper.model.stop_training for keeper in self.keepers)


class _Flag:
    """What a keeper tells that its training would stop."""

    stop_training = False


def _keeper(patience: int, headline: str, held_out: int) -> KeepBest:
    made = KeepBest(patience, headline, held_out, variables=())
    made.set_model(_Flag())
    return made


def _tried(rate: float, keeper: KeepBest) -> Tried:
    logs = keeper.kept_logs
    return Tried(rate, logs["val_loss"], logs[f"val_{keeper.headline}"], keeper.kept_epoch + 1)
