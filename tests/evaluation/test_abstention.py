"""When a model says nothing: the threshold keeps its promise where it was chosen, and answers as much as it may."""

import numpy as np
import pytest

from tfransfer.cli.tables import show_metrics
from tfransfer.display.terminal import Terminal
from tfransfer.errors import DataError, SettingError
from tfransfer.evaluation.abstention import choose_threshold, in_words, selective

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


def test_what_a_threshold_means_is_said_plainly():
    some = {"validation": {"coverage": 0.5}, "test": {"coverage": 0.4}}
    assert in_words(0.875, some) == ["not sure below 0.875"]
    (line,) = in_words(0.0, some)
    assert "without a threshold" in line and "0.000" not in line
    assert in_words(0.99997, some) == ["not sure below 0.99997"], "1.000 would say that nothing is answered"
    assert in_words(0.0001, some) == ["not sure below 0.0001"]
    _, line = in_words(0.99997, {"validation": {"coverage": 0.1}, "test": {"coverage": 0.0}})
    assert line == "nothing is answered on test: no prediction there is that sure"


def test_the_terminal_says_it(capsys):
    covered = {"n": 10, "top1": 0.9, "abstention": {"threshold": 0.0, "coverage": 1.0, "top1": 0.9}}
    show_metrics(Terminal(), "single-label", {"test": covered})
    out = capsys.readouterr().out
    assert "never not sure" in out and "below 0.000" not in out
    covered["abstention"] = {"threshold": 0.99999, "coverage": 0.0, "top1": None}
    show_metrics(Terminal(), "single-label", {"test": covered})
    out = capsys.readouterr().out
    assert "not sure below 0.99999" in out and "nothing is answered on test" in out
