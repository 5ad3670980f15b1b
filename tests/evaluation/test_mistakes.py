"""What a model got most wrong."""

import numpy as np

from tfransfer.evaluation.map2d import PCA, TSNE, flat_map
from tfransfer.evaluation.mistakes import confused_pairs, count, most_wrong

CLASSES = ("a", "b", "c")


def test_the_surest_wrong_answer_comes_first_and_right_ones_not_at_all():
    targets = np.eye(3)[[0, 0, 1, 2]]
    outputs = np.array([[0.9, 0.1, 0], [0.3, 0.6, 0.1], [0.05, 0.05, 0.9], [0.1, 0.1, 0.8]])
    found = most_wrong("single-label", targets, outputs, CLASSES)
    assert [(m.position, m.right, m.said) for m in found] == [(2, "b", "c"), (1, "a", "b")]
    assert (found[0].probability, found[0].right_probability) == (0.9, 0.05)
    assert count("single-label", targets, outputs) == 2
    assert len(most_wrong("single-label", targets, outputs, CLASSES, limit=1)) == 1


def test_of_several_classes_the_one_farthest_on_the_wrong_side_of_its_threshold_counts():
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]], float)
    outputs = np.array([[0.9, 0.4, 0.8], [0.1, 0.95, 0.9], [0.2, 0.1, 0.1]])
    found = most_wrong("multi-label", targets, outputs, CLASSES, [0.5, 0.5, 0.5])
    assert [(m.position, m.right, m.said, m.output) for m in found] == [(1, "c", "b;c", 1), (2, "a", "none", 0)]
    assert count("multi-label", targets, outputs) == 2
    assert [m.position for m in most_wrong("multi-label", targets, outputs, CLASSES, [0.5, 0.3, 0.5])] == [1, 2, 0]


def test_of_numbers_the_farthest_comes_first():
    found = most_wrong("regression", np.array([[1.0], [5], [3]]), np.array([[1.5], [1], [3]]), ("weight",))
    assert [(m.position, m.right, m.said) for m in found] == [(1, "5", "1"), (0, "1", "1.5")]
    assert count("regression", np.ones((2, 1)), np.ones((2, 1))) is None


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
