"""How far a figure can be trusted."""

import numpy as np
import pytest

from tfransfer.tasks.intervals import bootstrap, wilson
from tfransfer.tasks.reliability import bins


def test_wilson_gives_the_published_interval():
    """8 of 10: 0.490 to 0.943 (Wilson's score interval without correction)."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_wilson_stays_inside_zero_and_one_and_never_is_certain():
    assert wilson(10, 10)[1] == 1.0
    assert wilson(10, 10)[0] < 0.8
    assert wilson(0, 10)[0] == 0.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_more_examples_make_it_narrower():
    widths = [np.subtract(*reversed(wilson(9 * n, 10 * n))) for n in (1, 10, 100)]
    assert widths == sorted(widths, reverse=True)


def test_bootstrap_of_a_mean_is_that_of_the_textbook():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap(len(values), lambda drawn: float(values[drawn].mean()), rounds=1000)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_bootstrap_gives_nothing_where_there_is_no_figure():
    assert bootstrap(5, lambda drawn: None) is None
    assert bootstrap(0, lambda drawn: 1.0) is None


def test_reliability_bins_hold_every_answer_once_and_the_right_share():
    confidence = np.array([0.05, 0.55, 0.58, 1.0, 0.95])
    found = bins(confidence, np.array([0, 1, 0, 1, 1]))
    assert [b.count for b in found] == [1, 2, 2]
    assert [b.accuracy for b in found] == [0.0, 0.5, 1.0]
    assert found[1].confidence == pytest.approx(0.565)
