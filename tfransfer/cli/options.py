"""Options that several commands share, and the settings of `train`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfransfer.base.records import DEFAULT
from tfransfer.errors import SettingError
from tfransfer.system.files import user_path
from tfransfer.tasks.task import TASKS


class _UserPath(click.Path):
    """A path in which `~` is the home folder, also where the shell leaves it, as in `--out=~/run`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return user_path(Path(os.fsdecode(super().convert(value, param, ctx))))


PATH = _UserPath(path_type=Path)
TRUST = click.option("--trust", is_flag=True, help="Load a model that contains a TF-Hub module, which is a program.")
BASE = click.option("--base", help=f"Pretrained base; `tfransfer bases` lists them. [default: {DEFAULT}]")
WEIGHTS = click.option("--weights", metavar="FILE|random", help="The base's weights, instead of Keras's download.")
IMAGE_SIZE = click.option(
    "--image-size", type=int, help="Side of the model's input in pixels. [default: the base's own]"
)
RECIPE = click.option("--recipe", "recipe_file", type=PATH, help="Settings from a TOML file.")
SET = click.option("--set", "set_", metavar="KEY=VALUE", multiple=True, help="One setting, e.g. fine_tune.mixup=0.2.")
SPLIT_SEED = click.option("--split-seed", type=int, default=0, help="Seed of the split's hash. [default: 0]")
SPLITS = click.option("--splits", "splits_file", type=PATH, metavar="FILE", help="Use a recorded splits.csv.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the settings of `train`; their defaults are in Recipe."""
    options = [
        BASE,
        WEIGHTS,
        RECIPE,
        SET,
        IMAGE_SIZE,
        click.option("--batch-size", type=int, help="Images per step. [default: from the size of the data]"),
        click.option("--head-epochs", type=int, help="Epochs of the first phase. [default: from the size of the data]"),
        click.option("--fine-tune-epochs", type=int, help="Epochs of the second phase; 0 skips it."),
        click.option("--unfreeze", metavar="N|NAME|all|none", help="Top blocks to fine-tune. [default: a sixth]"),
        click.option("--head", type=click.Choice(["adam", "linear-probe"]), help="How the head is trained."),
        click.option("--cache/--no-cache", default=None, help="Cache the frozen layers' outputs. [default: --cache]"),
        click.option("--views", type=int, help="Cached views per training image. [default: from the data's size]"),
        click.option("--class-weights", type=click.Choice(["none", "balanced"]), help="For imbalanced classes."),
        click.option("--seed", type=int, help="Seed of order, augmentation, dropout and the head. [default: 0]"),
    ]
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
        click.option("--path-column", metavar="NAME", help="Tables: column of image paths, relative to the table."),
        click.option("--text-column", metavar="NAME", help="Tables: column of texts."),
        click.option("--label-column", metavar="NAME[,NAME]", help="Tables: column of labels, or several 0/1 columns."),
        click.option("--split-column", metavar="NAME", help="Tables: column with train, validation or test."),
        click.option("--group-column", metavar="NAME", help="Column of groups; each stays in one split. For a "
                     "folder, in DATA/metadata.csv."),
        click.option("--separator", default=";", help="Separates several classes in one cell. [default: ;]"),
        click.option("--task", type=click.Choice(TASKS), help="Tables: what to predict. [default: from the labels]"),
        click.option("--missing-labels", metavar="WORD[,WORD]", help="Tables: words that mean 'no label'."),
        click.option("--source", "read_as", type=click.Choice(["folder", "table"]), help="Which to read, where DATA "
                     "has class folders and tables. [default: folder]"),
        click.option("--data-dir", type=PATH, help="tfds: folder with prepared data."),
        click.option("--split", "splits_", multiple=True, metavar="NAME=SPLIT",
                     help="tfds: split to read, e.g. 'train=train[:80%]'."),
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
