"""`tfransfer predict`: the predictions of a run for pictures or texts."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import JSON, PATH
from tfransfer.cli.tables import prediction_dict, show_predictions
from tfransfer.display.progress import Progress, quiet
from tfransfer.display.terminal import Terminal
from tfransfer.runs.run import load_run
from tfransfer.runs.run_folder import MANIFEST, MODEL

# So many inputs, named one by one, are predicted before a bar could be read.
_FEW = 32


@click.command()
@click.argument("run", type=PATH)
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "--file", metavar="FILE", help="Predict with an exported file: its name in the run's folder, or its path."
)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Likeliest classes to show.")
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    help="Write the predictions to a CSV table, not to the terminal: input, predicted, probability, sure, error.",
)
@click.option(
    "--trust",
    is_flag=True,
    help="Also load a SavedModel, or a model from another machine that contains a TF-Hub module. These are programs: "
    "only if you trust their author.",
)
@JSON
def predict(
    run: Path, inputs: tuple[str, ...], file: str | None, top: int, out: Path | None, trust: bool, as_json: bool
) -> None:
    """Predict the class or value of images or texts with RUN.

    RUN is a run's folder, or a .tflite file alone. INPUTS are image files, folders of images or tables of image paths;
    for a run on texts they are texts, .txt files with a text in each line, or tables. The training data is not needed.
    Exit code 1: some input could not be read.
    """
    terminal = Terminal(as_json)
    load_pipeline()
    from tfransfer.runs import prediction, prediction_table  # here, because they import TensorFlow

    if out is not None:
        prediction_table.require_predictions_or_nothing(out)
    if run.is_file() and file is None and all((run.parent / name).is_file() for name in (MANIFEST, MODEL)):
        run, file = run.parent, run.name  # with the run's thresholds
    if run.is_file():
        if file is not None:
            raise click.UsageError(f"{run} is a file: give the run's folder with --file, or a .tflite file alone.")
        predictor = prediction.predictor_of_file(run, top)
    else:
        predictor = prediction.predictor_of(load_run(run, trust), top, file, trust)
    given, what = predictor.listed(inputs), predictor.modality.item
    many = not as_json and (len(given) > len(inputs) or len(given) > _FEW)
    made = _with_progress(predictor.predictions(given), len(given), predictor.modality.unit,
                          terminal.progress if many else quiet)  # fmt: skip
    errors: list[str] = []
    if out is None:
        predictions = list(made)
        errors += [one.error for one in predictions if one.error]
        if not as_json:
            show_predictions(terminal, predictions, what)
        result: dict[str, Any] = {"predictions": [prediction_dict(one, what) for one in predictions]}
    else:
        with prediction_table.table_of_predictions(out) as write:
            for one in made:
                write(one)
                errors += [one.error] if one.error else []
        result = {"table": str(out), "count": len(given), "failed": len(errors)}
        if not as_json:
            terminal.say(f"{out}: {len(given)} {what}{'' if len(given) == 1 else 's'}")
    if predictor.note and not as_json:
        terminal.say(predictor.note)
    _say_errors(terminal, errors, len(given), what)
    terminal.emit(result | ({"note": predictor.note} if predictor.note else {}))
    if errors:
        sys.exit(1)


def _with_progress(made: Iterable[Any], count: int, unit: str, progress: Progress) -> Iterator[Any]:
    with progress("predicting", count, unit) as advance:
        for one in made:
            yield one
            advance(1)


def _say_errors(terminal: Terminal, errors: list[str], count: int, what: str) -> None:
    if errors:
        terminal.say(f"{len(errors)} of {count} {what}s cannot be read:")
        for reason, times in Counter(errors).most_common():
            terminal.say(f"{times} {what}{'' if times == 1 else 's'}: {reason}")
