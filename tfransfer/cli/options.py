"""Options that several commands share, and the settings of `train`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfransfer.base.records import BUILT_IN, DEFAULT, WORDS
from tfransfer.errors import SettingError
from tfransfer.system.files import user_path
from tfransfer.tasks.task import TASKS


class _UserPath(click.Path):
    """A path in which `~` is the home folder, also where the shell leaves it, as in `--out=~/run`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return user_path(Path(os.fsdecode(super().convert(value, param, ctx))))


PATH = _UserPath(path_type=Path)
TRUST = click.option("--trust", is_flag=True, help="Also load a model from another machine that contains a TF-Hub "
                     "module. It is a program: only if you trust its author.")  # fmt: skip
BASE = click.option("--base", metavar="NAME", help="Pretrained network: a name from `tfransfer bases`, a TF-Hub "
                    f"module or kerashub:PRESET. [default: {DEFAULT}; texts: {WORDS}; digits: {BUILT_IN}]",
                    )  # fmt: skip
WEIGHTS = click.option("--weights", metavar="FILE|random", help="Weights file of the base (.h5, .keras), or random for "
                       f"no pretraining. [default: Keras downloads them once; {BUILT_IN} has its own]")  # fmt: skip
IMAGE_SIZE = click.option("--image-size", metavar="PIXELS", type=int, help="Side of the model's square input in "
                          "pixels. [default: the base's own, as in `tfransfer bases`]")  # fmt: skip
RECIPE = click.option("--recipe", "recipe_file", type=PATH, metavar="FILE", help="Settings from a TOML file, e.g. the "
                      "recipe.toml of another run. Other options override it.")  # fmt: skip
SET = click.option("--set", "set_", metavar="KEY=VALUE", multiple=True, help="One setting, named as in a run's "
                   "recipe.toml, e.g. fine_tune.mixup=0.2. May be repeated.")  # fmt: skip
HEAD_EPOCHS = click.option("--head-epochs", type=int, help="Maximum epochs of the first phase, which trains the head. "
                           "[default: 5 to 20, from the size of the data]")  # fmt: skip
FINE_TUNE_EPOCHS = ("Maximum epochs of the second phase, fine-tuning{}. [default: 5 to 80, from the base and the size "
                    "of the data]")  # fmt: skip
SEED = click.option("--seed", type=int, help="Random seed of the order of examples, augmentation, dropout and the "
                    "head's first weights. [default: 0]")  # fmt: skip
SPLIT_SEED = click.option("--split-seed", type=int, default=0, help="Random seed of the split into train, validation "
                          "and test. [default: 0]")  # fmt: skip
SPLITS = click.option("--splits", "splits_file", type=PATH, metavar="FILE", help="Take the splits from this file: the "
                      "splits.csv of a run, or the output of `check --fix`.")  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the settings of `train`; their defaults are in Recipe."""
    options = [
        BASE,
        WEIGHTS,
        RECIPE,
        SET,
        IMAGE_SIZE,
        click.option("--batch-size", type=int, help="Images or texts per step, over all devices. [default: 4 to 32 "
                     "per device, from the size of the data]"),
        HEAD_EPOCHS,
        click.option("--fine-tune-epochs", type=int, help=FINE_TUNE_EPOCHS.format("; 0 skips it")),
        click.option("--unfreeze", metavar="N|NAME|all|none", help="How many of the base's top blocks to fine-tune, or "
                     "the lowest one's name. [default: a sixth of them; more for the built-in bases]"),
        click.option("--head", type=click.Choice(["adam", "linear-probe"]), help="Train the head in epochs (adam), or "
                     "fit a logistic regression on cached features (linear-probe, single-label only). [default: adam]"),
        click.option("--cache/--no-cache", default=None, help="Run the frozen layers once and cache their outputs on "
                     "disk, or run them in every step. [default: --cache]"),
        click.option("--views", type=int, help="Cached views per training image, the first one clean and the others "
                     "augmented. [default: 2 to 8, from the size of the data]"),
        click.option("--class-weights", type=click.Choice(["none", "balanced"]), help="balanced: examples of rare "
                     "classes count more in training (single-label only). [default: none]"),
        SEED,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


READING = (
    "path_column", "text_column", "label_column", "split_column", "group_column", "separator", "task", "data_dir",
    "splits_", "missing_labels", "read_as",
)  # fmt: skip


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for DATA that is a table or from TensorFlow Datasets."""
    options = [
        click.option("--path-column", metavar="NAME", help="Tables: column of image paths, relative to the table. "
                     "Without a header, its number from 1. [default: path, file_name or similar]"),
        click.option("--text-column", metavar="NAME", help="Tables: column of texts. "
                     "[default: text, sentence or similar]"),
        click.option("--label-column", metavar="NAME[,NAME]", help="Tables: column of labels, or several "
                     "columns of 0 and 1. [default: label, class or similar]"),
        click.option("--split-column", metavar="NAME", help="Tables: column that says train, validation or test. "
                     "[default: split or subset, if there is one]"),
        click.option("--group-column", metavar="NAME", help="Column of groups, e.g. the person in each photo; each "
                     "group stays in one split. For a folder, a column of DATA/metadata.csv."),
        click.option("--separator", default=";", help="Tables: text between several classes in one cell. "
                     "[default: ; or another that clearly separates them]"),
        click.option("--task", type=click.Choice(TASKS), help="Tables: predict one class, all classes that apply, or "
                     "a number. [default: inferred from the labels]"),
        click.option("--missing-labels", metavar="WORD[,WORD]", help="Tables: words that mean 'no label', besides "
                     "empty cells; '' if there are none. [default: na, n/a, none and null, unless frequent]"),
        click.option("--source", "read_as", type=click.Choice(["folder", "table"]), help="What to read if DATA has "
                     "class folders and tables. [default: folder, unless the tables list its images]"),
        click.option("--data-dir", type=PATH, metavar="FOLDER", help="tfds:NAME: folder with prepared data. "
                     "[default: that of TensorFlow Datasets]"),
        click.option("--split", "splits_", multiple=True, metavar="NAME=SPLIT",
                     help="tfds:NAME: what to read as train, validation or test, e.g. 'train=train[:80%]'. May be "
                     "repeated."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def split_choices(given: tuple[str, ...]) -> dict[str, str] | None:
    """Parse `--split train=train[:80%]`."""
    for one in given:
        if "=" not in one:
            raise SettingError(f"--split expects NAME=SPLIT, for example 'train=train[:80%]'; got {one!r}.")
    return dict((part.strip() for part in one.split("=", 1)) for one in given) or None  # type: ignore[misc]


def numbers(text: str | None, option: str) -> list[float] | None:
    """Parse `1e-4,3e-4`; None if the option was not given.

    Raises:
        SettingError: A part is not a number.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingError(f"{option} expects comma-separated numbers, for example 1e-4,3e-4; got {text!r}.") from error
