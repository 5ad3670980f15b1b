"""Which classes a model confuses, and the map of its features."""

import numpy as np

from tfransfer.evaluation.map2d import PCA, TSNE, flat_map
from tfransfer.evaluation.mistakes import confused_pairs

CLASSES = ("a", "b", "c")


def test_confused_pairs_leave_the_diagonal_out():
    matrix = np.array([[50, 2, 0], [7, 40, 1], [0, 0, 30]])
    assert confused_pairs(matrix, CLASSES) == [("b", "a", 7), ("a", "b", 2), ("b", "c", 1)]


def test_the_map_puts_apart_what_is_apart():
    random = np.random.default_rng(0)
    features = np.concatenate([random.normal(0, 1, (30, 50)), random.normal(9, 1, (30, 50))])
    points, method = flat_map(features)
    assert method == TSNE
    assert points.min() >= 0
    assert points.max() <= 1
    within = np.linalg.norm(points[:30] - points[:30].mean(axis=0), axis=1).max()
    assert np.linalg.norm(points[:30].mean(axis=0) - points[30:].mean(axis=0)) > within


def test_the_map_takes_few_and_equal_examples():
    points, method = flat_map(np.ones((3, 4)))
    assert method == PCA
    assert np.isfinite(points).all()
    assert flat_map(np.random.default_rng(0).normal(size=(20, 1)))[0].shape == (20, 2)
