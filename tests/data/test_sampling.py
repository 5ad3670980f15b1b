"""Which examples stand for a split."""

import numpy as np

from tfransfer.data.sampling import evenly_by_class, spread_over


def test_positions_are_spread_from_the_first_to_the_last():
    assert spread_over(9, 3).tolist() == [0, 4, 8]
    assert spread_over(3, 600).tolist() == [0, 1, 2]
    assert spread_over(0, 600).tolist() == []
    assert len(spread_over(6_000, 600)) == 600


def test_each_class_has_its_turn():
    classes = np.repeat([0, 1, 2], [100, 10, 2])
    chosen = evenly_by_class(classes, 12)
    assert np.bincount(classes[chosen]).tolist() == [5, 5, 2]
    assert len(set(chosen.tolist())) == 12
    assert evenly_by_class(classes, 12).tolist() == chosen.tolist()


def test_fewer_than_asked_for_are_all_taken():
    assert sorted(evenly_by_class(np.array([1, 0, 1]), 200).tolist()) == [0, 1, 2]
