"""`tfransfer evaluate`: the metrics of a run."""

from pathlib import Path

import click

from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import JSON, PATH, TRUST
from tfransfer.cli.tables import show_metrics
from tfransfer.display.terminal import Terminal
from tfransfer.runs.run import load_run


@click.command()
@click.argument("run", type=PATH)
@click.argument("data", required=False)
@click.option("--predictions", is_flag=True, help="Write predictions.csv to the run's folder.")
@click.option(
    "--precision",
    type=float,
    metavar="SHARE",
    help="Choose the probability below which to answer `not sure`, so that this share of the rest is correct.",
)
@TRUST
@JSON
def evaluate(
    run: Path, data: str | None, predictions: bool, precision: float | None, trust: bool, as_json: bool
) -> None:
    """Score RUN on its recorded validation and test splits, or on all images of a folder DATA."""
    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    loaded = load_run(run, trust)
    metrics = pipeline.evaluate(
        loaded,
        data,
        predictions=predictions,
        precision=precision,
        progress=terminal.progress,
        say=terminal.say,
    )
    show_metrics(terminal, loaded.task, metrics)
    if predictions:
        terminal.say(f"predictions: {run / 'predictions.csv'}")
    terminal.emit(metrics)
