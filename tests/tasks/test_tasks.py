"""Metrics of multi-label classification and of regression."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tfransfer.tasks import metrics
from tfransfer.tasks.task import TASKS

TARGETS = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.float32)
PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.3], [0.2, 0.2], [0.3, 0.1]], np.float32)


def test_average_precision_by_hand():
    said = metrics.multi_label(TARGETS, PROBABILITIES, ("a", "b"), np.array([0.5, 0.5]))
    assert said["per_class"]["a"]["average_precision"] == 1.0
    assert said["mean_average_precision"] == 1.0
    assert said["mean_prevalence"] == 0.5
    assert said["per_class"]["b"]["recall"] == 0.0
    assert said["micro_f1"] == pytest.approx(2 * 1 / (2 * 1 + 0 + 3))
    assert said["exact_match"] == 0.5


def test_thresholds_make_the_most_of_f1_on_what_they_are_chosen_on():
    chosen = metrics.choose_thresholds(TARGETS, PROBABILITIES)
    said = metrics.multi_label(TARGETS, PROBABILITIES, ("a", "b"), chosen)
    assert said["macro_f1"] == said["exact_match"] == 1.0
    random = np.random.default_rng(0)
    wanted, noisy = (random.random((80, 3)) < 0.3).astype(np.float32), random.random((80, 3)).astype(np.float32)
    chosen = metrics.choose_thresholds(wanted, noisy)
    for i in range(3):
        best = f1_score(wanted[:, i], noisy[:, i] >= chosen[i])
        assert best >= max(f1_score(wanted[:, i], noisy[:, i] >= t, zero_division=0) for t in np.linspace(0, 1, 41))


def test_of_equally_good_thresholds_the_middle_one_is_taken_and_it_lies_between_what_was_seen():
    """As the search over all of them, one F1 for each, chose."""
    random = np.random.default_rng(4)
    for n in (2, 5, 40, 300):
        wanted, said = random.integers(0, 2, (n, 1)), np.round(random.random((n, 1)).astype(np.float32), 2)
        wanted[:2, 0] = 0, 1
        seen = np.unique(said)
        tried = np.concatenate([[seen[0] / 2], (seen[1:] + seen[:-1]) / 2])
        scores = [f1_score(wanted[:, 0], said[:, 0] >= t, zero_division=0) for t in tried]
        best = np.flatnonzero(np.isclose(scores, max(scores)))
        assert metrics.choose_thresholds(wanted, said)[0] == tried[best[len(best) // 2]]


def test_a_class_that_never_applies_is_no_average_precision_and_no_threshold():
    wanted = TARGETS * [1, 0]
    assert metrics.choose_thresholds(wanted, PROBABILITIES)[1] == 0.5
    said = metrics.multi_label(wanted, PROBABILITIES, ("a", "b"), np.array([0.5, 0.5]))
    assert said["per_class"]["b"]["average_precision"] is None
    assert said["mean_average_precision"] == 1.0


def test_regression_by_hand():
    said = metrics.regression(np.array([[1.0], [3.0]]), np.array([[2.0], [3.0]]))
    assert said == {"n": 2, "r2": 0.5, "rmse": pytest.approx(0.5**0.5), "mae": 0.5, "bias": 0.5}


def test_regression_of_one_example_has_no_r2():
    assert metrics.regression(np.array([[1.0]]), np.array([[2.0]]))["r2"] is None


def test_tasks_are_known_without_what_takes_seconds_to_load():
    code = (
        "import sys; from tfransfer.tasks.task import TASKS; assert list(TASKS)[0] == 'single-label';"
        "assert not {'tensorflow', 'keras', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_figure_that_a_task_describes_is_one_that_it_scores(task):
    random = np.random.default_rng(0)
    targets = np.eye(7, dtype=np.float32)[np.arange(21) % 7][:, : 1 if not task.has_classes else 7]
    outputs = random.random(targets.shape).astype(np.float32)
    classes = tuple("abcdefg"[: targets.shape[1]])
    scored = task.score(targets, outputs / outputs.sum(axis=1, keepdims=True) if task.one_class else outputs, classes)
    assert {one.key for one in task.figures} <= set(scored)
    known = set(scored) - {"n", "per_class", "confusion_matrix"}
    assert known == {one.key for one in task.figures}, "nothing is scored that is never shown"
    for of_class in scored.get("per_class", {}).values():
        assert set(of_class) == {one.key for one in task.class_figures}
    assert task.class_key in {"", *(one.key for one in task.class_figures)}
