"""Law 2: training on kept features is the plain training. And: what is kept, and when not."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_world import SIZE, session, tiny_base

from tfransfer.base.build import build_base
from tfransfer.display.progress import quiet, silent
from tfransfer.features import batches as kept_batches
from tfransfer.features import budget, caching
from tfransfer.methods.supervised import Supervised
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.training import model as models
from tfransfer.training.loop import Loop
from tfransfer.training.model import freeze_base, matrix_products, unfreeze
from tfransfer.training.phase import FINE_TUNE, HEAD, Phase
from tfransfer.training.phases import train_phases

pytestmark = pytest.mark.usefixtures("fresh_cache")

EPOCHS = 3
PLAIN_WINS = caching._PLAIN_WINS
LIKE_PLAIN = {"features.engine": "keras", "features.dtype": "float32", "features.views": 2}


@pytest.fixture(autouse=True)
def plain_way_never_wins(monkeypatch):
    """On so few pictures either way may be the faster one, as the machine happens to be."""
    monkeypatch.setattr(caching, "_PLAIN_WINS", 0.0)


def losses(dataset, base, phase, kept, **settings):
    """The running loss after each step, and what validation said, of one phase."""
    world = session(dataset, base, head__epochs=EPOCHS, fine_tune__epochs=EPOCHS, **LIKE_PLAIN, **settings)
    world.decide_caching(silent)
    world.caching.extract(world.recipe, quiet, silent)
    parts = freeze_base(world.whole) if phase == HEAD else unfreeze(world.whole, world.plan.unfreeze)
    step_by_step = Phase(phase, world.recipe, replace(world.plan, steps_per_call=1))
    loop = Loop(
        world.whole.model, parts, keras.optimizers.Adam(1e-2), Supervised(CLASSIFICATION.loss(0.0), mixup=0.3),
        CLASSIFICATION.metrics, step_by_step,
    )  # fmt: skip
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["loss"])

        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs["val_loss"])

    if kept:
        made = world.cached_batches(phase, parts, EPOCHS)(8)
        assert made.cached
    else:
        made = world.pixel_batches(phase, EPOCHS, views=2)(8)
    loop.run(made, EPOCHS, [Watch()])
    return np.array(seen)


def check_kept_is_plain(dataset, phase):
    plain = losses(dataset, tiny_base(), phase, kept=False)
    kept = losses(dataset, tiny_base(), phase, kept=True)
    assert len(plain) > EPOCHS * 6
    np.testing.assert_allclose(kept, plain, rtol=2e-5)


@pytest.mark.law
@pytest.mark.parametrize("phase", [HEAD, FINE_TUNE])
def test_law_2_kept_features_and_pixels_are_the_same_training(dataset, phase):
    check_kept_is_plain(dataset, phase)


@pytest.mark.slow
@pytest.mark.law
@pytest.mark.parametrize("change", ["order", "view", "inference"])
def test_law_2_breaks_when_order_views_or_mode_differ(dataset, monkeypatch, change):
    if change == "order":
        monkeypatch.setattr(kept_batches, "epoch_order", lambda seed, epoch, n: tf.range(n, dtype=tf.int64))
    elif change == "view":
        take = kept_batches.Rows.take
        monkeypatch.setattr(kept_batches.Rows, "take", lambda rows, at: take(rows, np.roll(at, 1)))
    else:
        real = models.model_to

        def noisy(base, taps):
            model = real(base, taps)
            return lambda pixels, training: model(pixels, training=True)

        monkeypatch.setattr(models, "model_to", noisy)
    with pytest.raises(AssertionError):
        check_kept_is_plain(dataset, HEAD)


@pytest.mark.law
def test_law_2_holds_on_a_base_with_dropout_and_stochastic_depth(dataset):
    def base():
        return build_base("efficientnet_b0", 32, "random", seed=3)

    plain = losses(dataset, base(), FINE_TUNE, kept=False)
    kept = losses(dataset, base(), FINE_TUNE, kept=True)
    np.testing.assert_allclose(kept, plain, rtol=1e-3)


def run(world):
    said = []
    world.decide_caching(said.append)
    return train_phases(world, lambda phase: (), quiet, said.append), said


@pytest.mark.slow
def test_kept_features_train_about_as_pixels_do(dataset):
    """By default: float16, and whichever engine is chosen."""
    world = session(dataset, head__epochs=4)
    kept, _ = run(world)
    plain, _ = run(session(dataset, head__epochs=4, features__cache=False))
    assert world.caching.plan.head and world.caching.plan.fine_tune
    assert kept.results[0].validation["loss"] == pytest.approx(plain.results[0].validation["loss"], rel=0.3)


def test_same_seed_same_kept_training(dataset):
    first = session(dataset, head__epochs=2)
    run(first)
    again = session(dataset, head__epochs=2)
    run(again)
    assert again.caching.plan.extract == 0
    for a, b in zip(first.whole.model.get_weights(), again.whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_frozen_part_is_not_touched(dataset):
    base = tiny_base()
    before = [np.array(v) for block in base.blocks[:-1] for layer in block.layers for v in layer.get_weights()]
    run(session(dataset, base))
    after = [np.array(v) for block in base.blocks[:-1] for layer in block.layers for v in layer.get_weights()]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "head", "fine_tune", "why"),
    [
        ({}, True, True, "engine"),
        ({"features__cache": False}, False, False, "features.cache is off"),
        ({"fine_tune__unfreeze": "all"}, True, False, "engine"),
        ({"fine_tune__unfreeze": "none", "fine_tune__epochs": 0}, True, False, "engine"),
    ],
)
def test_what_is_kept_follows_from_the_recipe(dataset, settings, head, fine_tune, why):
    world = session(dataset, **settings)
    world.decide_caching(silent)
    plan = world.caching.plan
    assert (plan.head, plan.fine_tune) == (head, fine_tune)
    assert why in plan.why
    assert why in plan.sentence() or head


def test_views_are_no_more_than_epochs_and_one_without_augmentation(dataset):
    def views(**settings):
        world = session(dataset, **settings)
        world.decide_caching(silent)
        return world.caching.plan.views

    assert views(head__epochs=2, fine_tune__epochs=1, features__views=9) == 2
    still = {f"augment__{name}": 0.0 for name in ("rotate", "zoom", "shift", "brightness", "contrast")}
    assert views(head__epochs=5, augment__flip=False, **still) == 1


def test_less_room_means_fewer_views_then_no_activations_then_nothing(dataset, monkeypatch):
    def plan(space):
        monkeypatch.setattr(budget, "room", lambda asked: space)
        world = session(dataset, head__epochs=6, fine_tune__epochs=6, features__views=3)
        world.decide_caching(silent)
        return world.caching.plan

    all_of_it = plan(10**9)
    assert (all_of_it.views, all_of_it.fine_tune) == (3, True)
    assert plan(all_of_it.bytes).views == 3
    fewer = plan(all_of_it.bytes - 1)
    assert (fewer.views, fewer.fine_tune) == (2, True)
    assert "no room for more" in fewer.why
    head_only = plan(54 * 3 * 24 * 2 + 7 * 24 * 2)
    assert (head_only.head, head_only.fine_tune) == (True, False)
    nothing = plan(100)
    assert not nothing.head
    assert "the store may take 100 bytes" in nothing.why


def test_plan_counts_what_is_extracted(dataset):
    world = session(dataset, head__epochs=4, fine_tune__epochs=1, features__views=3)
    world.decide_caching(silent)
    plan = world.caching.plan
    train, held_out = len(dataset.split("train")), len(dataset.split("validation"))
    assert plan.extract == 3 * train + held_out  # the fine-tune phase needs the clean view only
    assert plan.bytes == (3 * train + held_out) * 24 * 2 + (train + held_out) * SIZE * SIZE * 16 * 2
    world.caching.extract(world.recipe, quiet, silent)
    found = sum(entry.size for entry in budget.entries())
    assert plan.bytes < found < plan.bytes * 1.3 + 20_000


def test_an_engine_that_is_used_again_is_not_said_to_be_requested(dataset):
    fewer = session(replace(dataset, examples=dataset.examples[2:]))
    fewer.decide_caching(silent)
    fewer.caching.extract(fewer.recipe, quiet, silent)
    world = session(dataset)
    world.decide_caching(silent)
    assert 0 < world.caching.plan.extract <= 4
    assert "requested" not in world.caching.plan.why
    assert "extracted with it before" in world.caching.plan.why


def test_damaged_shard_is_named_and_extracted_again(dataset):
    run(session(dataset))
    values = next(budget.store_home().rglob("*.npy"))
    content = bytearray(values.read_bytes())
    content[-1] ^= 1
    values.write_bytes(content)
    world = session(dataset)
    _, said = run(world)
    assert any("1 damaged shard" in line for line in said)
    assert world.caching.plan.extract > 0
    again = session(dataset)
    run(again)
    assert again.caching.plan.extract == 0


def test_plain_way_is_taken_where_it_is_faster(dataset, monkeypatch):
    monkeypatch.setattr(caching, "_PLAIN_WINS", PLAIN_WINS)
    monkeypatch.setattr(caching, "forecast", lambda *given: caching.Forecast(cached=100.0, plain=10.0))
    world = session(dataset)
    kept, _ = run(world)
    assert not world.caching.plan.head
    assert "faster" in world.caching.plan.why
    assert len(kept.results) == 2


def test_linear_probe_is_a_solved_logistic_regression(dataset):
    world = session(dataset, head__method="linear-probe", fine_tune__epochs=0, features__views=1)
    kept, _ = run(world)
    features, labels = [], []
    for pixels, targets, _ in world.pixel_batches(HEAD, 1, views=1)(54).training(0, 0):
        features.append(freeze_base(world.whole).frozen(tf.cast(pixels, tf.float32), training=False).numpy())
        labels.append(np.argmax(targets, axis=1))
    features, labels = np.concatenate(features), np.concatenate(labels)
    kernel, bias = world.whole.model.get_layer("logits").get_weights()
    logits = features @ kernel + bias
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    error = probabilities - np.eye(3)[labels]
    # At the minimum the penalty's pull balances the data's, and nothing pulls the bias.
    np.testing.assert_allclose(error.sum(axis=0) / len(labels), 0.0, atol=2e-2)
    row = kept.results[0].history[0]
    assert row["top1"] == pytest.approx((logits.argmax(1) == labels).mean(), abs=0.02)
    assert kept.results[0].kept_epoch == 1


def test_pointwise_convolutions_train_as_products_and_are_put_back(monkeypatch):
    base = build_base("resnet50", 32, "random", seed=1)  # has 1x1 convolutions with strides, too
    pixels = tf.random.stateless_uniform((2, 32, 32, 3), (1, 2))

    def gradients():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(base.model(pixels, training=False) ** 2)
        return total, tape.gradient(total, base.model.trainable_variables)

    calls = []
    real = models._pointwise
    monkeypatch.setattr(models, "_pointwise", lambda *given: calls.append(1) or real(*given))
    expected, expected_gradients = gradients()
    with matrix_products(base.model):
        found, found_gradients = gradients()
    assert len(calls) == sum(isinstance(x, keras.layers.Conv2D) and x.kernel_size == (1, 1) for x in base.model.layers)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    for ours, theirs in zip(found_gradients, expected_gradients, strict=True):
        scale = max(float(tf.reduce_max(tf.abs(theirs))), 1e-6)
        assert float(tf.reduce_max(tf.abs(ours - theirs))) < 1e-3 * scale
    gradients()
    assert len(calls) == 36
