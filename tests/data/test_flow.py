"""How pictures flow: which comes when, and how it is varied, is a function of seed, phase, epoch and example."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight
from small_world import colour_dataset, read_picture, tiny_model

import tfransfer as tr
from tfransfer.data import augment, flow
from tfransfer.data.index import labels_of
from tfransfer.data.loading import load_data
from tfransfer.errors import DataError, SettingError
from tfransfer.evaluation.predictions import predict_examples
from tfransfer.recipe import Augmentation

STILL = Augmentation(flip=False, rotate=0, zoom=0, shift=0, brightness=0, contrast=0)
COUNT, SIZE, BATCH = 22, 12, 4
STEPS = COUNT // BATCH


@pytest.fixture
def dataset(dataset_of, photo, encode):
    """Different pictures; the target of each is its own number, so that it can be told in a batch."""
    return dataset_of({f"{i:02}.png": encode(np.roll(photo, (i, 3 * i), (0, 1)), "PNG") for i in range(COUNT)})


def training(dataset, settings=STILL, seed=(0, 0), weights=None, **options):
    """All batches of the training flow, as arrays."""
    targets = np.eye(COUNT, dtype=np.float32)
    weights = np.ones(COUNT, np.float32) if weights is None else weights
    made = flow.training_flow(
        dataset, dataset.examples, targets, weights, SIZE, BATCH, settings=settings, seed=seed, **options
    )
    return [tuple(part.numpy() for part in batch) for batch in made.batches]


def order_of(batches):
    return [int(number) for batch in batches for number in batch[1].argmax(axis=1)]


def by_example(batches):
    return {int(t.argmax()): p for pixels, targets, _ in batches for p, t in zip(pixels, targets, strict=True)}


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def share_differing(first, second):
    common = first.keys() & second.keys()
    assert len(common) > COUNT // 2
    return np.mean([not np.array_equal(first[i], second[i]) for i in common])


# Order.


def test_order_is_a_new_permutation_each_epoch(dataset):
    epochs = [order_of(training(dataset, first_epoch=e, epochs=e + 1)) for e in range(4)]
    for order in epochs:
        assert len(order) == len(set(order)) == STEPS * BATCH
        assert order != sorted(order)
    assert len({tuple(order) for order in epochs}) == 4
    assert set().union(*epochs) == set(range(COUNT)), "no example is dropped in every epoch"
    assert order_of(training(dataset, epochs=4)) == list(chain.from_iterable(epochs))


@pytest.mark.parametrize("other", [(1, 0), (0, 1)])
def test_order_depends_on_seed_and_phase(other, dataset):
    assert order_of(training(dataset)) == order_of(training(dataset))
    assert order_of(training(dataset)) != order_of(training(dataset, seed=other))


def test_targets_and_weights_stay_with_their_pictures(dataset):
    weights = np.arange(COUNT, dtype=np.float32)
    plain = [read_picture(dataset, e, SIZE) for e in dataset.examples]
    batches = training(dataset, weights=weights)
    assert len(batches) == STEPS
    for pixels, targets, weight in batches:
        for one, target, own in zip(pixels, targets, weight, strict=True):
            assert own == target.argmax()
            np.testing.assert_array_equal(one, plain[target.argmax()])


def test_a_flow_that_starts_in_the_middle_is_exactly_the_tail_of_the_full_flow(dataset):
    full = training(dataset, Augmentation(), seed=(5, 1), epochs=3)
    assert len(full) == 3 * STEPS
    for epoch, step in [(0, 3), (1, 0), (2, STEPS - 1)]:
        tail = training(dataset, Augmentation(), seed=(5, 1), epochs=3, first_epoch=epoch, first_step=step)
        assert_same(full[epoch * STEPS + step :], tail)


def test_steps_and_examples_are_those_of_one_epoch(dataset):
    targets, weights = np.eye(COUNT, dtype=np.float32), np.ones(COUNT, np.float32)
    made = flow.training_flow(
        dataset, dataset.examples, targets, weights, SIZE, BATCH, settings=STILL, seed=(0, 0), epochs=2
    )
    assert (made.steps, made.examples) == (STEPS, STEPS * BATCH)
    small = flow.training_flow(dataset, dataset.examples, targets, weights, SIZE, 64, settings=STILL, seed=(0, 0))
    assert (small.steps, small.examples) == (1, COUNT), "a batch larger than the data is cut"
    assert len(list(small.batches)) == 1


# Augmentation.


def test_augmentation_is_the_same_for_the_same_seed_phase_and_epoch(dataset):
    settings = Augmentation()
    assert_same(training(dataset, settings, seed=(7, 1)), training(dataset, settings, seed=(7, 1)))


def test_augmentation_differs_between_seeds_phases_and_epochs(dataset):
    first = by_example(training(dataset, Augmentation(), seed=(7, 1)))
    others = {
        "seed": training(dataset, Augmentation(), seed=(8, 1)),
        "phase": training(dataset, Augmentation(), seed=(7, 0)),
        "epoch": training(dataset, Augmentation(), seed=(7, 1), first_epoch=1, epochs=2),
        "no augmentation": training(dataset, STILL, seed=(7, 1)),
    }
    for what, batches in others.items():
        assert share_differing(first, by_example(batches)) > 0.9, what


def test_augmentation_of_an_example_does_not_depend_on_its_neighbours(dataset):
    few = replace(dataset, examples=dataset.examples[::2])
    targets, weights = np.eye(COUNT, dtype=np.float32)[::2], np.ones(COUNT // 2, np.float32)
    made = flow.training_flow(
        few, few.examples, targets, weights, SIZE, COUNT // 2, settings=Augmentation(), seed=(7, 1)
    )
    alone = by_example([tuple(part.numpy() for part in batch) for batch in made.batches])
    among = by_example(training(dataset, Augmentation(), seed=(7, 1)))
    common = alone.keys() & among.keys()
    assert len(common) > COUNT // 4
    for number in common:
        np.testing.assert_array_equal(alone[number], among[number])


def test_equal_pictures_of_one_batch_are_varied_differently(dataset_of, photo, encode):
    dataset = dataset_of({f"{i:02}.png": encode(photo, "PNG") for i in range(COUNT)})
    pictures = {p.tobytes() for p in by_example(training(dataset, Augmentation())).values()}
    assert len(pictures) > STEPS * BATCH // 2


def test_augmentation_with_all_settings_off_is_the_identity(photo):
    assert not STILL.moves
    pixels = photo[:40, :40]
    for seed in range(5):
        np.testing.assert_array_equal(augment.augment(tf.constant(pixels), tf.constant([seed, 3]), STILL), pixels)


@pytest.mark.parametrize(
    "setting", [{"flip": True}, {"rotate": 20}, {"zoom": 0.3}, {"shift": 0.3}, {"brightness": 0.3}, {"contrast": 0.5}]
)
def test_each_setting_alone_varies_pictures(setting, photo):
    pixels = tf.constant(photo[:40, :40])
    settings = replace(STILL, **setting)
    assert settings.moves
    varied = [augment.augment(pixels, tf.constant([seed, 0]), settings).numpy() for seed in range(8)]
    assert varied[0].dtype == np.uint8
    assert varied[0].shape == pixels.shape
    assert len({v.tobytes() for v in varied}) > 1


def test_flip_mirrors_left_and_right_half_of_the_time(photo):
    pixels = photo[:40, :40]
    settings = replace(STILL, flip=True)
    seeds = range(200)
    varied = [augment.augment(tf.constant(pixels), tf.constant([seed, 0]), settings).numpy() for seed in seeds]
    mirrored = sum(np.array_equal(v, pixels[:, ::-1]) for v in varied)
    assert mirrored + sum(np.array_equal(v, pixels) for v in varied) == 200
    assert 60 < mirrored < 140


def test_brightness_and_contrast_do_not_leave_their_range(photo):
    grey = np.full((8, 8, 3), 100, np.uint8)
    bright = replace(STILL, brightness=0.1)
    means = [augment.augment(tf.constant(grey), tf.constant([s, 0]), bright).numpy().mean() - 100 for s in range(100)]
    assert 20 < max(means) <= 26
    assert -26 <= min(means) < -20


def test_rotation_keeps_the_centre_and_fills_the_corners():
    dot = np.full((21, 21, 3), 90, np.uint8)
    dot[10, 10] = 255
    settings = replace(STILL, rotate=180)
    for seed in range(10):
        turned = augment.augment(tf.constant(dot), tf.constant([seed, 0]), settings).numpy()
        assert np.unravel_index(turned[..., 0].argmax(), (21, 21)) == (10, 10)
        assert turned.min() >= 89, "no black corners"


# Evaluation.


def evaluation(dataset, batch=BATCH):
    made = flow.evaluation_flow(dataset, dataset.examples, np.eye(COUNT, dtype=np.float32), SIZE, batch)
    return made, [tuple(part.numpy() for part in b) for b in made.batches]


def test_evaluation_gives_each_example_once_in_order_and_unaltered(dataset):
    made, batches = evaluation(dataset)
    assert order_of(batches) == list(range(COUNT))
    assert (made.steps, made.examples) == (len(batches), COUNT) == (6, COUNT)
    assert len(batches[-1][0]) == COUNT % BATCH
    pixels = np.concatenate([b[0] for b in batches])
    plain = [read_picture(dataset, e, SIZE) for e in dataset.examples]
    np.testing.assert_array_equal(pixels, np.stack(plain))
    np.testing.assert_array_equal(np.concatenate([b[2] for b in batches]), np.ones(COUNT))


def test_evaluation_is_the_same_each_time_and_for_each_batch_size(dataset):
    _, small = evaluation(dataset)
    _, again = evaluation(dataset)
    _, large = evaluation(dataset, 64)
    assert_same(small, again)
    np.testing.assert_array_equal(np.concatenate([b[0] for b in small]), large[0][0])


def test_scoring_never_augments(dataset, monkeypatch):
    def forbidden(*arguments):
        raise AssertionError("held-out pictures were augmented")

    monkeypatch.setattr(augment, "augment", forbidden)
    with pytest.raises(AssertionError, match="held-out"):
        training(dataset, Augmentation())

    layers = keras.layers  # dropout would show that the model is not asked in inference mode
    echo = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Dropout(0.9), layers.Flatten()])
    said = predict_examples(echo, dataset, dataset.examples, SIZE)
    plain = np.stack([read_picture(dataset, e, SIZE) for e in dataset.examples])
    np.testing.assert_array_equal(said.outputs.reshape(plain.shape), plain)


# Class weights.


def test_balanced_class_weights_are_those_of_scikit_learn(fakes):
    examples = fakes(0, 70) + fakes(1, 25) + fakes(2, 5)
    weights = flow.class_weights(examples, tuple("abc"), "balanced")
    labels = labels_of(examples)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weights, wanted[labels], rtol=1e-6)
    assert weights.dtype == np.float32


def test_weights_of_classes_are_found_by_name_or_by_index(fakes):
    examples = fakes(0, 2) + fakes(1, 1)
    for given in ({"cat": 2.0}, {"0": 2.0}):
        np.testing.assert_array_equal(flow.class_weights(examples, ("cat", "dog"), given), [2, 2, 1])
    by_name = flow.class_weights(examples, ("0", "1"), {"1": 3.0})  # where classes are numbers these are their names
    np.testing.assert_array_equal(by_name, [1, 1, 3])


@pytest.mark.parametrize("given", [{"cow": 1.0}, {"2": 1.0}, {"cat": 1.0, "1": 2.0}])
def test_weights_of_unknown_classes_are_refused_with_the_known_ones(fakes, given):
    with pytest.raises(SettingError, match=r"class_weights.*the classes are cat, dog"):
        flow.class_weights(fakes(0, 1), ("cat", "dog"), given)


def test_without_class_weights_all_weigh_one(fakes):
    np.testing.assert_array_equal(flow.class_weights(fakes(0, 5) + fakes(1, 2), ("a", "b"), "none"), np.ones(7))


def test_pictures_for_both_readers_flow_together(dataset_of, photo, encode):
    files = {"a.gif": encode(photo, "GIF"), "b.jpg": encode(photo, "JPEG"), "c.png": encode(photo, "PNG")}
    dataset = dataset_of(files | {"d.webp": encode(photo, "WEBP"), "e.bmp": encode(photo, "BMP")})
    assert [e.reader == "pillow" for e in dataset.examples] == [True, False, False, True, True]
    made = flow.evaluation_flow(dataset, dataset.examples, np.eye(5, dtype=np.float32), SIZE, 5)
    pixels = next(iter(made.batches))[0].numpy().astype(int)
    for number in (0, 1, 3, 4):
        assert np.abs(pixels[number] - pixels[2]).mean() < 16


def test_names_that_are_hard_for_a_file_system_are_read(tmp_path):
    names = ["a b.png", "ä 'quoted' \"twice\".png", "猫.png", "line\nbreak.png", "%s$HOME*?[x].png", "-rf.png", "é.PNG"]
    for folder, colour in (("klasse ä", "red"), ("b's", "blue")):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            picture = Image.new("RGB", (9, 9), colour)
            picture.putpixel((0, 0), (number, 0, 0))
            picture.save(tmp_path / folder / name, "PNG")
    dataset = load_data(tmp_path)
    assert dataset.classes == ("b's", "klasse ä")
    assert {e.path.split("/", 1)[1] for e in dataset.examples} == set(names)
    assert not dataset.issues
    made = flow.evaluation_flow(dataset, dataset.examples, np.ones((14, 2), np.float32), SIZE, 32)
    pixels = next(iter(made.batches))[0].numpy()
    assert [p[6, 6].argmax() for p in pixels] == [2 - 2 * e.label for e in dataset.examples]


def test_a_flow_is_closed_at_once(dataset):
    """An autotuned iterator of TensorFlow 2.21 takes seconds to close, in each epoch's validation."""
    made = flow.evaluation_flow(dataset, dataset.examples, np.zeros((COUNT, 1), np.float32), SIZE, BATCH)
    assert not made.batches.options().autotune.enabled


