"""The command line. TensorFlow is imported only by the commands that need it, after their arguments were read."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfransfer import __version__, run_folder
from tfransfer.base.records import DEFAULT
from tfransfer.cache_home import cache_home
from tfransfer.errors import SettingError, TransferError
from tfransfer.features import budget
from tfransfer.files import size_text
from tfransfer.native_output import hidden_native_output
from tfransfer.recipe import Recipe, parse_setting, read_recipe
from tfransfer.terminal import Terminal


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tfransfer")
def cli() -> None:
    """Transfer learning for Keras and TensorFlow: a folder of photos in, a fine-tuned, checked model out."""


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    standard_output = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # class names may hold what the terminal cannot show
    try:
        cli.main(prog_name="tfransfer", standalone_mode=False)
    except SettingError as error:
        _fail(error, 2)
    except TransferError as error:
        _fail(error, 1)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except OSError as error:
        _fail(error, 1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("tfransfer: stopped before the end; the run is not finished.", err=True)
        sys.exit(1)
    finally:
        sys.stdout = standard_output


def _load_pipeline() -> Any:
    """Import the pipeline, and with it TensorFlow, whose native start-up messages are kept off the terminal."""
    with hidden_native_output():
        import tensorflow  # noqa: F401  here, because --help must not wait for it
    from tfransfer import pipeline  # here, for the same reason

    return pipeline


def _fail(error: Exception, code: int) -> None:
    click.echo(f"tfransfer: error: {error}", err=True)
    sys.exit(code)


_DATA = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on standard output.")


def _training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The settings of `train`; their defaults stand in Recipe."""
    options = [
        click.option("--base", help=f"Pretrained base; `tfransfer bases` lists them. [default: {DEFAULT}]"),
        click.option("--weights", metavar="FILE|random", help="The base's weights, in place of Keras's download."),
        click.option("--recipe", "recipe_file", type=_DATA, help="Settings from a TOML file."),
        click.option(
            "--set", "set_", metavar="KEY=VALUE", multiple=True, help="One setting, e.g. fine_tune.mixup=0.2."
        ),
        click.option("--image-size", type=int, help="Side of the model's input in pixels. [default: the base's own]"),
        click.option("--batch-size", type=int, help="Images per step. [default: from the size of the data]"),
        click.option("--head-epochs", type=int, help="Epochs of the first phase. [default: from the size of the data]"),
        click.option("--fine-tune-epochs", type=int, help="Epochs of the second phase; 0 leaves it out."),
        click.option("--unfreeze", metavar="N|NAME|all|none", help="Top blocks to fine-tune. [default: a sixth]"),
        click.option("--head", type=click.Choice(["adam", "linear-probe"]), help="How the head learns."),
        click.option("--cache/--no-cache", default=None, help="Keep what the frozen part says. [default: --cache]"),
        click.option("--views", type=int, help="Kept views of each training image. [default: from the data's size]"),
        click.option("--class-weights", type=click.Choice(["none", "balanced"]), help="For classes of uneven size."),
        click.option("--seed", type=int, help="Of order, augmentation, dropout and the head. [default: 0]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("data", type=_DATA)
@_training_options
@click.option("--split-seed", type=int, default=0, help="Of the hash that decides splits. [default: 0]")
@click.option("--splits", "splits_file", type=_DATA, metavar="FILE", help="Follow a recorded splits.csv.")
@click.option("--group-column", metavar="NAME", help="Column of DATA/metadata.csv whose groups stay on one side.")
@click.option("--out", type=_DATA, help="The run's folder. [default: saved_models/NAME OF THE DATA]")
@click.option("--overwrite", is_flag=True, help="Replace the run that is there.")
@click.option("--export", "exports", metavar="FORMAT,...", help="Besides .keras. [default: savedmodel,tflite]")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs to the run's folder.")
@_JSON
def train(
    data: Path,
    recipe_file: Path | None,
    set_: tuple[str, ...],
    split_seed: int,
    splits_file: Path | None,
    group_column: str | None,
    out: Path | None,
    overwrite: bool,
    exports: str | None,
    tensorboard: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train on DATA: a folder with one folder of pictures per class, or train/validation/test above them.

    `digits` is built in: scikit-learn's handwritten digits, trained on the built-in base with no network.
    """
    recipe = read_recipe(recipe_file) if recipe_file else Recipe()
    settings |= dict(parse_setting(text) for text in set_)
    terminal = Terminal(as_json)
    place = run_folder.place_for(data, out, overwrite)
    pipeline = _load_pipeline()
    wanted = pipeline.DEFAULT_EXPORTS if exports is None else _formats(exports)
    # Wrong usage is said before the pictures are read.
    pipeline.make_recipe(recipe, settings)
    pipeline.require_formats(wanted)
    loaded = pipeline.load_data(
        data,
        split_seed=split_seed,
        splits_file=splits_file,
        group_column=group_column,
        progress=terminal.progress,
        say=terminal.say,
    )
    run = pipeline.train(
        loaded,
        out=place,
        recipe=recipe,
        overwrite=overwrite,
        exports=wanted,
        tensorboard=tensorboard,
        command=shlex.join(["tfransfer", *sys.argv[1:]]),
        progress=terminal.progress,
        say=terminal.say,
        **settings,
    )
    _show_run(terminal, run)
    terminal.emit({"run": str(run.folder), "kept": run.manifest["kept"], "metrics": run.metrics,
                   "exports": run.manifest["exports"], "seconds": run.manifest["seconds"]})  # fmt: skip


def _formats(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]


def _show_run(terminal: Terminal, run: Any) -> None:
    _show_metrics(terminal, run.metrics)
    rows = [
        [name, str(run.folder / e["file"]), size_text(e["bytes"]), f"{e['top1_agreeing']}/{e['pictures_compared']}",
         f"{e['largest_difference']:.1e}"]
        for name, e in run.manifest["exports"].items()
    ]  # fmt: skip
    terminal.table(
        "exports, loaded again and compared", ["format", "file", "size", "same top-1", "difference"], rows, 2
    )
    terminal.say(f"kept: the {run.manifest['kept'].replace('_', '-')} phase's model")
    terminal.say(f"run: {run.folder} ({run.manifest['seconds']:.0f} s)")


def _show_metrics(terminal: Terminal, metrics: dict[str, Any]) -> None:
    keys = [("n", "images"), ("top1", "top-1"), ("top5", "top-5"), ("log_loss", "log loss"),
            ("expected_calibration_error", "calibration error")]  # fmt: skip
    present = [(key, title) for key, title in keys if any(key in m for m in metrics.values())]
    rows = [[split, *(m.get(key, "") for key, _ in present)] for split, m in metrics.items()]
    terminal.table("", ["split", *(title for _, title in present)], rows)
    shown = "test" if "test" in metrics else next(iter(metrics))
    per_class = metrics[shown]["per_class"]
    rows = [[name, v["precision"], v["recall"], v["f1"], v["support"]] for name, v in per_class.items()]
    terminal.table(f"{shown}, per class", ["class", "precision", "recall", "f1", "images"], rows)


@cli.command()
@click.argument("action", type=click.Choice(["show", "verify", "clear"]), default="show")
@_JSON
def cache(action: str, as_json: bool) -> None:
    """Show, verify or clear what is kept between runs: features, converted bases, read folders."""
    terminal = Terminal(as_json)
    {"show": _show_cache, "verify": _verify_cache, "clear": _clear_cache}[action](terminal)


def _show_cache(terminal: Terminal) -> None:
    listed = list(reversed(budget.entries()))
    rows = [
        [entry.facts.get("base", "?"), entry.facts.get("image_size", "?"), entry.facts.get("kind", "?"),
         "varied" if entry.facts.get("augment") else "clean", entry.facts.get("engine", "?"), entry.rows,
         size_text(entry.size), time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))]
        for entry in listed
    ]  # fmt: skip
    terminal.table("", ["base", "pixels", "kept", "views", "engine", "images", "size", "last used"], rows)
    features, free = sum(entry.size for entry in listed), budget.room(None)
    terminal.say(
        f"{cache_home()}: {size_text(budget.size_of(cache_home()))}, of it features {size_text(features)}; "
        f"features may take {size_text(free)}"
    )
    keys = ("base", "image_size", "kind", "views", "engine", "images", "size", "last_used")
    shown = [dict(zip(keys, row, strict=True)) | {"bytes": e.size} for row, e in zip(rows, listed, strict=True)]
    terminal.emit({"folder": str(cache_home()), "collections": shown})


def _verify_cache(terminal: Terminal) -> None:
    bad = budget.verify()
    for path, reason in bad:
        terminal.say(f"{path} {reason}")
    images = sum(entry.rows for entry in budget.entries())
    said = "they are extracted again when they are needed" if bad else "every size and sum is right"
    terminal.say(f"{images} images kept, {len(bad)} damaged files: {said}")
    terminal.emit({"images": images, "damaged": [str(path) for path, _ in bad]})
    if bad:
        sys.exit(1)


def _clear_cache(terminal: Terminal) -> None:
    freed = budget.clear()
    terminal.say(f"cleared {cache_home()}: {size_text(freed)}")
    terminal.emit({"folder": str(cache_home()), "bytes": freed})


@cli.command()
@click.argument("run", type=_DATA)
@click.argument("data", type=_DATA, required=False)
@click.option("--predictions", is_flag=True, help="Write predictions.csv to the run's folder.")
@_JSON
def evaluate(run: Path, data: Path | None, predictions: bool, as_json: bool) -> None:
    """Score RUN on its recorded validation and test pictures, or on all pictures of a folder DATA."""
    terminal = Terminal(as_json)
    pipeline = _load_pipeline()
    metrics = pipeline.evaluate(run, data, predictions=predictions, progress=terminal.progress, say=terminal.say)
    _show_metrics(terminal, metrics)
    if predictions:
        terminal.say(f"predictions: {run / 'predictions.csv'}")
    terminal.emit(metrics)


@cli.command()
@click.argument("run", type=_DATA)
@click.argument("paths", type=_DATA, nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes shown per picture.")
@_JSON
def predict(run: Path, paths: tuple[Path, ...], top: int, as_json: bool) -> None:
    """Name what is on pictures: PATHS are files and folders. Needs no training data."""
    terminal = Terminal(as_json)
    pipeline = _load_pipeline()
    said = pipeline.predict(run, list(paths), top=top)
    shown = max(1, *(len(p.top) for p in said))
    rows = [[p.name, *(_ranked(p, rank) for rank in range(shown))] for p in said]
    terminal.table("", ["picture", *(f"top {rank}" for rank in range(1, shown + 1))], rows, left=99)
    bad = [p for p in said if p.error]
    if bad:
        terminal.say(f"{len(bad)} of {len(said)} pictures cannot be read")
    terminal.emit({"predictions": [_as_dict(p) for p in said]})
    if len(bad) == len(said):
        sys.exit(1)


def _as_dict(prediction: Any) -> dict[str, Any]:
    ranked = [{"label": label, "probability": probability} for label, probability in prediction.top]
    return {"picture": prediction.name, "top": ranked, "error": prediction.error or None}


def _ranked(prediction: Any, rank: int) -> str:
    if prediction.error:
        return prediction.error if rank == 0 else ""
    return f"{prediction.top[rank][0]} {prediction.top[rank][1]:.3f}" if rank < len(prediction.top) else ""


@cli.command()
@click.argument("run", type=_DATA)
@click.option("--to", "formats", required=True, metavar="FORMAT,...", help="keras, savedmodel, tflite.")
@_JSON
def export(run: Path, formats: str, as_json: bool) -> None:
    """Export RUN's model; each file is loaded again and compared first. Needs no training data."""
    terminal = Terminal(as_json)
    pipeline = _load_pipeline()
    exports = pipeline.export(run, *_formats(formats), say=terminal.say)
    for made in exports:
        terminal.say(f"{made.path}: {size_text(made.size)}, largest difference {made.parity.difference:.1e}")
    terminal.emit({"exports": {made.format: {"path": str(made.path), **made.to_dict()} for made in exports}})


@cli.command()
@click.argument("name", required=False)
@_JSON
def bases(name: str | None, as_json: bool) -> None:
    """List the pretrained bases, or show the blocks of base NAME."""
    terminal = Terminal(as_json)
    if name is None:
        _list_bases(terminal)
    else:
        _show_base(terminal, name)


def _list_bases(terminal: Terminal) -> None:
    from tfransfer.base.listing import bases as listed  # here, beside the command of the same name

    rows = listed()
    columns = ["base", "pixels", "smallest", "features", "parameters", "weights"]
    cells = [[b.name, b.image_size, b.smallest, b.features, b.parameters, _where(b)] for b in rows]
    terminal.table("", columns, cells)
    terminal.emit({"bases": [vars(b) for b in rows]})


def _where(base: Any) -> str:
    if base.built_in:
        return "built in"
    return "on this machine" if base.weights_here else "to download"


def _show_base(terminal: Terminal, name: str) -> None:
    from tfransfer.base.records import find_base  # here, so that a mistyped name is said at once

    record = find_base(name)
    _load_pipeline()
    from tfransfer.base.build import RANDOM, build_base  # here, because it imports TensorFlow

    built = build_base(name, weights=RANDOM)
    total = len(built.blocks)
    rows = [
        [total - i, b.name, len(b.layers), b.parameters, b.cut_below.name if b.cut_below else "more than one tensor"]
        for i, b in reversed(list(enumerate(built.blocks)))
    ]
    terminal.say(f"{name}: {record.parameters:,} parameters, {record.features} features, {record.image_size} pixels")
    terminal.table("", ["--unfreeze", "block", "layers", "parameters", "cut in front of it"], rows, left=2)
    if record.family.closing:
        terminal.say(
            f"{record.family.closing} behind {built.blocks[-1].name} belongs to it: unfrozen with the top block"
        )
    if not record.family.clean:
        terminal.say(f"{name} has no clean block boundary: more than one tensor crosses between its blocks")
    keys = ("unfreeze", "block", "layers", "parameters", "cut")
    terminal.emit({"base": name, "blocks": [dict(zip(keys, row, strict=True)) for row in rows]})
