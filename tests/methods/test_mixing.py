"""Mixup behind the frozen part."""

import numpy as np
import pytest
import tensorflow as tf
from small_world import colour_dataset, session

from tfransfer.methods.mixing import Mixing


def test_features_targets_and_weights_are_blended_by_the_same_share():
    features = np.zeros((64, 2, 2, 3), np.float32)
    features[::2] = 200
    targets = np.tile(np.eye(2, dtype=np.float32), (32, 1))
    weights = np.tile(np.float32([1, 3]), 32)
    mixed = Mixing(1.0)(tf.constant(features), tf.constant(targets), tf.constant(weights))
    blended_features, blended, weighed = (part.numpy() for part in mixed)
    assert len(np.unique(blended)) > 60
    assert 0.2 < blended[::2, 0].mean() < 0.8
    np.testing.assert_allclose(blended.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(blended_features[:, 0, 0, 0], 200 * blended[:, 0], atol=1e-3)
    np.testing.assert_allclose(weighed, blended @ [1, 3], atol=1e-5)


def test_small_parameters_blend_little():
    def least_share(alpha):
        targets = np.eye(2, dtype=np.float32)[np.arange(512) % 2]
        values = tf.constant(targets)
        return float(np.minimum(*Mixing(alpha)(values, values, tf.ones(512))[1].numpy().T).mean())

    assert least_share(0.1) < least_share(0.5) < least_share(5.0)


def test_what_comes_next_follows_from_the_state():
    values = tf.random.stateless_uniform((8, 4), (1, 2))
    mixing, other = Mixing(0.5), Mixing(0.5)
    first = mixing(values, values, tf.ones(8))[0].numpy()
    second = mixing(values, values, tf.ones(8))[0].numpy()
    assert not np.array_equal(first, second)
    other.state.assign(np.array([0, 1], other.state.dtype))
    mixing.state.assign(np.array([0, 1], mixing.state.dtype))
    np.testing.assert_array_equal(mixing(values, values, tf.ones(8))[0], other(values, values, tf.ones(8))[0])


def test_validation_is_never_blended(tmp_path, monkeypatch):
    world = session(colour_dataset(tmp_path / "data"), fine_tune__mixup=5.0)
    seen = []
    monkeypatch.setattr(Mixing, "__call__", lambda self, *given: seen.append(given) or given)
    from tfransfer.display.progress import quiet, silent
    from tfransfer.training.phases import train_phases

    train_phases(world, lambda phase: (), quiet, silent)
    assert seen, "the fine-tune phase blends"
    assert all(len(given[0].shape) == 4 for given in seen), "the head phase does not"
    assert {int(given[1].shape[0]) for given in seen} == {world.plan.batch_size}


@pytest.mark.parametrize("setting", ["head.mixup", "fine_tune.mixup"])
def test_negative_parameter_is_refused(setting):
    from tfransfer.errors import SettingError
    from tfransfer.recipe import Recipe

    with pytest.raises(SettingError, match=setting):
        Recipe().with_settings({setting: -1.0})
