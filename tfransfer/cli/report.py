"""`tfransfer report`: write a run's report.html."""

from pathlib import Path

import click

from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import JSON, PATH, TRUST
from tfransfer.display.terminal import Terminal
from tfransfer.runs.run import load_run


@click.command()
@click.argument("run", type=PATH)
@TRUST
@JSON
def report(run: Path, trust: bool, as_json: bool) -> None:
    """Write RUN's report.html again, with its later exports.

    RUN is a run's folder. The report is one file that needs no network. It contains copies of photos or texts; if the
    training data is not available, it shows none.
    """
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    path = pipeline.report(load_run(run, trust), progress=terminal.progress, say=terminal.say)
    terminal.say(f"report: {path}")
    terminal.emit({"report": str(path)})
