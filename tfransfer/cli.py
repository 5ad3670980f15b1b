"""The command line. TensorFlow is imported only by the commands that need it, after their arguments were read."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from tfransfer import __version__, run_folder, runs
from tfransfer.base.records import NGRAMS, find_base
from tfransfer.commands.cache import cache
from tfransfer.commands.export import export, names_in, verify
from tfransfer.commands.loading import load_pipeline
from tfransfer.commands.lr import lr
from tfransfer.commands.serve import serve
from tfransfer.commands.sweep import sweep
from tfransfer.data.kinds import name_of
from tfransfer.errors import SettingError, TransferError
from tfransfer.options import (
    BASE,
    IMAGE_SIZE,
    JSON,
    PATH,
    READING,
    SPLIT_SEED,
    SPLITS,
    TRUST,
    WEIGHTS,
    reading_options,
    split_choices,
    training_options,
)
from tfransfer.recipe import Recipe, parse_setting, read_recipe
from tfransfer.showing import prediction_dict, show_metrics, show_predictions, show_run
from tfransfer.showing_bases import list_bases, show_base
from tfransfer.showing_findings import show_diagnosis
from tfransfer.stopping import Stopped
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
    except (click.Abort, KeyboardInterrupt) as error:
        cause = error if isinstance(error, Stopped) else error.__cause__  # click turns it into an Abort
        click.echo(
            f"tfransfer: {cause if isinstance(cause, Stopped) else 'stopped before the end; the run is not finished.'}",
            err=True,
        )
        sys.exit(1)
    finally:
        sys.stdout = standard_output


def _fail(error: Exception, code: int) -> None:
    click.echo(f"tfransfer: error: {error}", err=True)
    sys.exit(code)


@cli.command()
@click.argument("data")
@training_options
@reading_options
@SPLIT_SEED
@SPLITS
@click.option("--out", type=PATH, help="The run's folder. [default: saved_models/NAME OF THE DATA]")
@click.option("--resume", is_flag=True, help="Go on with the run that is there, if it was stopped; else begin.")
@click.option("--overwrite", is_flag=True, help="Replace the run that is there, once the new one is finished.")
@click.option("--export", "exports", metavar="FORMAT,...", help="Besides .keras. [default: savedmodel,tflite]")
@click.option("--devices", default="auto", show_default=True, metavar="auto|cpu|gpu|gpu:0,1|tpu", help="What trains.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs to the run's folder.")
@JSON
def train(
    data: str,
    recipe_file: Path | None,
    set_: tuple[str, ...],
    split_seed: int,
    splits_file: Path | None,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    exports: str | None,
    devices: str,
    tensorboard: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train on DATA: a folder with one folder of pictures per class, or train/validation/test above them.

    DATA may also be a table of pictures or texts (.csv, .tsv), tfds:NAME, or `digits`, which is built in:
    scikit-learn's handwritten digits, trained on the built-in base with no network.
    """
    reading = {name: settings.pop(name) for name in READING}
    recipe = read_recipe(recipe_file) if recipe_file else Recipe()
    settings |= dict(parse_setting(text) for text in set_)
    terminal = Terminal(as_json)
    place = run_folder.place_for(name_of(data), out)
    _require_place(place, resume, overwrite)
    pipeline = load_pipeline()
    opened = pipeline.choose_devices(devices)  # several workers meet before TensorFlow runs anything
    wanted = None if exports is None else names_in(exports)
    # Wrong usage is said before the pictures are read.
    pipeline.make_recipe(recipe, settings)
    pipeline.require_formats(wanted or ())
    loaded = pipeline.load_data(
        data,
        split_seed=split_seed,
        splits_file=(pipeline.splits_of(place) if resume else None) or splits_file,
        tfds_splits=split_choices(reading.pop("splits_")),
        **reading,
        progress=terminal.progress,
        say=terminal.say,
    )
    run = pipeline.train(
        loaded,
        out=place,
        recipe=recipe,
        overwrite=overwrite,
        resume=resume,
        exports=wanted,
        tensorboard=tensorboard,
        devices=opened,
        command=shlex.join(["tfransfer", *sys.argv[1:]]),
        progress=terminal.progress,
        say=terminal.say,
        **settings,
    )
    if not opened.chief:
        return  # the chief tells what came of it
    show_run(terminal, run)
    told = {key: run.manifest[key] for key in ("kept", "exports", "seconds")}
    terminal.emit({"run": str(run.folder), "metrics": run.metrics, **told})


def _require_place(place: Path, resume: bool, overwrite: bool) -> None:
    """See, before TensorFlow is imported, that a run can be written; of several workers only the first one writes."""
    if resume and overwrite:
        raise SettingError("--resume goes on with the run that is there, --overwrite replaces it: say one of them.")
    if not resume and not {"TF_CONFIG", "SLURM_PROCID"} & set(os.environ):
        run_folder.require_free(place, overwrite)


