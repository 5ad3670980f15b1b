"""`tfransfer export` and `tfransfer verify`: write model files for other machines, and check them there."""

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
    help="Formats: keras, savedmodel, onnx, tflite, tflite-fp16, tflite-dynamic, tflite-int8, tflite-int16x8; for "
    "texts keras and savedmodel.",
)
@click.option(
    "--budget",
    metavar="TEXT",
    help="Try several LiteRT (.tflite) formats, or those of --to, and save only the most accurate file within these "
    "limits, e.g. '4MB, 15ms, top1-drop 1'.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0),
    metavar="POINTS",
    help="With --to: discard files that lose more points (hundredths) of top-1, or of the run's main metric.",
)
@click.option("--max-size", metavar="SIZE", help="With --to: discard larger files, e.g. 4MB.")
@click.option(
    "--max-latency",
    type=click.FloatRange(0),
    metavar="MS",
    help="With --to: discard files that take longer, in milliseconds for one image or text on this machine.",
)
@click.option(
    "--bundle",
    is_flag=True,
    help="Write bundle.zip for somebody else: the files exported before, or those of --to, with examples, loading code "
    "and a model card.",
)
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
    """Export RUN's model to other formats, and check each file.

    RUN is a run's folder; the files are written to it. Give --to, --budget or --bundle. Each file is loaded again,
    compared with the model and measured: size, time and memory, and accuracy on the validation split if the training
    data is available. With --budget, several RUNs with the same classes may compete.
    """
    _require_compatible_options(folders, formats, budget, bundle, limits)
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    runs = [load_run(folder, trust) for folder in folders]
    names = names_in(formats or "")
    if bundle and budget is None:
        path = pipeline.bundle(runs[0], *names, progress=terminal.progress, say=terminal.say)
        terminal.say(f"{path}: {size_text(path.stat().st_size)}; check it on any machine: tfransfer verify {path.name}")
        terminal.emit({"bundle": str(path)})
        return
    if budget is None:
        exported = pipeline.export(runs[0], *names, **limits, progress=terminal.progress, say=terminal.say)
        show_exports(terminal, runs[0].task, [(file.path, file.format, file.to_dict()) for file in exported])
        _suggest_report(terminal, runs[0])
        terminal.emit({"exports": {file.format: {"path": str(file.path), **file.to_dict()} for file in exported}})
        return
    search = pipeline.export_within(runs, budget, names, progress=terminal.progress, say=terminal.say)
    show_exports(terminal, runs[0].task, [(run.folder, file.format, file.to_dict()) for run, file in search.tried])
    tried = [{"run": str(run.folder), "format": file.format, **file.to_dict()} for run, file in search.tried]
    kept = None if search.kept is None else {"path": str(search.kept.path), "format": search.kept.format}
    terminal.emit({"tried": tried, "kept": kept})
    if search.kept is None:
        raise ExportError(f"none of {len(tried)} files is within {budget}; nothing was saved.")
    terminal.say(f"saved: {search.kept.path}")
    if search.run is not None:
        _suggest_report(terminal, search.run)


def _suggest_report(terminal: Terminal, run: Run) -> None:
    """Say how to update a report that was written before these files."""
    if run.reported:
        terminal.say(f"to see this in the report: tfransfer report {run.folder}")


def _require_compatible_options(
    folders: tuple[Path, ...], formats: str | None, budget: str | None, bundle: bool, limits: dict[str, Any]
) -> None:
    if budget is None and (len(folders) > 1 or not (formats or bundle)):
        raise SettingError("give --to FORMAT for one run, or --budget TEXT for one or several.")
    if budget is not None and bundle:
        raise SettingError("--bundle takes what was exported, or --to FORMAT; search with --budget first.")
    if (budget is not None or bundle) and any(value is not None for value in limits.values()):
        raise SettingError("--max-drop, --max-size and --max-latency work only with --to.")


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--trust", is_flag=True, help="Also run a SavedModel in a bundle from another "
              "machine. It is a program: only if you trust its author.")  # fmt: skip
@JSON
def verify(bundle: Path, trust: bool, as_json: bool) -> None:
    """Check that the models in BUNDLE work on this machine.

    BUNDLE is a bundle.zip from `export --bundle`. Each model in it must give the outputs that are recorded in it for
    the same examples. Exit code 1: one does not.
    """
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    verdicts = pipeline.verify(bundle, trust)
    rows = [
        [one.format, one.file, f"{one.same}/{one.examples}", f"{one.difference:.1e}", one.wrong or "as recorded"]
        for one in verdicts
    ]
    terminal.table("", ["format", "file", "same", "difference", "result"], rows, 2)
    terminal.emit({"models": [vars(one) for one in verdicts]})
    if any(one.wrong for one in verdicts):
        sys.exit(1)


def names_in(text: str) -> list[str]:
    """The names in a comma-separated list; "none" is an empty list."""
    return [name.strip() for name in text.split(",") if name.strip() and name.strip() != "none"]