@pytest.mark.parametrize("garbage", [b"garbage", b"\x89PNG\r\n\x1a\n but no picture", b""])
def test_a_picture_that_turned_to_garbage_is_named(tmp_path, garbage):
    dataset = colour_dataset(tmp_path / "data", per_class=4)
    (tmp_path / "data" / "green" / "002.png").write_bytes(garbage)
    made = flow.evaluation_flow(dataset, dataset.examples, np.zeros((12, 1)), 16, 4)
    message = r"green/002\.png has changed since it was read first, and is no picture"
    with pytest.raises(DataError, match=message), flow.telling_lost_pictures(dataset):
        list(made.batches)


def test_training_names_a_picture_that_turned_to_garbage(tmp_path):
    dataset = colour_dataset(tmp_path / "data", per_class=10)
    changed = dataset.path_of(dataset.split("train")[0])
    Path(changed).write_bytes(b"garbage")
    with pytest.raises(DataError, match=f"{changed} has changed"):
        tr.train(
            dataset, tiny_model(), preprocessing="tf", cache=False, head_epochs=1, fine_tune_epochs=0,
            out=tmp_path / "run", exports=[],
        )  # fmt: skip


def test_an_error_of_another_kind_stays_as_it_is(dataset):
    with pytest.raises(tf.errors.InvalidArgumentError), flow.telling_lost_pictures(dataset):
        tf.debugging.assert_equal(tf.constant(1), 2)
