"""A further task is one class: ordinal grades, from a table to exported files and the report, with no other edit."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from small_world import COLOURS, recipe, tiny_model

import tfransfer as tr
from tfransfer.errors import ExportError, SettingError
from tfransfer.exports.formats import find_format
from tfransfer.exports.model_card import model_card
from tfransfer.exports.parity import compare
from tfransfer.tasks.figure import Figure
from tfransfer.tasks.single_label import SingleLabel
from tfransfer.tasks.task import TASKS, find_task, register

KAPPA = Figure("kappa", "quadratic kappa")


class Grades(SingleLabel):
    """Classes with an order: a near grade is a smaller mistake than a far one."""

    name = "grades"
    figures = (KAPPA, Figure("grades_off", "mean error in grades"), Figure("top1", "top-1", share=True))
    epoch_figure = Figure("closeness", "closeness")
    same_title = "same grade"
    answer = "the probability of each grade, from the lowest to the highest"
    mistakes_title = "Most grades off"

    def loss(self, label_smoothing):
        """Ranked probability score: the squared distance of the cumulative distributions."""
        import keras

        def ranked_probability_score(targets, outputs):
            apart = keras.ops.cumsum(targets, axis=-1) - keras.ops.cumsum(outputs, axis=-1)
            return keras.ops.sum(keras.ops.square(apart), axis=-1)

        return ranked_probability_score

    def metrics(self):
        """1 where every grade is right, 0 where each is off by the whole scale."""
        import keras

        def closeness(targets, outputs):
            apart = keras.ops.argmax(targets, axis=-1) - keras.ops.argmax(outputs, axis=-1)
            return 1 - keras.ops.abs(keras.ops.cast(apart, "float32")) / (targets.shape[-1] - 1)

        return [keras.metrics.MeanMetricWrapper(closeness, name=self.headline)]

    def score(self, targets, outputs, classes, thresholds=None):
        right, said = targets.argmax(axis=1), outputs.argmax(axis=1)
        own = {"kappa": self.drawn_figure(targets, outputs), "grades_off": float(np.abs(right - said).mean())}
        return super().score(targets, outputs, classes) | own

    def drawn_figure(self, targets, outputs):
        right, said = targets.argmax(axis=1), outputs.argmax(axis=1)
        if len({*right, *said}) < 2:
            return None  # undefined where all are one grade
        return float(cohen_kappa_score(right, said, weights="quadratic", labels=range(targets.shape[1])))

    def numbers(self, targets, outputs):
        grades = np.arange(targets.shape[1])
        return targets @ grades, outputs @ grades

    def same(self, answer, expected):
        """Half a grade apart is the same; what a file may differ by is up to the task."""
        grades = np.arange(expected.shape[1])
        return np.abs(answer @ grades - expected @ grades) < 0.5

    def aim(self, classes):
        return f"to grade from {classes[0]} to {classes[-1]}"

    def in_words(self, classes):
        return f"{len(classes)} grades"

    def headline_words(self, n, split, noun):
        return f"{self.main.title} over {n} {split} {noun}"


@pytest.fixture(scope="module", autouse=True)
def grades():
    register(Grades())
    yield find_task("grades")
    del TASKS["grades"]


@pytest.fixture(scope="module")
def table(colour_photos):
    """Colours as grades from 8 to 10, whose order is that of numbers, not of letters; a quarter is graded one off."""
    path = colour_photos / "grades.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        for grade, colour in enumerate(COLOURS, start=8):
            for number, photo in enumerate(sorted((colour_photos / colour).iterdir())):
                writer.writerow([f"{colour}/{photo.name}", grade if number % 4 else min(grade + 1, 9)])
    return path


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    said = []
    data = tr.load_data(table, task="grades")
    made = tr.train(
        data, tiny_model(dropout=0.1), preprocessing="tf", recipe=recipe(head__learning_rate=0.02, head__epochs=12),
        out=tmp_path_factory.mktemp("graded") / "run", exports=["savedmodel", "tflite"], say=said.append,
    )  # fmt: skip
    assert not [line for line in said if "warning" in line], said
    assert any(line.startswith("data: 3 grades; train") for line in said), said
    return made


def test_its_data_is_read_in_order_and_names_itself(table):
    data = tr.load_data(table, task="grades")
    assert data.classes == ("8", "9", "10")
    assert "3 grades" in repr(data)
    assert {e.label for e in data.split("train")} == {0, 1, 2}, "each grade is in train, as for classes"


def test_it_trains_with_its_own_loss_and_metric_and_is_scored_by_its_own_figures(run):
    assert run.manifest["task"] == "grades"
    assert {"closeness", "val_closeness", "loss"} <= set(run.history[0])
    assert "top1" not in run.history[0]
    kept = run.manifest["phases"][run.manifest["kept"]]
    assert 0 <= kept["validation"]["closeness"] <= 1
    test = run.metrics["test"]
    assert -1 <= test["kappa"] <= 1
    assert 0 <= test["grades_off"] <= 2
    assert f"test quadratic kappa {test['kappa']:.3f}" in repr(run)


def test_it_is_evaluated_again_with_the_same_result_by_a_run_from_its_folder(run, command):
    again = tr.load_run(run.folder)
    assert again.evaluate() == run.metrics
    code, shown, errors = command("evaluate", run.folder)
    assert code == 0, errors
    assert "quadratic kappa" in shown
    assert "mean error in grades" in shown
    assert again.predict(run.data.path_of(run.data.split("test")[0])).label in run.classes


def test_its_files_are_compared_its_way_and_judged_by_its_headline(run, grades):
    exports = run.manifest["exports"]
    assert set(exports) == {"keras", "savedmodel", "tflite"}
    for name in ("savedmodel", "tflite"):
        assert exports[name]["top1_agreeing"] == exports[name]["pictures_compared"] > 0
        assert abs(exports[name]["kappa"] - run.metrics["validation"]["kappa"]) < 0.05
    expected = np.array([[0.2, 0.41, 0.39], [1, 0, 0]], np.float32)
    nearly = np.array([[0.2, 0.39, 0.41], [1, 0, 0]], np.float32)  # another likeliest class, the same grade
    said = {"first": nearly, "second": nearly}
    assert compare(find_format("tflite-int8"), "m", said, expected, "abc", grades).agreeing == 2
    with pytest.raises(ExportError, match="agrees with the model on 50%"):
        compare(find_format("tflite-int8"), "m", said, expected, "abc")


def test_its_words_and_figures_are_in_the_report_the_model_card_and_the_table_of_exports(run, command):
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "trained to grade from 8 to 10" in page
    assert f"quadratic kappa over {run.metrics['test']['n']} test photos" in page
    assert "95% interval: " in page
    assert "mean error in grades" in page
    assert "Predicted over true values" in page
    assert "Curves of closeness" in page
    assert "Most grades off" in page
    card = model_card(run.manifest.to_dict(), run.metrics, run.manifest["exports"])
    assert "quadratic kappa" in card
    assert "the probability of each grade" in card
    code, shown, errors = command("export", run.folder, "--to", "tflite")
    assert code == 0, errors
    assert "same grade" in shown
    assert "quadratic kappa" in shown


def test_plain_values_of_a_run_name_the_task(run):
    assert json.loads((run.folder / "manifest.json").read_text())["task"] == "grades"


def test_two_tasks_cannot_have_one_name_and_an_unknown_one_is_answered_with_a_hint():
    with pytest.raises(SettingError, match="a task 'grades' is already registered"):
        register(Grades())
    with pytest.raises(SettingError, match="Did you mean grades"):
        find_task("grade")
