"""The script that trains the built-in base: the same from a seed, stopped or not."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from small_world import colour_folder

TOOL = Path(__file__).parents[2] / "tools" / "pretrain_mini"


@pytest.fixture(scope="module", autouse=True)
def tool():
    sys.path.insert(0, str(TOOL))
    yield
    sys.path.remove(str(TOOL))


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    from photos import Crops, read_photos

    work = tmp_path_factory.mktemp("pixels")
    return Crops(read_photos(colour_folder(work / "colours"), work, 32), 2, 0)


def schedule(**others):
    from training import Schedule

    return Schedule(**({"stages": ((32, 2), (64, 1)), "batch": 16} | others))


def features(crops):
    random = np.random.default_rng(0)
    return [random.normal(size=(len(crops.photos.labels), 5)).astype(np.float16) for _ in range(crops.views)]


class Stopped(Exception):
    pass


@pytest.mark.long
def test_stopped_training_goes_on_as_if_it_had_not_been_stopped(crops, tmp_path):
    from training import train

    def stop(line):
        raise Stopped

    whole = train(schedule(), crops, features(crops), tmp_path, lambda line: None)
    parts = tmp_path / "parts"
    parts.mkdir()
    for _ in range(3):  # once in each epoch, the change of size among them
        with pytest.raises(Stopped):
            train(schedule(), crops, features(crops), parts, stop)
    pieces = train(schedule(), crops, features(crops), parts, stop)
    for a, b in zip(whole.model.get_weights(), pieces.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    rows = [json.loads(line) for line in (parts / "epochs.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["size"]) for row in rows] == [(1, 32), (2, 32), (3, 64)]


@pytest.mark.long
def test_teacher_changes_what_is_learned(crops, tmp_path):
    from training import train

    made = []
    for name, targets in (("alone", []), ("taught", features(crops))):
        (tmp_path / name).mkdir()
        made.append(train(schedule(stages=((32, 1),)), crops, targets, tmp_path / name, lambda line: None))
    alone, taught = (student.base.get_weights() for student in made)
    assert any(not np.allclose(a, b) for a, b in zip(alone, taught, strict=True))


def test_full_width_inherits_the_whole_network_and_a_narrow_one_its_channels():
    from inherit import inherit

    def network(alpha):
        return keras.applications.MobileNetV2(include_top=False, weights=None, alpha=alpha, input_shape=(32, 32, 3))

    keras.utils.set_random_seed(0)
    teacher, twin, narrow = network(1.0), network(1.0), network(0.35)
    random = np.random.default_rng(0)
    teacher.set_weights([random.uniform(0.5, 1.5, w.shape) for w in teacher.get_weights()])
    inherit(teacher, twin)
    for a, b in zip(teacher.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    inherit(teacher, narrow)
    for layer in narrow.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            old = teacher.get_layer(layer.name)
            kept = [np.flatnonzero(np.asarray(old.gamma) == value)[0] for value in np.asarray(layer.gamma)]
            np.testing.assert_array_equal(np.asarray(old.moving_mean)[kept], np.asarray(layer.moving_mean))


@pytest.mark.long
def test_teacher_sees_the_crops_that_the_student_sees(crops, tmp_path):
    from teacher import targets

    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    network.save_weights(tmp_path / "teacher.weights.h5")
    said = targets(crops, tmp_path / "teacher.weights.h5", 32, tmp_path, lambda line: None)
    assert [view.shape for view in said] == [(len(crops.photos.labels), 1280)] * 2
    raw = []
    for view in range(2):
        pixels = crops.batch(np.arange(8), view, 32).astype(np.float32) / 127.5 - 1
        raw.append(np.asarray(network(pixels, training=False)).mean((1, 2)))
    scale = np.load(tmp_path / "teacher-32-scale.npy")
    for view in range(2):
        expected = (raw[view] - scale[0]) / scale[1]
        np.testing.assert_allclose(said[view][:8].astype(np.float32), expected, atol=5e-2, rtol=1e-2)


def test_views_are_fixed_and_the_first_is_the_whole_photo(crops):
    again = crops.batch(np.arange(4), 1, 32)
    np.testing.assert_array_equal(crops.batch(np.arange(4), 1, 32), again)
    np.testing.assert_array_equal(crops.batch(np.arange(4), 0, 32), crops.photos.pixels[:4])
    assert not np.array_equal(again, crops.photos.pixels[:4])


def test_held_out_photos_are_not_trained_on(crops):
    trained, held_out = crops.photos.split(False), crops.photos.split(True)
    assert not set(trained) & set(held_out)
    assert len(trained) + len(held_out) == len(crops.photos.labels)
    assert {crops.photos.labels[i] for i in held_out} == {0, 1, 2}
