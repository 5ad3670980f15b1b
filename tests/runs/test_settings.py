"""Settings as they are given to `train`: short names, dicts, files."""

import dataclasses
import inspect
import re

import pytest

import tfransfer as tr
from tfransfer.errors import SettingError
from tfransfer.recipe import HeadPhase, Recipe, read_recipe, write_recipe
from tfransfer.runs.settings import make_recipe


def test_a_recipe_may_be_a_dict_of_settings():
    by_dict = make_recipe({"head": {"epochs": 3}, "fine_tune.mixup": 0.1, "unfreeze": 2}, {"seed": 4})
    assert (by_dict.head, by_dict.fine_tune.mixup) == (HeadPhase(epochs=3), 0.1)
    assert (by_dict.fine_tune.unfreeze, by_dict.seed) == (2, 4)
    assert make_recipe({"seed": 1}, {"seed": 4}).seed == 4
    with pytest.raises(SettingError, match=r"unknown setting 'sed'.*Did you mean seed"):
        make_recipe({"sed": 1}, {})


def test_a_recipe_may_be_a_file(tmp_path):
    write_recipe(tmp_path / "r.toml", Recipe(seed=7), "")
    assert make_recipe(str(tmp_path / "r.toml"), {}).seed == make_recipe(tmp_path / "r.toml", {}).seed == 7
    with pytest.raises(SettingError, match="recipe must be a Recipe, a dict of settings or the path of a TOML file"):
        make_recipe(3, {})


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("epochs", "head_epochs and fine_tune_epochs"),
        ("learning_rate", "head.learning_rate.*fine_tune.learning_rate"),
        ("patience", "head.patience.*fine_tune.patience"),
        ("mixup", "head.mixup.*fine_tune.mixup"),
        ("dropout", "head.dropout"),
    ],
)
def test_settings_that_a_phase_has_are_answered_with_their_names(name, remedy):
    with pytest.raises(SettingError, match=remedy):
        make_recipe(None, {name: 3})


def test_class_weights_may_be_numbers_by_name_or_index_and_are_read_back(tmp_path):
    for given in ({"cat": 2, "dog": 0.5}, {0: 2.0, 1: 0.5}):
        made = make_recipe(None, {"class_weights": given})
        write_recipe(tmp_path / "r.toml", made, "")
        assert read_recipe(tmp_path / "r.toml") == made
    with pytest.raises(SettingError, match=r"class_weights.*0 or more"):
        make_recipe(None, {"class_weights": {"cat": -1.0}})
    with pytest.raises(SettingError, match="class_weights must be 'none' or 'balanced' or"):
        make_recipe(None, {"class_weights": {"cat": "much"}})


@pytest.mark.parametrize("function", ["train", "sweep", "find_learning_rate"])
def test_help_lists_every_setting_with_its_short_name_and_meaning(function):
    text = inspect.getdoc(getattr(tr, function))
    listed = dict(re.findall(r"(?m)^ +(\w+): (.+)$", text.partition("\nSettings")[2]))
    assert listed["head_epochs"] == "Passes over the training split; None lets `hyperrules` decide. (head.epochs)"
    assert listed["seed"].startswith("Of the order, augmentation, dropout")
    assert "(fine_tune.unfreeze)" in listed["unfreeze"]
    for name in listed:
        make_recipe(None, {name: None})  # known
    sections = {"head", "fine_tune", "augment", "features"}
    assert set(listed) >= {part.name for part in dataclasses.fields(Recipe)} - sections
    assert text.startswith(inspect.getdoc(getattr(tr, function)).splitlines()[0])
