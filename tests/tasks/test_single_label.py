"""Metrics of single-label classification."""

import numpy as np
import pytest

from tfransfer.tasks.metrics import expected_calibration_error
from tfransfer.tasks.metrics import single_label as score

LABELS = np.array([0, 0, 1, 2])
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], np.float32)


def test_small_example_by_hand():
    result = score(LABELS, PROBABILITIES, ("a", "b", "c"))
    assert result["n"] == 4
    assert result["top1"] == 0.75
    assert result["log_loss"] == pytest.approx(-np.log([0.7, 0.2, 0.8, 0.4]).mean())
    assert result["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert result["per_class"]["a"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert "top5" not in result


def test_top5_is_given_with_more_than_five_classes():
    probabilities = np.tile(np.linspace(0.3, 0.01, 7), (7, 1))
    result = score(np.arange(7), probabilities / probabilities.sum(axis=1, keepdims=True), "abcdefg")
    assert result["top5"] == pytest.approx(5 / 7)


def test_class_without_pictures_counts_for_nothing():
    result = score(np.array([0, 1]), PROBABILITIES[[0, 2]], ("a", "b", "c"))
    assert result["per_class"]["c"]["support"] == 0
    assert result["top1"] == 1.0


def test_calibration_error_by_hand():
    # Confidences 0.7 (right), 0.5 (wrong), 0.8 (right), 0.4 (right), each alone in its bin.
    assert expected_calibration_error(LABELS, PROBABILITIES) == pytest.approx((0.3 + 0.5 + 0.2 + 0.6) / 4)


def test_calibrated_predictions_have_no_calibration_error():
    labels = np.array([0] * 8 + [1] * 2)
    assert expected_calibration_error(labels, np.tile([0.8, 0.2], (10, 1))) == pytest.approx(0, abs=1e-9)


def test_certainty_of_one_falls_into_the_last_bin():
    assert expected_calibration_error(np.array([0]), np.array([[1.0, 0.0]])) == 0
