"""`tfransfer export` and `tfransfer verify`: files for elsewhere."""

import sys
from pathlib import Path
from typing import Any

import click

from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import JSON, PATH, TRUST
from tfransfer.cli.tables import show_exports
from tfransfer.display.terminal import Terminal
from tfransfer.errors import ExportError, SettingError
from tfransfer.runs.run import Run, load_run
from tfransfer.system.files import size_text


@click.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option(
    "--to",
    "formats",
    metavar="FORMAT,...",
    help="keras, savedmodel, onnx, tflite, or tflite- and fp16, dynamic, int8, int16x8.",
)
@click.option(
    "--budget", metavar="TEXT", help="Try LiteRT variants and keep the best within, say, '4MB, 15ms, top1-drop 1'."
)
@click.option("--max-drop", type=click.FloatRange(0), metavar="POINTS", help="Keep no file that loses more top-1.")
@click.option("--max-size", metavar="SIZE", help="Keep no file that is larger, say 4MB.")
@click.option(
    "--max-latency", type=click.FloatRange(0), metavar="MS", help="Keep no file that takes longer for a picture."
)
@click.option("--bundle", is_flag=True, help="Write bundle.zip: files, examples, loaders and a model card.")
@TRUST
@JSON
def export(
    folders: tuple[Path, ...],
    formats: str | None,
    budget: str | None,
    bundle: bool,
    trust: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Export RUN's model; each file is loaded again, compared and measured first.

    Where the training data is at hand, accuracy on its validation split is measured too. With --budget several RUNs may
    compete.
    """
    _require_one_way(folders, formats, budget, bundle, limits)
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    opened = [load_run(folder, trust) for folder in folders]
    names = names_in(formats or "")
    if bundle and budget is None:
        place = pipeline.bundle(opened[0], *names, progress=terminal.progress, say=terminal.say)
        terminal.say(f"{place}: {size_text(place.stat().st_size)}; anywhere: tfransfer verify {place.name}")
        terminal.emit({"bundle": str(place)})
        return
    if budget is None:
        made = pipeline.export(opened[0], *names, **limits, progress=terminal.progress, say=terminal.say)
        show_exports(terminal, opened[0].task, [(one.path, one.format, one.to_dict()) for one in made])
        _tell_of_report(terminal, opened[0])
        terminal.emit({"exports": {one.format: {"path": str(one.path), **one.to_dict()} for one in made}})
        return
    found = pipeline.export_within(opened, budget, names, progress=terminal.progress, say=terminal.say)
    show_exports(terminal, opened[0].task, [(run.folder, one.format, one.to_dict()) for run, one in found.tried])
    tried = [{"run": str(run.folder), "format": one.format, **one.to_dict()} for run, one in found.tried]
    kept = None if found.kept is None else {"path": str(found.kept.path), "format": found.kept.format}
    terminal.emit({"tried": tried, "kept": kept})
    if found.kept is None:
        raise ExportError(f"none of {len(tried)} files keeps to {budget}; nothing was kept.")
    terminal.say(f"kept: {found.kept.path}")
    if found.run is not None:
        _tell_of_report(terminal, found.run)


def _tell_of_report(terminal: Terminal, run: Run) -> None:
    """A report that was written before does not show new files."""
    if run.reported:
        terminal.say(f"to see this in the report: tfransfer report {run.folder}")


def _require_one_way(
    folders: tuple[Path, ...], formats: str | None, budget: str | None, bundle: bool, limits: dict[str, Any]
) -> None:
    if budget is None and (len(folders) > 1 or not (formats or bundle)):
        raise SettingError("say --to FORMAT for one run, or --budget TEXT for one or several.")
    if budget is not None and bundle:
        raise SettingError("--bundle takes what was exported, or --to FORMAT; search with --budget first.")
    if (budget is not None or bundle) and any(value is not None for value in limits.values()):
        raise SettingError("--max-drop, --max-size and --max-latency go with --to alone.")


@click.command()
@click.argument("bundle", type=PATH)
@JSON
def verify(bundle: Path, as_json: bool) -> None:
    """Hold the models in BUNDLE, a zip from `export --bundle`, to what they said where it was written.

    A SavedModel in it is a program, and is run. Exit 0 where every file says the same here, else 1.
    """
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    verdicts = pipeline.verify(bundle)
    rows = [
        [one.format, one.file, f"{one.same}/{one.examples}", f"{one.difference:.1e}", one.wrong or "as it was"]
        for one in verdicts
    ]
    terminal.table("", ["format", "file", "same", "difference", "found"], rows, 2)
    terminal.emit({"models": [vars(one) for one in verdicts]})
    if any(one.wrong for one in verdicts):
        sys.exit(1)


def names_in(text: str) -> list[str]:
    """Names between commas; "none" is none."""
    return [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]
