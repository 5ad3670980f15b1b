"""When a model says nothing: the threshold keeps its promise where it was chosen, and answers as much as it may."""

import numpy as np
import pytest

from tfransfer.errors import DataError, SettingError
from tfransfer.evaluation.abstention import choose_threshold, selective

# Confidence and whether the answer is right: sure ones are right, one in the middle is wrong.
CONFIDENCE = np.array([0.99, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.55])
RIGHT = np.array([1, 1, 1, 0, 1, 1, 0, 0], bool)
PROBABILITIES = np.stack([CONFIDENCE, 1 - CONFIDENCE], axis=1)
LABELS = np.where(RIGHT, 0, 1)


def test_as_much_is_answered_as_the_precision_allows():
    assert choose_threshold(LABELS, PROBABILITIES, 0.99) == pytest.approx(0.875)
    found = choose_threshold(LABELS, PROBABILITIES, 0.8)
    assert found == pytest.approx(0.65)
    assert selective(LABELS, PROBABILITIES, found).top1 == pytest.approx(5 / 6)
    assert selective(LABELS, PROBABILITIES, found).coverage == pytest.approx(6 / 8)
    assert choose_threshold(LABELS, PROBABILITIES, 0.5) == 0


def test_equal_confidences_are_answered_together():
    same = np.array([[0.9, 0.1]] * 4)
    labels = np.array([0, 0, 0, 1])
    with pytest.raises(DataError, match=r"no threshold reaches precision 0\.9"):
        choose_threshold(labels, same, 0.9)


def test_a_model_that_is_sure_and_wrong_cannot_be_helped():
    with pytest.raises(DataError, match="wrong too often"):
        choose_threshold(1 - LABELS[:3], PROBABILITIES[:3], 0.9)


@pytest.mark.parametrize("precision", [0, 1, 1.5, -1])
def test_precision_out_of_range_is_refused(precision):
    with pytest.raises(SettingError, match="between 0 and 1"):
        choose_threshold(LABELS, PROBABILITIES, precision)


def test_accuracy_rises_as_coverage_falls():
    found = [selective(LABELS, PROBABILITIES, float(np.quantile(CONFIDENCE, 1 - share))) for share in (1.0, 0.5)]
    assert [one.coverage for one in found] == [1, 0.5]
    assert found[1].top1 > found[0].top1
