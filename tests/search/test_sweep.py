"""`tfransfer sweep` and `tfransfer.sweep`."""

import csv
import json
from dataclasses import replace

import pytest

from tfransfer.cli.sweep import train_command
from tfransfer.errors import RunExistsError, SettingError, WeightsNotFoundError
from tfransfer.recipe import Recipe, read_recipe
from tfransfer.search import sweep as sweeps
from tfransfer.search import trial
from tfransfer.search.sweep import named_base, sweep
from tfransfer.search.trial import Combination

QUICK = {"head_epochs": 2, "fine_tune_epochs": 1, "image_size": 32, "batch_size": 8, "engine": "keras"}


def swept(dataset, place, **options):
    chosen = {"bases": ["mini"], "unfreeze": [0, 1], "learning_rates": [1e-3]} | QUICK | options
    return sweep(dataset, out=place, **chosen)


def rows_of(place):
    with (place / "sweep.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def key_of(row):
    return str(row["unfreeze"]), str(row["learning_rate"] or "")


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """A sweep that was never stopped."""
    return swept(dataset, tmp_path_factory.mktemp("sweeps") / "whole")


def test_a_row_for_each_combination_the_best_first(whole):
    found = rows_of(whole.folder)
    assert sorted(map(key_of, found)) == [("0", ""), ("1", "0.001")]
    ranks = [(-float(row["validation_top1"]), float(row["validation_loss"])) for row in found]
    assert ranks == sorted(ranks)
    assert list(map(key_of, found)) == list(map(key_of, whole.rows))
    assert (whole.folder / "sweep.png").read_bytes()[1:4] == b"PNG"


def test_no_figure_and_no_file_is_of_test_data(whole):
    files = {path.name for path in (whole.folder / "trials").rglob("*") if path.is_file()}
    assert not files & {"metrics.json", "model.keras", "answers.npz", "report.html", "state.npz"}
    assert not [column for row in whole.rows for column in row if "test" in column]


def test_test_data_chooses_nothing(dataset, whole, tmp_path):
    lost = tuple(replace(e, path="not there.png", label=0) if e.split == "test" else e for e in dataset.examples)
    found = swept(replace(dataset, examples=lost), tmp_path / "sweep")
    timeless = [[row | {"seconds": 0} for row in one.rows] for one in (found, whole)]
    assert timeless[0] == timeless[1]


def test_the_best_ones_recipe_is_what_was_trained(whole):
    name = Combination(whole.best["base"], None, whole.best["unfreeze"], whole.best["learning_rate"]).name
    assert read_recipe(whole.folder / "trials" / name / "recipe.toml") == whole.recipe
    assert read_recipe(whole.folder / "best.toml") == whole.recipe


@pytest.mark.slow
def test_killed_after_the_first_row_it_goes_on_and_ends_as_if_never_stopped(dataset, whole, tmp_path, monkeypatch):
    place, began, trained = tmp_path / "sweep", [], trial.Trial._train

    def killed_in_the_second(self, *arguments):
        began.append(self.place.name)
        if len(began) == 2:
            raise KeyboardInterrupt
        return trained(self, *arguments)

    monkeypatch.setattr(trial.Trial, "_train", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        swept(dataset, place)
    assert list(map(key_of, rows_of(place))) == [("0", "")]
    again = swept(dataset, place, resume=True)
    assert began == ["mini_0", "mini_1_0.001", "mini_1_0.001"]
    assert [row | {"seconds": 0} for row in again.rows] == [row | {"seconds": 0} for row in whole.rows]


@pytest.mark.slow
def test_a_sweep_that_goes_on_may_be_larger_and_keeps_its_settings(dataset, tmp_path, monkeypatch):
    place, began, trained = tmp_path / "sweep", [], trial.Trial._train

    def noted(self, *arguments):
        began.append(self.place.name)
        return trained(self, *arguments)

    monkeypatch.setattr(trial.Trial, "_train", noted)
    swept(dataset, place, unfreeze=[0])
    with pytest.raises(RunExistsError, match="Give resume=True to resume it"):
        swept(dataset, place)
    with pytest.raises(SettingError, match="has other settings"):
        swept(dataset, place, resume=True, head_epochs=3)
    found = swept(dataset, place, learning_rates=[1e-3, 1e-2], resume=True)
    assert began == ["mini_0", "mini_1_0.001", "mini_1_0.01"]
    assert len(found.rows) == 3


def test_a_base_whose_weights_cannot_be_had_is_left_out_with_a_warning(dataset, tmp_path, monkeypatch):
    said, taken, build = [], [], named_base

    def without_network(recipe, precision, say):
        if recipe.base == "vgg16":
            raise WeightsNotFoundError("the weights of vgg16 are not here.")
        return build(recipe, precision, say)

    monkeypatch.setattr(sweeps, "named_base", without_network)
    monkeypatch.setattr(sweeps, "_run", lambda trials, *rest: taken.extend(trials))
    swept(dataset, tmp_path / "a", bases=["vgg16", "mini"], say=said.append)
    assert {one.base for one in taken} == {"mini"}
    assert "warning: skipping vgg16: the weights of vgg16 are not here." in said
    with pytest.raises(WeightsNotFoundError, match="no base can be trained"):
        swept(dataset, tmp_path / "b", bases=["vgg16"])


def test_unsaid_depths_and_rates_lie_around_the_defaults(dataset, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(sweeps, "_run", lambda trials, *rest: taken.extend(trials))
    sweep(dataset, bases=["mini"], out=tmp_path / "sweep", image_size=32)
    assert [one.unfreeze for one in taken[::3]] == [4, 8, 16]
    assert len(taken) == 9
    rates = [one.learning_rate for one in taken[:3]]
    assert rates[1] / rates[0] == pytest.approx(3, rel=0.05)
    assert rates[2] / rates[1] == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bases", "mini,mobilnet_v2"], "did you mean mobilenet_v2?"),
        (["--learning-rates", "1e-3,fast"], "--learning-rates expects comma-separated numbers"),
        (["--learning-rates", "-1"], "a learning rate must be above 0"),
        (["--bases", "mini,mobilenet_v2", "--weights", "x.h5"], "pass BASE=FILE for each"),
        (["--weights", "x.h5", "--weights", "y.h5"], "several --weights must each be BASE=FILE"),
        (["--weights", "vgg16=x.h5"], "not among the bases"),
        (["--set", "head.epoch=3"], "Did you mean epochs?"),
        (["--fine-tune-epochs", "0"], "--fine-tune-epochs"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_hint(command, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, shown, elsewhere = command("sweep", "digits", *words)
    assert (code, shown) == (2, "")
    assert message in elsewhere
    assert not list(tmp_path.iterdir())


def test_a_depth_that_a_base_has_not_is_said_before_anything_is_trained(dataset, tmp_path):
    with pytest.raises(SettingError, match="mini: this base has 17 blocks; 40 cannot be unfrozen"):
        swept(dataset, tmp_path / "sweep", unfreeze=[0, 40])
    assert not (tmp_path / "sweep").exists()


def test_the_command_gives_a_table_and_the_command_that_trains_the_best(command, colour_photos, tmp_path):
    place = tmp_path / "sweep"
    code, shown, elsewhere = command(
        "sweep", colour_photos, "--bases", "mini", "--unfreeze", "0", "--head-epochs", 1, "--image-size", 32,
        "--split-seed", 3, "--out", place, "--json",
    )  # fmt: skip
    assert code == 0
    said = json.loads(shown)
    best = place / "best.toml"
    assert said["command"] == f"tfransfer train {colour_photos} --recipe {best} --split-seed 3"
    assert [row["unfreeze"] for row in said["rows"]] == [0]
    assert "on validation, best first" in elsewhere


def test_the_training_command_reads_the_data_as_the_sweep_did(tmp_path):
    options = {"separator": "|", "splits_": ("train=train[:80%]",), "splits_file": None, "split_seed": 0}
    said = train_command("tfds:x", tmp_path, options)
    assert said == f"tfransfer train tfds:x --recipe {tmp_path} --separator '|' --split 'train=train[:80%]'"


def test_each_combination_has_a_folder_of_its_own():
    bases = ("mini", "https://tfhub.dev/a/b", "https://tfhub.dev/a-b", "../mini")
    names = {Combination(b, None, depth, rate).name for b in bases for depth in (1, "all") for rate in (1e-3, 1e-5)}
    assert len(names) == 16
    assert all("/" not in name and not name.startswith(".") for name in names)


def test_the_head_alone_takes_no_fine_tuning():
    made = Combination("mini", None, 0, None).recipe(Recipe().with_settings({"fine_tune.epochs": 5}))
    assert (made.fine_tune.epochs, made.fine_tune.unfreeze) == (0, 0)
