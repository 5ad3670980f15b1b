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
@click.option("--predictions", is_flag=True, help="Write all predictions to predictions.csv in the run's folder.")
@click.option(
    "--precision",
    type=float,
    metavar="SHARE",
    help="Mark later predictions as not sure below a probability, chosen on validation so that this share (e.g. 0.98) "
    "of the others is correct. For single-label runs, without DATA.",
)
@TRUST
@JSON
def evaluate(
    run: Path, data: str | None, predictions: bool, precision: float | None, trust: bool, as_json: bool
) -> None:
    """Score RUN on its own validation and test splits, or on DATA.

    RUN is a run's folder. Without DATA, its training data must still be where it was. DATA is new data in any form that
    `train` takes, with RUN's classes; all of it is scored. A table needs the columns of the training data.
    """
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
