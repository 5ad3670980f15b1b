"""`tfransfer train`: train a model on data."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from tfransfer.cli.export import names_in
from tfransfer.cli.loading import load_pipeline, require_base_given
from tfransfer.cli.options import (
    JSON,
    PATH,
    READING,
    SPLIT_SEED,
    SPLITS,
    reading_options,
    split_choices,
    training_options,
)
from tfransfer.cli.tables import show_run
from tfransfer.data.sources.kinds import name_of
from tfransfer.display.terminal import Terminal
from tfransfer.errors import SettingError
from tfransfer.recipe import Recipe, parse_setting, read_recipe
from tfransfer.runs import run_folder
from tfransfer.system.extras import TENSORBOARD, require_packages


@click.command()
@click.argument("data")
@training_options
@reading_options
@SPLIT_SEED
@SPLITS
@click.option(
    "--out", type=PATH, metavar="FOLDER", help="Write the run to this folder. [default: saved_models/NAME OF THE DATA]"
)
@click.option("--resume", is_flag=True, help="Resume the run in its folder if it was stopped; else start a new one.")
@click.option("--overwrite", is_flag=True, help="Replace an existing run, once the new one is finished.")
@click.option(
    "--export",
    "exports",
    metavar="FORMAT,...",
    help="Formats besides .keras, as for `export --to`, or none. [default: savedmodel,tflite; texts: savedmodel]",
)
@click.option(
    "--devices",
    default="auto",
    show_default=True,
    metavar="auto|cpu|gpu|gpu:0,1|tpu",
    help="Where to train. auto: a TPU, the workers in TF_CONFIG or SLURM, or all GPUs, if there are any; else the CPU.",
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard logs to the run's folder.")
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
    """Train a model on DATA, evaluate it and export it.

    DATA is a folder with one subfolder of images per class, or with folders train, validation and test that contain
    these; a table (.csv, .tsv) of image paths or texts with labels, or a folder with one per split; tfds:NAME from
    TensorFlow Datasets; or `digits`, handwritten digits that need no network.

    A new head is trained on the frozen base, a pretrained network (first phase). Then the base's top blocks are
    fine-tuned, too (second phase), and the better of both models is saved.
    """
    reading = {name: settings.pop(name) for name in READING}
    recipe = read_recipe(recipe_file) if recipe_file else Recipe()
    settings |= dict(parse_setting(text) for text in set_)
    terminal = Terminal(as_json)
    place = run_folder.place_for(name_of(data), out)
    _require_place(place, resume, overwrite)
    require_base_given(recipe, settings)
    require_packages([TENSORBOARD] if tensorboard else (), "--tensorboard", TENSORBOARD)
    pipeline = load_pipeline()
    chosen_devices = pipeline.choose_devices(devices)  # several workers meet before TensorFlow runs anything
    formats = None if exports is None else names_in(exports)
    # Refuse wrong usage before the data is read.
    pipeline.make_recipe(recipe, settings)
    pipeline.require_formats(formats or ())
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
        exports=formats,
        tensorboard=tensorboard,
        devices=chosen_devices,
        command=shlex.join(["tfransfer", *sys.argv[1:]]),
        progress=terminal.progress,
        say=terminal.say,
        **settings,
    )
    if not chosen_devices.chief:
        return  # the chief prints the result
    show_run(terminal, run)
    summary = {key: getattr(run.manifest, key) for key in ("kept", "exports", "seconds")}
    terminal.emit({"run": str(run.folder), "metrics": run.metrics, **summary})


def _require_place(place: Path, resume: bool, overwrite: bool) -> None:
    """Check before TensorFlow is imported that the run can be written; with several workers only the chief writes."""
    if resume and overwrite:
        raise SettingError("--resume continues the existing run, --overwrite replaces it: give only one of them.")
    if not resume and not {"TF_CONFIG", "SLURM_PROCID"} & set(os.environ):
        run_folder.require_free(place, overwrite)
