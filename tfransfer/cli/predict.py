"""`tfransfer predict`: predictions of a run for pictures or texts."""

import sys
from collections import Counter
from pathlib import Path

import click

from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import JSON, PATH, TRUST
from tfransfer.cli.tables import prediction_dict, show_predictions
from tfransfer.display.terminal import Terminal
from tfransfer.runs.run import load_run


@click.command()
@click.argument("run", type=PATH)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes shown per image.")
@TRUST
@JSON
def predict(run: Path, inputs: tuple[str, ...], top: int, trust: bool, as_json: bool) -> None:
    """Predict INPUTS: image files and folders; for a run on texts, texts, .txt files with one in each line, and tables.

    Needs no training data.
    """
    from tfransfer.data.text_inputs import names_file  # here, because it imports TensorFlow

    terminal = Terminal(as_json)
    pipeline = load_pipeline()
    loaded = load_run(run, trust)
    what = loaded.modality.item
    given = [Path(one) if loaded.modality.has_pixels or names_file(one) else one for one in inputs]
    predictions = pipeline.predict(loaded, given, top=top)
    show_predictions(terminal, predictions, what)
    failed = [p for p in predictions if p.error]
    if failed:
        terminal.say(f"{len(failed)} of {len(predictions)} {what}s cannot be read:")
        for reason, count in Counter(p.error for p in failed).most_common():
            terminal.say(f"{count} {what}{'' if count == 1 else 's'}: {reason}")
    terminal.emit({"predictions": [prediction_dict(p, what) for p in predictions]})
    if len(failed) == len(predictions):
        sys.exit(1)
