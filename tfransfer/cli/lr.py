"""`tfransfer lr`: suggest a learning rate for the head phase."""

from pathlib import Path
from typing import Any

import click

from tfransfer.cli.loading import load_pipeline, require_base_given
from tfransfer.cli.options import (
    BASE,
    IMAGE_SIZE,
    JSON,
    PATH,
    RECIPE,
    SET,
    SPLIT_SEED,
    SPLITS,
    WEIGHTS,
    numbers,
    reading_options,
    split_choices,
)
from tfransfer.display.terminal import Terminal
from tfransfer.recipe import Recipe, parse_setting, read_recipe
from tfransfer.system.files import out_remedy


@click.command()
@click.argument("data")
@BASE
@WEIGHTS
@IMAGE_SIZE
@RECIPE
@SET
@reading_options
@SPLIT_SEED
@SPLITS
@click.option(
    "--rates", metavar="RATE,...", help="Learning rates to try, e.g. 1e-3,3e-3. [default: 13 from 1e-5 to 0.1]"
)
@click.option(
    "--out",
    type=PATH,
    default=Path("lr.png"),
    metavar="FILE",
    help="Write the plot to this file: .png, .svg or .pdf. [default: lr.png]",
)
@JSON
def lr(
    data: str,
    base: str | None,
    weights: str | None,
    image_size: int | None,
    recipe_file: Path | None,
    set_: tuple[str, ...],
    rates: str | None,
    out: Path,
    as_json: bool,
    **reading: Any,
) -> None:
    """Suggest a learning rate for training the head on DATA.

    DATA is what `train` takes. A head is trained at each of several rates, all at once; the rate with the lowest loss
    on validation is suggested. Test data is not read. The base's features are cached, and `train` reuses them.
    """
    terminal = Terminal(as_json)
    tried_rates = numbers(rates, "--rates")
    given = {"base": base, "weights": weights, "image_size": image_size}
    settings: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    settings |= dict(parse_setting(text) for text in set_)
    recipe = read_recipe(recipe_file) if recipe_file else Recipe()
    require_base_given(recipe, settings)
    load_pipeline()
    from tfransfer.evaluation import plots  # here, because it imports matplotlib
    from tfransfer.search import learning_rates  # here, because it imports TensorFlow

    plots.require_plot_file(out)
    reading["tfds_splits"] = split_choices(reading.pop("splits_"))
    result = learning_rates.find_learning_rate(
        data, recipe=recipe, rates=tried_rates, reading=reading, progress=terminal.progress, say=terminal.say,
        **settings,
    )  # fmt: skip
    show_rates(terminal, result)
    plots.write_plot(result.plot(), out, out_remedy())
    terminal.say(f"plot: {out}")
    terminal.emit(result.to_dict() | {"plot": str(out)})


def show_rates(terminal: Terminal, result: Any) -> None:
    """Print a row for each rate, and how to train with the best."""
    rows = [
        [f"{one.rate:g}", f"{one.loss:.4f}", f"{one.score:.4f}", one.epoch,
         "suggested" if one.rate == result.suggestion else ""] for one in result.tried
    ]  # fmt: skip
    columns = ["learning rate", "validation loss", f"validation {result.headline}", "epoch", ""]
    terminal.table(f"head phase on {result.base}", columns, rows)
    if result.at_an_end:
        terminal.say("the suggestion is at an end of the range: try more with --rates")
    terminal.say(f"train with {result.option}")
