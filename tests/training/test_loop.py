"""The training loop: what it computes, and that its state is all there is."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_world import session, tiny_base

from tfransfer.methods.supervised import Supervised
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training.callbacks import KeepBest
from tfransfer.training.loop import DivergedError, Loop
from tfransfer.training.model import freeze_base, unfreeze
from tfransfer.training.phase import Phase


def make_loop(world, parts, optimizer, mixup=0.0, steps_per_call=1):
    phase = Phase("head", replace(world.recipe, seed=3), replace(world.plan, steps_per_call=steps_per_call))
    objective = Supervised(CLASSIFICATION.loss(0.0), mixup)
    return Loop(world.whole.model, parts, optimizer, objective, CLASSIFICATION.metrics, phase)


def test_one_step_is_plain_gradient_descent_on_the_head(dataset):
    world = session(dataset, tiny_base(dropout=0.9), head__dropout=0.0)
    parts = freeze_base(world.whole)
    batches = world.pixel_batches("head", 1)(8)
    pixels, targets, _ = next(iter(batches.training(0, 0)))
    model = world.whole.model
    features = np.asarray(parts.frozen(tf.cast(pixels, tf.float32), training=False))
    kernel, bias = model.get_layer("logits").get_weights()
    error = (np.asarray(model(tf.cast(pixels, tf.float32), training=False)) - targets.numpy()) / len(targets)
    loop = make_loop(world, parts, keras.optimizers.SGD(0.5))
    loop._train(iter(batches.training(0, 0)), tf.constant(0), tf.constant(1))
    np.testing.assert_allclose(model.get_layer("logits").kernel, kernel - 0.5 * features.T @ error, atol=1e-5)
    np.testing.assert_allclose(model.get_layer("logits").bias, bias - 0.5 * error.sum(axis=0), atol=1e-5)


def test_class_weights_weigh_the_loss(dataset):
    losses = []
    for weight in (1.0, 3.0):
        world = session(dataset, head__dropout=0.0)
        loop = make_loop(world, freeze_base(world.whole), keras.optimizers.SGD(0.0))
        pixels, targets, weights = next(iter(world.pixel_batches("head", 1)(8).training(0, 0)))
        loop._train_step((pixels, targets, weights * weight), tf.constant(0))
        losses.append(float(loop.training_metrics[0].result()))
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)


@pytest.mark.parametrize("cut", [(0, 2), (1, 0), (1, 3)])
def test_restored_in_the_middle_of_an_epoch_ends_as_if_never_stopped(dataset, cut):
    def fresh(calls):
        world = session(dataset)
        loop = make_loop(world, unfreeze(world.whole, 2), keras.optimizers.Adam(1e-2), steps_per_call=calls, mixup=0.2)
        return world, loop, world.pixel_batches("fine_tune", 2)(8)

    world, loop, batches = fresh(1)
    stopped = None

    class StopThere(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            nonlocal stopped
            if stopped is None and (loop.state.epoch, batch) == cut:
                stopped = loop.snapshot([best])

    best = KeepBest(0)
    loop.run(batches, 2, [best, StopThere()])
    undisturbed = world.whole.model.get_weights()

    world, loop, batches = fresh(2)  # results do not depend on the steps per call either
    best = KeepBest(0)
    loop.restore(stopped)
    history = loop.run(batches, 2, [best])
    assert [row["epoch"] for row in history] == [1, 2]
    for a, b in zip(undisturbed, world.whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keras_callbacks_are_called_as_in_fit(dataset):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append("begin")

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(f"epoch {epoch}")

        def on_train_batch_end(self, batch, logs=None):
            seen.append(f"batch {batch} {sorted(logs)}")

        def on_epoch_end(self, epoch, logs=None):
            assert {"loss", "top1", "val_loss", "val_top1"} <= set(logs)
            seen.append("end of epoch")
            self.model.stop_training = True

        def on_train_end(self, logs=None):
            seen.append("end")

    world = session(dataset)
    loop = make_loop(world, freeze_base(world.whole), keras.optimizers.SGD(0.1), steps_per_call=4)
    steps = world.pixel_batches("head", 5)(8).steps
    loop.run(world.pixel_batches("head", 5)(8), 5, [Watch()])
    ends = [f"batch {min(s + 4, steps) - 1} ['loss', 'top1']" for s in range(0, steps, 4)]
    assert seen == ["begin", "epoch 0", *ends, "end of epoch", "end"]


def test_keras_schedules_and_checkpoints_work(dataset, tmp_path):
    world = session(dataset)
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    kept = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True)
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, restore_best_weights=True)
    loop = make_loop(world, freeze_base(world.whole), keras.optimizers.Adam(0.1))
    history = loop.run(world.pixel_batches("head", 3)(8), 3, [halve, kept, stop])
    assert [row["learning_rate"] for row in history] == pytest.approx([0.05, 0.025, 0.0125][: len(history)])
    assert keras.saving.load_model(tmp_path / "best.keras").output_shape == (None, 3)


def test_metrics_of_an_epoch_are_those_of_keras_evaluate(dataset):
    world = session(dataset)
    loop = make_loop(world, freeze_base(world.whole), keras.optimizers.SGD(0.0))
    batches = world.pixel_batches("head", 1)(8)
    row = loop.run(batches, 1)[0]
    model = world.whole.model
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    images = [(tf.cast(x, tf.float32), y) for x, y, _ in batches.validation]
    x, y = (tf.concat([pair[i] for pair in images], axis=0) for i in range(2))
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert row["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert row["val_top1"] == pytest.approx(accuracy)


def test_keep_best_puts_back_the_best_epoch_where_the_metric_is_no_share(dataset):
    world = session(dataset)
    loop = make_loop(world, freeze_base(world.whole), keras.optimizers.SGD(3.0))
    seen = []

    class Remember(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(((logs["val_top1"], -logs["val_loss"]), self.model.get_weights()))

    loop.run(world.pixel_batches("head", 4)(8), 4, [KeepBest(0), Remember()])
    best = max(seen, key=lambda pair: pair[0])[1]
    for a, b in zip(best, world.whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keep_best_stops_after_its_patience(dataset):
    world = session(dataset)
    loop = make_loop(world, freeze_base(world.whole), keras.optimizers.SGD(0.0))
    assert len(loop.run(world.pixel_batches("head", 9)(8), 9, [KeepBest(2)])) == 3


def test_loss_that_is_no_number_stops_with_a_message(dataset):
    world = session(dataset)
    loop = make_loop(world, freeze_base(world.whole), keras.optimizers.SGD(float("inf")))
    with pytest.raises(DivergedError, match="lower learning rate"):
        loop.run(world.pixel_batches("head", 5)(8), 5)


def test_dropout_depends_on_seed_and_step_only(dataset):
    def losses(seed, disturb):
        world = session(dataset, tiny_base(), head__dropout=0.5)
        objective = Supervised(CLASSIFICATION.loss(0.0))
        loop = Loop(
            world.whole.model, unfreeze(world.whole, 3), keras.optimizers.SGD(0.1), objective,
            CLASSIFICATION.metrics, Phase("fine_tune", replace(world.recipe, seed=seed), world.plan),
        )  # fmt: skip
        if disturb:
            for _ in range(3):
                world.whole.model(np.zeros((1, 16, 16, 3), np.float32), training=True)
        return [row["loss"] for row in loop.run(world.pixel_batches("fine_tune", 2)(8), 2)]

    assert losses(1, False) == losses(1, True)
    assert losses(1, False) != losses(2, False)
