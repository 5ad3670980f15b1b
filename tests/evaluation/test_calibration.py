"""Temperature scaling: what it finds, what it leaves alone, and that no other class is named."""

import keras
import numpy as np
import pytest

from tfransfer.evaluation.calibration import (
    FEWEST,
    at_temperature,
    divide_logits,
    fit_temperature,
    log_loss,
    tempered,
)
from tfransfer.tasks.multi_label import MultiLabel
from tfransfer.tasks.regression import Regression
from tfransfer.tasks.single_label import CLASSIFICATION


def softmax(values):
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def drawn(temperature, n=4000, classes=5):
    """Labels drawn from calibrated probabilities, and the probabilities of a model that is off by a temperature."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (n, classes))
    labels = [random.choice(classes, p=p) for p in softmax(logits)]
    return np.eye(classes)[labels], softmax(logits * temperature).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_a_model_is_off_by_is_found(temperature):
    targets, said = drawn(temperature)
    found = fit_temperature(CLASSIFICATION, targets, said)
    assert found == pytest.approx(temperature, rel=0.06)
    better = tempered(CLASSIFICATION, said, found)
    assert log_loss(CLASSIFICATION, targets, better) <= log_loss(CLASSIFICATION, targets, said) + 1e-4
    assert (better.argmax(axis=1) == said.argmax(axis=1)).all()


def test_sigmoids_are_calibrated_too():
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (3000, 4))
    targets = (random.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    said = (1 / (1 + np.exp(-2.5 * logits))).astype(np.float32)
    found = fit_temperature(MultiLabel(), targets, said)
    assert found == pytest.approx(2.5, rel=0.06)
    assert ((tempered(MultiLabel(), said, found) > 0.5) == (said > 0.5)).all()


def test_a_model_that_is_always_right_does_not_become_certain():
    targets = np.eye(3)[np.arange(60) % 3]
    said = np.clip(targets, 0.1, 0.8)
    assert 0.1 < fit_temperature(CLASSIFICATION, targets, said) < 1


def test_few_examples_and_numbers_are_left_alone():
    targets, said = drawn(3.0, n=FEWEST - 1)
    assert fit_temperature(CLASSIFICATION, targets, said) == 1
    assert fit_temperature(Regression(), np.zeros((100, 1)), np.ones((100, 1))) == 1


def test_probabilities_of_zero_do_not_hurt():
    targets = np.eye(2)[np.arange(100) % 2]
    said = np.roll(targets, 1, axis=1) * 0.0 + targets
    said[0] = said[0, ::-1]  # certain and wrong
    assert np.isfinite(fit_temperature(CLASSIFICATION, targets, said))


def test_the_graph_says_what_was_computed():
    pixels = keras.Input((4,))
    logits = keras.layers.Dense(3, name="logits")(pixels)
    model = keras.Model(pixels, keras.layers.Activation("softmax")(logits))
    given = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    before = model.predict(given, verbose=0)
    with at_temperature(model, 2.0):
        np.testing.assert_allclose(model.predict(given, verbose=0), tempered(CLASSIFICATION, before, 2.0), atol=1e-6)
    np.testing.assert_array_equal(model.predict(given, verbose=0), before)
    divide_logits(model, 0.5)
    np.testing.assert_allclose(model.predict(given, verbose=0), tempered(CLASSIFICATION, before, 0.5), atol=1e-6)
