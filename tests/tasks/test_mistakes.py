"""What a model got most wrong."""

import numpy as np

from tfransfer.tasks.task import find_task

CLASSES = ("a", "b", "c")


def count(task, targets, outputs):
    wrong = find_task(task).wrong(targets, outputs)
    return None if wrong is None else wrong.sum()


def test_the_surest_wrong_answer_comes_first_and_right_ones_not_at_all():
    targets = np.eye(3)[[0, 0, 1, 2]]
    outputs = np.array([[0.9, 0.1, 0], [0.3, 0.6, 0.1], [0.05, 0.05, 0.9], [0.1, 0.1, 0.8]])
    found = find_task("single-label").most_wrong(targets, outputs, CLASSES)
    assert [(m.position, m.target, m.predicted) for m in found] == [(2, "b", "c"), (1, "a", "b")]
    assert (found[0].probability, found[0].target_probability) == (0.9, 0.05)
    assert count("single-label", targets, outputs) == 2
    assert len(find_task("single-label").most_wrong(targets, outputs, CLASSES, limit=1)) == 1


def test_of_several_classes_the_one_farthest_on_the_wrong_side_of_its_threshold_counts():
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]], float)
    outputs = np.array([[0.9, 0.4, 0.8], [0.1, 0.95, 0.9], [0.2, 0.1, 0.1]])
    found = find_task("multi-label").most_wrong(targets, outputs, CLASSES, [0.5, 0.5, 0.5])
    assert [(m.position, m.target, m.predicted, m.output) for m in found] == [(1, "c", "b;c", 1), (2, "a", "none", 0)]
    assert count("multi-label", targets, outputs) == 2
    assert [m.position for m in find_task("multi-label").most_wrong(targets, outputs, CLASSES, [0.5, 0.3, 0.5])] == [
        1,
        2,
        0,
    ]


def test_of_numbers_the_farthest_comes_first():
    found = find_task("regression").most_wrong(np.array([[1.0], [5], [3]]), np.array([[1.5], [1], [3]]), ("weight",))
    assert [(m.position, m.target, m.predicted) for m in found] == [(1, "5", "1"), (0, "1", "1.5")]
    assert count("regression", np.ones((2, 1)), np.ones((2, 1))) is None
