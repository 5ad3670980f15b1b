"""Settings: validated when made, in and out of TOML."""

import pytest

from tfransfer.errors import DataNotFoundError, SettingError
from tfransfer.recipe import Augmentation, FineTunePhase, HeadPhase, Recipe, parse_setting, read_recipe, write_recipe


def test_every_setting_survives_toml(tmp_path):
    recipe = Recipe(
        base="resnet50",
        weights="w.h5",
        preprocessing="caffe",
        image_size=128,
        batch_size=7,
        seed=3,
        class_weights="balanced",
        label_smoothing=0.1,
        precision="float32",
        augment=Augmentation(False, 1.0, 0.2, 0.3, 0.4, 0.5),
        head=HeadPhase(3, 0.5, 0.1, 2, mixup=0.4),
        fine_tune=FineTunePhase(4, 0.25, "block_14", 0.3, 0.2, 0.1, 9, 0.6),
    )
    write_recipe(tmp_path / "r.toml", recipe, "tfransfer train x\ntop-1 0.9")
    assert read_recipe(tmp_path / "r.toml") == recipe
    assert (tmp_path / "r.toml").read_text().startswith("# tfransfer train x\n# top-1 0.9\n")
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_default_recipe_survives_too(tmp_path):
    write_recipe(tmp_path / "r.toml", Recipe(), "")
    assert read_recipe(tmp_path / "r.toml") == Recipe()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("head.epoch=3", "Did you mean epochs"),
        ("hed.epochs=3", "Did you mean head"),
        ("head.epochs=0", "head.epochs must be at least 1; it is 0"),
        ("head.epochs=1.5", "head.epochs must be a whole number; it is 1.5"),
        ("head.epochs=true", "whole number"),
        ("head=3", "must be a section of settings"),
        ("seed.x=3", "single setting, not a section"),
        ("seed=-1", "seed must be between"),
        ("label_smoothing=1.0", "between 0 and 0.9"),
        ("precision=fp16", "'mixed_float16'"),
        ("class_weights=even", "'balanced'"),
        ("fine_tune.unfreeze=-2", "0 or more blocks"),
        ("augment.rotate=181", "between 0 and 180"),
        ("image_size=3", "8 pixels or more"),
        ("batch_size=0", "1 or more"),
        ("head.dropout=1.0", "between 0 and 0.95"),
        ("head.learning_rate=0", "learning_rate must be between"),
        ("fine_tune.learning_rate=nan", "learning_rate must be between"),
    ],
)
def test_wrong_setting_is_named_with_what_was_expected(setting, message):
    with pytest.raises(SettingError, match=message):
        Recipe().with_settings(dict([parse_setting(setting)]))


def test_setting_on_the_command_line_is_read_as_toml_or_text():
    assert parse_setting("head.epochs=3") == ("head.epochs", 3)
    assert parse_setting("augment.flip = false") == ("augment.flip", False)
    assert parse_setting("base=resnet50") == ("base", "resnet50")
    assert parse_setting("weights=a=b.h5") == ("weights", "a=b.h5")
    with pytest.raises(SettingError, match="KEY=VALUE"):
        parse_setting("head.epochs")


def test_unfreeze_takes_a_number_in_words():
    assert FineTunePhase(unfreeze="3").unfreeze == 3
    assert FineTunePhase(unfreeze="all").unfreeze == "all"


def test_recipe_file_that_is_absent_or_no_toml_is_named(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"r\.toml does not exist"):
        read_recipe(tmp_path / "r.toml")
    with pytest.raises(SettingError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "r.toml").write_text("base = ")
    with pytest.raises(SettingError, match=r"r\.toml is not valid TOML"):
        read_recipe(tmp_path / "r.toml")
