"""The whole way: load data, train both phases, evaluate, predict, export. Wires the stages together."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfransfer.base.build import require_model
from tfransfer.data.loading import load_data
from tfransfer.data.sources import kinds
from tfransfer.display.listeners import listeners
from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.exports.budget import parse_budget
from tfransfer.exports.bundle import Verdict, verify_bundle
from tfransfer.exports.formats import TRIED, require_formats
from tfransfer.exports.table import ExportList
from tfransfer.recipe import Recipe
from tfransfer.runs import handover, run_folder
from tfransfer.runs.handover import Search
from tfransfer.runs.job import Job, OwnParts
from tfransfer.runs.resume import splits_of
from tfransfer.runs.run import Run, load_run
from tfransfer.runs.settings import make_recipe
from tfransfer.runs.start import require_factories
from tfransfer.system.allocator import keep_freed_memory
from tfransfer.system.keywords import keywords_of, known_keywords
from tfransfer.tasks.prediction import Prediction
from tfransfer.training.devices import AUTO, Devices, choose_devices

__all__ = [
    "bundle", "choose_devices", "evaluate", "export", "export_within", "load_data", "make_recipe", "predict", "report",
    "require_formats", "splits_of", "train", "verify",
]  # fmt: skip


def train(
    data: Any,
    base: Any = None,
    *,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    resume: bool = False,
    exports: Sequence[str] | None = None,
    loss: Any = None,
    metrics: Callable[[], list[Any]] | None = None,
    callbacks: Callable[[str], Sequence[Any]] | None = None,
    tensorboard: bool = False,
    devices: str | Devices = AUTO,
    command: str = "",
    progress: Progress | bool | None = None,
    say: Say | None = None,
    **settings: Any,
) -> Run:
    """Train a new head on a frozen base, then fine-tune the base's top blocks; evaluate, export, save the run.

    Args:
        data: From `load_data`, or what it takes: a folder, a table, "digits", arrays, ...
        base: A base's name, a TF-Hub handle or folder, or a keras.Model (then name its `preprocessing`).
        out: The run's folder; None takes `saved_models/NAME OF THE DATA`.
        recipe: All settings; None takes the defaults.
        overwrite: Replace the run that is in `out`, once the new one is finished.
        resume: Resume a run that was stopped or killed, with the same result; begin where there is none.
        exports: Formats besides `.keras`; None takes SavedModel, and LiteRT where the model takes pictures.
        loss: A Keras loss on (targets, probabilities), in place of the task's.
        metrics: Builds further Keras metrics on (targets, probabilities).
        callbacks: From a phase's name, "head" or "fine_tune", to fresh Keras callbacks.
        tensorboard: Write TensorBoard logs to the run's folder.
        devices: "auto", "cpu", "gpu", "gpu:0,1", "tpu", or what `choose_devices` gave, as several workers need.
        command: The command line that asks for this, for the recipe file.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told in one line what was found and decided.
        **settings: Put over the recipe: `image_size`, `seed`, `head_epochs`, `unfreeze`, ...; see Recipe.

    Returns:
        The run, whose model is the better of the two phases on validation.

    Raises:
        TransferError: The data, the settings, the weights or the folder cannot be used.
        Stopped: By SIGINT or SIGTERM; its message says how to resume. It is a KeyboardInterrupt.
    """
    keep_freed_memory()
    own_model = None if base is None or isinstance(base, str) else require_model(base)
    settings |= {"base": base} if isinstance(base, str) else {}
    recipe = make_recipe(recipe, settings, own_model is None, keywords_of(train))
    require_factories(metrics=metrics, callbacks=callbacks)
    require_formats(exports or ())
    devices = devices if isinstance(devices, Devices) else choose_devices(devices)
    progress, say = listeners(progress, say) if devices.chief else (quiet, silent)  # others do what the chief does
    return Job(
        data=data, recipe=recipe, place=run_folder.place_for(kinds.name_of(data), out), devices=devices,
        progress=progress, say=say, own=OwnParts(model=own_model, loss=loss, metrics=metrics, callbacks=callbacks),
        overwrite=overwrite, resume=resume, exports=exports, tensorboard=tensorboard, command=command,
    ).run()  # fmt: skip


@known_keywords
def evaluate(
    run: Run | str | Path,
    data: Any = None,
    *,
    predictions: bool = False,
    precision: float | None = None,
    progress: Progress | bool | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Score a run's model.

    Args:
        run: A run or its folder.
        data: A dataset, or what `load_data` takes, with the run's classes; None, or what it was trained on, takes
            the recorded validation and test splits and writes `metrics.json` anew, where that can be written.
        predictions: Write `predictions.csv` to the run's folder: path, label, split, predicted, probability.
        precision: Share of right answers that is wanted among those that are given: chooses, on validation, below which
            probability `predict` says that it is not sure, and adds to each split's metrics what that costs.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told what was set aside.

    Returns:
        For each split, its metrics; the pictures of another folder are all scored and stand under "all".

    Raises:
        DataNotFoundError: The data is not there (any more).
        DataError: Its classes are not the run's.
    """
    return _opened(run).evaluate(data, predictions=predictions, precision=precision, progress=progress, say=say)