@cli.command()
@click.argument("data")
@reading_options
@BASE
@WEIGHTS
@IMAGE_SIZE
@SPLIT_SEED
@SPLITS
@click.option("--suspects/--no-suspects", default=True, help="Judge the labels by a probe. [default: --suspects]")
@click.option("--fix", type=PATH, metavar="FILE", help="Write a cleaned splits file for `train --splits FILE`.")
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    default=run_folder.DATA_ISSUES,
    help="Table of everything found. [default: data_issues.csv]",
)
@JSON
def check(data: str, fix: Path | None, out: Path, as_json: bool, **options: Any) -> None:
    """Find what is wrong with DATA, which is what `train` takes: damaged files, duplicates, leaks, suspect labels.

    Nothing in DATA is changed. Exit 0 where nothing hard was found, 1 where something was, 2 for wrong usage.
    """
    terminal = Terminal(as_json)
    load_pipeline()
    from tfransfer import doctor  # here, because it imports TensorFlow

    # A file that will not be replaced is named before minutes of work, not after.
    doctor.require_replaceable(out, doctor.ISSUE_COLUMNS)
    if fix is not None:
        doctor.require_replaceable(fix, doctor.SPLITS_COLUMNS)
    options["tfds_splits"] = split_choices(options.pop("splits_"))
    found = doctor.check(data, **options, progress=terminal.progress, say=terminal.say)
    show_diagnosis(terminal, found)
    found.write_csv(out)
    terminal.say(f"everything found: {out}")
    said = found.to_dict() | {"table": str(out), "fixed": None}
    if fix is not None:
        made = found.fix(fix)
        terminal.say(
            f"{fix}: {len(made.removed)} left out, {len(made.moved)} on another side; train with --splits {fix}"
        )
        said["fixed"] = {"file": str(fix), "removed": list(made.removed), "moved": list(made.moved)}
    terminal.emit(said)
    if found.hard:
        sys.exit(1)


@cli.command()
@click.argument("run", type=PATH)
@click.argument("data", required=False)
@click.option("--predictions", is_flag=True, help="Write predictions.csv to the run's folder.")
@click.option(
    "--precision",
    type=float,
    metavar="SHARE",
    help="Choose below which probability to say `not sure`, so that this share of the other answers is right.",
)
@TRUST
@JSON
def evaluate(
    run: Path, data: str | None, predictions: bool, precision: float | None, trust: bool, as_json: bool
) -> None:
    """Score RUN on its recorded validation and test pictures, or on all pictures of a folder DATA."""
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    metrics = pipeline.evaluate(
        runs.load_run(run, trust),
        data,
        predictions=predictions,
        precision=precision,
        progress=terminal.progress,
        say=terminal.say,
    )
    show_metrics(terminal, metrics)
    if predictions:
        terminal.say(f"predictions: {run / 'predictions.csv'}")
    terminal.emit(metrics)


@cli.command()
@click.argument("run", type=PATH)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes shown per picture.")
@TRUST
@JSON
def predict(run: Path, inputs: tuple[str, ...], top: int, trust: bool, as_json: bool) -> None:
    """Name what is on pictures: INPUTS are files and folders, or texts for a run on texts. Needs no training data."""
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    loaded = runs.load_run(run, trust)
    what = "picture" if loaded.kind == "image" else "text"
    said = pipeline.predict(loaded, [Path(one) if what == "picture" else one for one in inputs], top=top)
    show_predictions(terminal, said, what)
    bad = [p for p in said if p.error]
    if bad:
        terminal.say(f"{len(bad)} of {len(said)} pictures cannot be read")
    terminal.emit({"predictions": [prediction_dict(p, what) for p in said]})
    if len(bad) == len(said):
        sys.exit(1)


@cli.command()
@click.argument("run", type=PATH)
@TRUST
@JSON
def report(run: Path, trust: bool, as_json: bool) -> None:
    """Write RUN's report.html anew: one file with everything about it. Without the training data it shows no photos."""
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    path = pipeline.report(runs.load_run(run, trust), progress=terminal.progress, say=terminal.say)
    terminal.say(f"report: {path}")
    terminal.emit({"report": str(path)})


@cli.command()
@click.argument("name", required=False)
@JSON
def bases(name: str | None, as_json: bool) -> None:
    """List the pretrained bases, or show the blocks of base NAME, which may be a TF-Hub module."""
    terminal = Terminal(as_json)
    if name is None:
        list_bases(terminal)
        return
    recipe = Recipe(base=name, weights="random")
    if not set("/.:") & set(name) and name != NGRAMS:
        find_base(name)  # a mistyped name is said at once, without TensorFlow
    load_pipeline()
    from tfransfer.opening import named_base  # here, because it imports TensorFlow

    show_base(terminal, name, named_base(recipe, "float32", terminal.say))


for command in (cache, export, lr, serve, sweep, verify):
    cli.add_command(command)
