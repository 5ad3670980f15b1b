"""`tfransfer sweep`: train every combination of base, unfreeze depth and learning rate, and compare them."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from tfransfer.base.records import BUILT_IN
from tfransfer.cli.loading import load_pipeline, require_base_given
from tfransfer.cli.options import (
    FINE_TUNE_EPOCHS,
    HEAD_EPOCHS,
    IMAGE_SIZE,
    JSON,
    PATH,
    RECIPE,
    SEED,
    SET,
    SPLIT_SEED,
    SPLITS,
    numbers,
    reading_options,
    split_choices,
)
from tfransfer.display.terminal import Terminal
from tfransfer.errors import SettingError
from tfransfer.recipe import Recipe, parse_setting, read_recipe


@click.command()
@click.argument("data")
@click.option(
    "--unfreeze",
    metavar="N,...",
    help="Numbers of top blocks to fine-tune, e.g. 0,2,4; 0 trains the head alone. [default: half, once and twice "
    "the number that `train` takes]",
)
@click.option(
    "--learning-rates",
    metavar="RATE,...",
    help="Learning rates of the second phase, e.g. 1e-4,3e-4. [default: a third of, once and three "
    "times the rate that `train` takes]",
)
@click.option(
    "--bases",
    metavar="NAME,...",
    help="Pretrained bases, e.g. mini,mobilenet_v2; if the weights of one are not available, it is skipped. [default: "
    "that of `train`]",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[BASE=]FILE",
    help="Weights file of the base; for several bases repeat as BASE=FILE. [default: Keras downloads them "
    f"once; {BUILT_IN} has its own]",
)
@IMAGE_SIZE
@RECIPE
@SET
@HEAD_EPOCHS
@click.option("--fine-tune-epochs", type=click.IntRange(1), help=FINE_TUNE_EPOCHS.format(""))
@SEED
@reading_options
@SPLIT_SEED
@SPLITS
@click.option(
    "--out", type=PATH, metavar="FOLDER", help="Write the sweep to this folder. [default: sweeps/NAME OF THE DATA]"
)
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the sweep in its folder; finished trainings are not repeated, and new combinations are added.",
)
@JSON
def sweep(
    data: str,
    unfreeze: str | None,
    learning_rates: str | None,
    bases: str | None,
    weights: tuple[str, ...],
    recipe_file: Path | None,
    set_: tuple[str, ...],
    out: Path | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare bases, unfrozen blocks and learning rates on DATA.

    DATA is what `train` takes. Every combination is trained as by `train`, and compared on validation; test data is not
    read. The frozen layers' outputs are cached and shared. sweep.csv gets a row after each training, and best.toml the
    best settings, for `train --recipe`.
    """
    terminal = Terminal(as_json)
    names = ("image_size", "head_epochs", "fine_tune_epochs", "seed")
    settings = {name: options.pop(name) for name in names} | dict(parse_setting(text) for text in set_)
    recipe = read_recipe(recipe_file) if recipe_file else Recipe()
    rates = numbers(learning_rates, "--learning-rates")
    files = _files(weights)
    for base in bases.split(",") if bases else [None]:
        require_base_given(recipe, settings | {"base": base})
    load_pipeline()
    from tfransfer.search.sweep import BEST, PLOT, TABLE, sweep  # here, because it imports TensorFlow

    result = sweep(
        data,
        unfreeze=unfreeze.split(",") if unfreeze else None,
        learning_rates=rates,
        bases=bases.split(",") if bases else None,
        weights=files,
        out=out,
        resume=resume,
        recipe=recipe,
        reading=_reading(options),
        command=shlex.join(["tfransfer", *(word for word in sys.argv[1:] if word != "--resume")]),
        progress=terminal.progress,
        say=terminal.say,
        **settings,
    )
    show_sweep(terminal, result)
    best_command = train_command(data, result.folder / BEST, options)
    for what, name in (("table", TABLE), ("plot", PLOT)):
        terminal.say(f"{what}: {result.folder / name}")
    terminal.say(f"train the best one and evaluate it on test data:\n{best_command}")
    terminal.emit({"sweep": str(result.folder), "command": best_command, "rows": list(result.rows)})


def _files(given: tuple[str, ...]) -> str | dict[str, str] | None:
    """Parse `FILE`, or `BASE=FILE` given once or more."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    if not all("=" in one for one in given):
        raise SettingError("several --weights must each be BASE=FILE, for example --weights mobilenet_v2=FILE.")
    return dict((part for part in one.split("=", 1)) for one in given) or None  # type: ignore[misc]


def show_sweep(terminal: Terminal, result: Any) -> None:
    """Print a row for each training, best first."""
    score = f"validation_{result.headline}"
    rows = [
        [row["base"], row["unfreeze"], "" if row["learning_rate"] is None else f"{row['learning_rate']:g}",
         f"{row[score]:.4f}", f"{row['validation_loss']:.4f}", row["kept"].replace("_", "-"),
         f"{row['head_epochs']}+{row['fine_tune_epochs']}", f"{row['seconds']:.0f}"] for row in result.rows
    ]  # fmt: skip
    columns = ["base", "unfreeze", "learning rate", score.replace("_", " "), "loss", "selected", "epochs", "seconds"]
    terminal.table("on validation, best first", columns, rows)


def train_command(data: str, recipe: Path, options: dict[str, Any]) -> str:
    """The `train` command for a recipe, reading the data as the sweep did."""
    words = ["tfransfer", "train", data, "--recipe", str(recipe)]
    defaults = {"separator": ";", "split_seed": 0}
    flags = {"splits_file": "--splits", "splits_": "--split", "read_as": "--source"}
    for name, value in options.items():
        flag = flags.get(name, f"--{name.replace('_', '-')}")
        if value not in (None, (), defaults.get(name)):
            words += [word for one in (value if isinstance(value, tuple) else (value,)) for word in (flag, str(one))]
    return shlex.join(words)


def _reading(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say how data is read, as `load_data` takes them."""
    choices = split_choices(options["splits_"])
    return {name: value for name, value in options.items() if name != "splits_"} | {"tfds_splits": choices}
