"""The head's cross-validated figure, and intervals beside every headline."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from small_world import colour_dataset, colour_folder, recipe, tiny_base, tiny_model

import tfransfer
from tfransfer.data.loading import load_data
from tfransfer.display.progress import quiet, silent
from tfransfer.runs import job
from tfransfer.runs.cross_validation import cross_validate_head, is_needed
from tfransfer.tasks.multi_label import MultiLabel
from tfransfer.tasks.regression import Regression
from tfransfer.tasks.single_label import SingleLabel
from tfransfer.tasks.task import CROSS_VALIDATED

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_it_is_given_where_the_test_split_is_small(tmp_path):
    dataset = colour_dataset(tmp_path / "data")
    assert is_needed(dataset, recipe())
    assert not is_needed(dataset, recipe(cross_validate=False))
    assert not is_needed(dataset, recipe(features__cache=False))


def test_it_covers_every_example_once_and_is_the_same_again(tmp_path):
    dataset = colour_dataset(tmp_path / "data")
    one, two = (cross_validate_head(dataset, tiny_base(), recipe(), quiet, silent) for _ in range(2))
    assert one == two
    assert one["n"] == len(dataset.examples) == 72
    assert one["folds"] == 5
    assert one["interval"][0] < one["top1"] < one["interval"][1] <= 1 or one["top1"] == 1
    assert one["top1"] > 0.5  # colours are told apart by any features


def test_examples_that_belong_together_are_never_on_both_sides(tmp_path, monkeypatch):
    for picture in list(colour_folder(tmp_path / "data", per_class=8).rglob("*.png")):
        for number in range(3):
            shutil.copy(picture, picture.with_name(f"copy {number} {picture.name}"))
    dataset = load_data(tmp_path / "data")
    assert len(dataset.examples) == 4 * len({e.content for e in dataset.examples}) == 96
    seen = []

    def watch(self, features, targets, held_out):
        seen.append({tuple(row) for row in features} & {tuple(row) for row in held_out})
        return np.full((len(held_out), targets.shape[1]), 1 / targets.shape[1])

    monkeypatch.setattr(SingleLabel, "linear_outputs", watch)
    cross_validate_head(dataset, tiny_base(), recipe(), quiet, silent)
    assert seen and not any(seen)


def test_each_task_has_a_head_that_learns_what_is_linear():
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 8))
    score = features @ random.normal(size=(8, 3))
    one_hot = np.eye(3)[score.argmax(axis=1)].astype(np.float32)
    several, numbers = (score > 0).astype(np.float32), score[:, :1].astype(np.float32)
    for task, targets in ((SingleLabel(), one_hot), (MultiLabel(), several), (Regression(), numbers)):
        outputs = task.linear_outputs(features[:150], targets[:150], features[150:])
        scored = task.score(targets[150:], outputs, ("a", "b", "c"))
        assert scored[task.main.key] > 0.6


def test_a_class_that_a_fold_lacks_is_no_error():
    features, targets = np.eye(4), np.eye(3, dtype=np.float32)[[0, 0, 0, 0]]
    assert SingleLabel().linear_outputs(features, targets, features).argmax(axis=1).tolist() == [0] * 4
    assert MultiLabel().linear_outputs(features, targets, features).shape == (4, 3)


def check_figures_come_with_their_size(tmp_path, command):
    """Law 12: every accuracy names its split and n, has an interval, and a cross-validated one if n is small."""
    run = tfransfer.train(
        colour_dataset(tmp_path / "data"), tiny_model(), preprocessing="tf", out=tmp_path / "run", head_epochs=1,
        fine_tune_epochs=0, engine="keras", exports=(),
    )  # fmt: skip
    assert run.metrics["test"][CROSS_VALIDATED]["n"] == 72
    assert CROSS_VALIDATED not in run.metrics["validation"]
    low, high = run.metrics["test"]["interval"]
    assert 0 <= low <= run.metrics["test"]["top1"] <= high <= 1
    assert run.evaluate() == run.metrics
    words = "cross-validated over all 72, the head alone (before fine-tuning) reaches top-1"
    assert words in (run.folder / "report.html").read_text()
    code, shown, _ = command("evaluate", run.folder)
    assert code == 0
    assert words in " ".join(shown.split())
    (header,) = [line for line in shown.splitlines() if line.startswith("split")]
    assert header.split()[:5] == ["split", "examples", "top-1", "95%", "interval"]


@pytest.mark.law
def test_law_12_a_figure_comes_with_its_size(tmp_path, command):
    check_figures_come_with_their_size(tmp_path, command)


@pytest.mark.slow
@pytest.mark.law
@pytest.mark.parametrize("change", ["no cross-validation", "no interval"])
def test_law_12_breaks_without_cross_validation_or_interval(tmp_path, command, monkeypatch, change):
    if change == "no interval":
        monkeypatch.setattr(SingleLabel, "interval", lambda *given: None)
    else:
        monkeypatch.setattr(job, "is_needed", lambda *given: False)
    with pytest.raises((AssertionError, KeyError, TypeError)):
        check_figures_come_with_their_size(tmp_path, command)


@pytest.mark.parametrize("engine", ["litert", pytest.param("keras", marks=pytest.mark.slow)])
def test_training_and_cross_validation_extract_nothing_twice(engine, tmp_path):
    extracted = []

    @contextmanager
    def progress(title, total, unit):
        extracted.append(total if title == "extracting features" else 0)
        yield lambda count, **values: None

    run = tfransfer.train(
        colour_folder(tmp_path / "data", size=40), "mini", image_size=32, engine=engine, views=2, head_epochs=2,
        fine_tune_epochs=0, exports=[], out=tmp_path / "run", progress=progress,
    )  # fmt: skip
    assert run.manifest.features.head, "features are cached"
    sizes = run.manifest.data.sizes
    assert sum(extracted) == 2 * sizes["train"] + sizes["validation"] + sizes["test"]
