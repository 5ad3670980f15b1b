"""Optimizers and schedules."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfransfer.recipe import FineTunePhase, HeadPhase
from tfransfer.training.optimizers import fine_tune_optimizer, head_optimizer


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.LayerNormalization()])


def test_weight_decay_spares_biases_and_norms(model):
    optimizer = fine_tune_optimizer(FineTunePhase(warmup=0.0, weight_decay=0.5, clip_norm=0.0), 0.1, 10, model)
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    moved = [
        not np.array_equal(a, keras.ops.convert_to_numpy(b))
        for a, b in zip(before, model.trainable_variables, strict=True)
    ]
    assert dict(zip([v.path.split("/")[-1] for v in model.trainable_variables], moved, strict=True)) == {
        "kernel": True,
        "bias": False,
        "gamma": False,
        "beta": False,
    }


def test_learning_rate_rises_then_falls_to_zero(model):
    schedule = fine_tune_optimizer(FineTunePhase(warmup=0.1), 1e-3, 100, model)._learning_rate
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == 0
    assert rates[10] == pytest.approx(1e-3, rel=1e-5)
    assert rates.argmax() == 10
    assert (np.diff(rates[10:]) <= 0).all()
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_without_warm_up_the_rate_starts_at_its_peak(model):
    schedule = fine_tune_optimizer(FineTunePhase(warmup=0.0), 1e-3, 100, model)._learning_rate
    assert float(schedule(0)) == pytest.approx(1e-3)


@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_a_constant_rate_stays_at_its_peak_after_the_warm_up(model, warmup):
    settings = FineTunePhase(warmup=warmup, schedule="constant")
    schedule = fine_tune_optimizer(settings, 1e-3, 100, model)._learning_rate
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == pytest.approx(0.0 if warmup else 1e-3, rel=1e-5)
    np.testing.assert_allclose(rates[10:], 1e-3, rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm(model):
    assert fine_tune_optimizer(FineTunePhase(clip_norm=1.0), 1e-3, 10, model).global_clipnorm == 1.0
    assert fine_tune_optimizer(FineTunePhase(clip_norm=0.0), 1e-3, 10, model).global_clipnorm is None


def test_head_phase_is_adam_with_a_fixed_rate():
    optimizer = head_optimizer(HeadPhase(), 1e-3)
    assert type(optimizer).__name__ == "Adam"
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