@known_keywords
def predict(run: Run | str | Path, pictures: Any, *, top: int = 5, batch: int = 32) -> Prediction | list[Prediction]:
    """Name what is on pictures, or what texts say. The training data is not needed.

    Args:
        run: A run or its folder.
        pictures: A path, a folder, a PIL image, an array in [0, 255], or a list of these; of a run on texts a text, or
            a list of texts.
        top: How many of the likeliest classes to give.
        batch: Pictures per call of the model.

    Returns:
        One Prediction for one picture, else a list. Pictures that cannot be read are in it, with their error.

    Raises:
        DataNotFoundError: A path does not exist.
        DataError: An array has another form or range.
    """
    found: Prediction | list[Prediction] = _opened(run).predict(pictures, top=top, batch=batch)
    return found


@known_keywords
def export(
    run: Run | str | Path,
    *formats: str,
    max_drop: float | None = None,
    max_size: float | str | None = None,
    max_latency: float | None = None,
    progress: Progress | bool | None = None,
    say: Say | None = None,
) -> ExportList:
    """Export a run's model; each file is loaded again in a fresh process, compared and measured first.

    Where the run's data is at hand, a file's accuracy on the validation split is measured beside the model's; formats
    that are quantized to integers are calibrated on training pictures. What was measured stands in `exports.json`.

    Args:
        run: A run or its folder.
        *formats: "keras", "savedmodel", "onnx", "tflite" (float32), "tflite-fp16", "tflite-dynamic" (integer weights),
            "tflite-int8" (all integers, uint8 in and out), "tflite-int16x8".
        max_drop: Points of the headline metric (hundredths of top-1) that a file may lose.
        max_size: Bytes, or "4MB".
        max_latency: Milliseconds for one picture on this machine.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told what is done.

    Raises:
        SettingError: A format is unknown, or none was named.
        ExportError: A file does not say what the model says, or exceeds a limit; it is not kept.
    """
    return _opened(run).export(
        *formats, max_drop=max_drop, max_size=max_size, max_latency=max_latency, progress=progress, say=say
    )


@known_keywords
def bundle(
    run: Run | str | Path, *formats: str, progress: Progress | bool | None = None, say: Say | None = None
) -> Path:
    """Put a run's files into one zip, with examples and what each file says of them, loaders and a model card.

    Args:
        run: A run or its folder.
        *formats: What goes in, exported where it is not yet; none takes what was exported.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told what is done.

    Returns:
        The zip, in the run's folder; `verify` holds it to what it says, anywhere.

    Raises:
        ExportError: Nothing was exported yet, or a file does not load.
    """
    require_formats(formats)
    progress, say = listeners(progress, say)
    return handover.bundle_run(_opened(run), formats, say, progress)


@known_keywords
def verify(path: str | Path) -> list[Verdict]:
    """Load each model of a bundle in a fresh process, and hold it to what it said where the bundle was written.

    A SavedModel is a program, and is run: verify bundles of people whom you trust.

    Raises:
        DataNotFoundError: There is no such file.
        ExportError: It is no bundle, or a damaged one.
    """
    return verify_bundle(Path(path))


@known_keywords
def export_within(
    runs_: Sequence[Run | str | Path],
    budget: str,
    formats: Sequence[str] = (),
    *,
    progress: Progress | bool | None = None,
    say: Say | None = None,
) -> Search:
    """Try LiteRT files of one or several runs, and keep the best that keeps to a budget.

    Args:
        runs_: Runs or their folders, trained for the same classes.
        budget: Such as "4MB, 15ms, top1-drop 1": any of a size, the time for one picture on this machine, and the
            points that a file may lose against its model.
        formats: What is tried; empty tries LiteRT in float32, float16, with integer weights and in integers.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told what is done.

    Returns:
        Every file that was tried, and the one that was kept in its run's folder.

    Raises:
        SettingError: The budget does not read, or the runs name other classes.
    """
    limits = parse_budget(budget)
    progress, say = listeners(progress, say)
    require_formats(formats)
    return handover.export_within([_opened(run) for run in runs_], formats or TRIED, limits, say, progress)


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else load_run(run)


@known_keywords
def report(run: Run | str | Path, *, progress: Progress | bool | None = None, say: Say | None = None) -> Path:
    """Write a run's `report.html` anew. Without the training data it shows no photos, and says so.

    Args:
        run: A run or its folder.
        progress: Shows how far it is; True shows a bar, None does so in a notebook only.
        say: Told what was set aside.

    Returns:
        The file.
    """
    return _opened(run).report(progress=progress, say=say)
