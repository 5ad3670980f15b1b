"""The whole pipeline: load data, train both phases, evaluate, predict, export."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from tfransfer.runs.job import Job
from tfransfer.runs.own_parts import OwnParts, require_usable
from tfransfer.runs.resume import splits_of
from tfransfer.runs.run import Run, load_run
from tfransfer.runs.settings import lists_settings, make_recipe
from tfransfer.system.allocator import keep_freed_memory
from tfransfer.system.files import user_path
from tfransfer.system.keywords import keywords_of, known_keywords
from tfransfer.tasks.prediction import Prediction
from tfransfer.training.devices import AUTO, Devices, choose_devices

__all__ = [
    "bundle", "choose_devices", "embed", "evaluate", "export", "export_within", "load_data", "make_recipe", "predict",
    "predict_proba", "report", "require_formats", "splits_of", "train", "verify",
]  # fmt: skip


@lists_settings
def train(
    data: Any,
    base: Any = None,
    *,
    out: str | Path | None = None,
    recipe: Recipe | dict[str, Any] | str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    exports: Sequence[str] | None = None,
    loss: Any = None,
    metrics: Callable[[], Any] | None = None,
    callbacks: Callable[[str], Any] | None = None,
    tensorboard: bool = False,
    devices: str | Devices = AUTO,
    command: str = "",
    progress: Progress | bool | None = None,
    say: Say | None = None,
    **settings: Any,
) -> Run:
    """Train a new head on a frozen base, then fine-tune the base's top blocks; evaluate, export, save the run.

    Args:
        data: From `load_data`, or anything it takes: a folder, a table, "digits", arrays, ...
        base: A base's name, a TF-Hub handle or folder, or a keras.Model (then set its `preprocessing`).
        out: The run's folder; None takes `saved_models/NAME OF THE DATA`.
        recipe: All settings: a Recipe, a dict, or the path of a TOML file; None takes the defaults.
        overwrite: Replace the run in `out`, once the new one is finished.
        resume: Resume a run that was stopped or killed, with the same result; start a new one if there is none.
        exports: Formats besides `.keras`; None takes SavedModel, and LiteRT for models of images.
        loss: A Keras loss on (targets, probabilities), in place of the task's.
        metrics: A function that returns additional Keras metrics on (targets, probabilities), a list or a single one.
        callbacks: A function from a phase's name, "head" or "fine_tune", to new Keras callbacks.
        tensorboard: Write TensorBoard logs to the run's folder.
        devices: "auto", "cpu", "gpu", "gpu:0,1", "tpu", or the result of `choose_devices`, which several workers need.
        command: The command line, for the recipe file.
        progress: Shows the progress; True for a bar, None for a bar in notebooks only.
        say: Called with lines on findings and decisions.
        **settings: Override the recipe: `image_size`, `seed`, `head_epochs`, `unfreeze`, ..., listed below; see Recipe.

    Returns:
        The run, whose model is from the phase that is better on validation.

    Raises:
        TransferError: The data, the settings, the weights or the folder cannot be used.
        Stopped: SIGINT or SIGTERM arrived; the message says how to resume. It is a KeyboardInterrupt.
    """
    keep_freed_memory()
    own_model = None if base is None or isinstance(base, str) else require_model(base)
    settings |= {"base": base} if isinstance(base, str) else {}
    recipe = make_recipe(recipe, settings, own_model is None, keywords_of(train))
    own = OwnParts(model=own_model, loss=loss, metrics=metrics, callbacks=callbacks)
    require_usable(own)
    require_formats(exports or ())
    devices = devices if isinstance(devices, Devices) else choose_devices(devices)
    progress, say = listeners(progress, say) if devices.chief else (quiet, silent)  # the chief reports for all
    return Job(
        data=data, recipe=recipe, place=run_folder.place_for(kinds.name_of(data), out), devices=devices,
        progress=progress, say=say, own=own,
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
    """Evaluate a run's model.

    Args:
        run: A run or its folder.
        data: A dataset, or anything `load_data` takes, with the run's classes; None, or the training data, takes the
            recorded validation and test splits and updates `metrics.json`.
        predictions: Write `predictions.csv` to the run's folder: path, label, split, predicted, probability.
        precision: Requested share of correct predictions among those that are not abstained from: chooses, on
            validation, the threshold below which `predict` abstains, and adds the coverage to each split's metrics.
        progress: Shows the progress; True for a bar, None for a bar in notebooks only.
        say: Called with lines on skipped files.

    Returns:
        The metrics of each split; for other data, the metrics of all its examples under "all".

    Raises:
        DataNotFoundError: The data does not exist (any more).
        DataError: Its classes differ from the run's.
    """
    return _opened(run).evaluate(data, predictions=predictions, precision=precision, progress=progress, say=say)


@known_keywords
def predict(run: Run | str | Path, pictures: Any, *, top: int = 5, batch: int = 32) -> Prediction | list[Prediction]:
    """Predict images or texts. The training data is not needed.

    Args:
        run: A run or its folder.
        pictures: The path of a picture, of a folder or of a table of paths; a PIL image; an encoded picture, as bytes
            or as an open file; an array (h, w), (h, w, 1, 3 or 4) or (n, h, w, 3) in [0, 255]. For a run on texts, a
            text, or the path of a .txt file with one in each line or of a table. For both, several of these (a list, a
            Series, an array of paths, a generator), a DataFrame with the run's column, or a tf.data.Dataset.
        top: Number of likeliest classes to return.
        batch: Images per call of the model.

    Returns:
        One Prediction for a single image or text, else a list. It includes what cannot be read, with an error.

    Raises:
        DataNotFoundError: A path does not exist.
        DataError: An array has the wrong shape or range, or something is no text and no file of texts.
    """
    predictions: Prediction | list[Prediction] = _opened(run).predict(pictures, top=top, batch=batch)
    return predictions


@known_keywords
def predict_proba(run: Run | str | Path, pictures: Any, *, batch: int = 32) -> np.ndarray:
    """Predict the probabilities of all classes of images or texts, as an array.

    Args:
        run: A single-label or multi-label run, or its folder.
        pictures: Anything that `predict` takes.
        batch: Images per call of the model.

    Returns:
        float32, shape (n, classes), each in [0, 1]: a row for each input, in order and also for a single one; a column
        for each of `run.classes`. Rows of a single-label run sum to one.

    Raises:
        SettingError: The run is a regression, whose predictions are the `value` of what `predict` returns.
        DataNotFoundError: A path does not exist.
        DataError: As for `predict`; or an input cannot be read: the message names each.
    """
    probabilities: np.ndarray = _opened(run).predict_proba(pictures, batch=batch)
    return probabilities


@known_keywords
def embed(run: Run | str | Path, pictures: Any, *, batch: int = 32) -> np.ndarray:
    """Compute features of images or texts with a run's model: the input of its head.

    Args:
        run: A run of any task, or its folder.
        pictures: Anything that `predict` takes.
        batch: Images per call of the model.

    Returns:
        float32, shape (n, width), of any range: a row for each input, in order and also for a single one. The width is
        that of the base's pooled features.

    Raises:
        RunError: The model has no head on pooled features.
        DataNotFoundError: A path does not exist.
        DataError: As for `predict`; or an input cannot be read: the message names each.
    """
    features: np.ndarray = _opened(run).embed(pictures, batch=batch)
    return features


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
    """Export a run's model; each file is loaded in a new process, compared with the model and measured.

    If the run's data is available, a file's accuracy on the validation split is measured and compared with the model's;
    formats that are quantized to integers are calibrated on training images. The measurements are in `exports.json`.

    Args:
        run: A run or its folder.
        *formats: "keras", "savedmodel", "onnx", "tflite" (float32), "tflite-fp16", "tflite-dynamic" (integer weights),
            "tflite-int8" (all integers, uint8 in and out), "tflite-int16x8".
        max_drop: Points of the headline metric (hundredths of top-1) that a file may lose.
        max_size: Bytes, or a string such as "4MB".
        max_latency: Milliseconds for one image on this machine.
        progress: Shows the progress; True for a bar, None for a bar in notebooks only.
        say: Called with a line on each step.

    Returns:
        The exported files with their measurements.

    Raises:
        SettingError: A format is unknown, or none was given.
        ExportError: A file's outputs differ from the model's, or it exceeds a limit; it is discarded.
    """
    return _opened(run).export(
        *formats, max_drop=max_drop, max_size=max_size, max_latency=max_latency, progress=progress, say=say
    )


@known_keywords
def bundle(
    run: Run | str | Path, *formats: str, progress: Progress | bool | None = None, say: Say | None = None
) -> Path:
    """Pack a run's files into one zip, with examples, each file's outputs on them, loaders and a model card.

    Args:
        run: A run or its folder.
        *formats: Formats to include, exported if they are missing; none takes all that were exported.
        progress: Shows the progress; True for a bar, None for a bar in notebooks only.
        say: Called with a line on each step.

    Returns:
        The zip, in the run's folder; `verify` checks it on any machine.

    Raises:
        ExportError: Nothing was exported yet, or a file does not load.
    """
    require_formats(formats)
    progress, say = listeners(progress, say)
    return handover.bundle_run(_opened(run), formats, say, progress)


@known_keywords
def verify(path: str | Path, trust: bool = False) -> list[Verdict]:
    """Load each model of a bundle in a new process, and compare its outputs with those recorded in the bundle.

    Args:
        path: The bundle.
        trust: Whether to run a SavedModel, which is a program. Bundles written on this machine are trusted anyway.

    Returns:
        The result for each model; one that was not run says why in `wrong`.

    Raises:
        DataNotFoundError: The file does not exist.
        ExportError: It is not a bundle, holds no models, or is damaged.
    """
    return verify_bundle(user_path(path), trust)


@known_keywords
def export_within(
    runs_: Sequence[Run | str | Path],
    budget: str,
    formats: Sequence[str] = (),
    *,
    progress: Progress | bool | None = None,
    say: Say | None = None,
) -> Search:
    """Try LiteRT files of one or several runs, and save the best one within a budget.

    Args:
        runs_: Runs or their folders, trained for the same classes.
        budget: Such as "4MB, 15ms, top1-drop 1": any of a size, the time for one image on this machine, and the points
            that a file may lose against its model.
        formats: Formats to try; empty tries LiteRT in float32, float16, with integer weights and in integers.
        progress: Shows the progress; True for a bar, None for a bar in notebooks only.
        say: Called with a line on each step.

    Returns:
        All tried files, and the best one, which is saved in its run's folder.

    Raises:
        SettingError: The budget is invalid, or the runs differ in task or classes.
    """
    limits = parse_budget(budget)
    progress, say = listeners(progress, say)
    require_formats(formats)
    return handover.export_within([_opened(run) for run in runs_], formats or TRIED, limits, say, progress)


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else load_run(run)


@known_keywords
def report(run: Run | str | Path, *, progress: Progress | bool | None = None, say: Say | None = None) -> Path:
    """Write a run's `report.html`. Without the training data it shows no images, and says so.

    Args:
        run: A run or its folder.
        progress: Shows the progress; True for a bar, None for a bar in notebooks only.
        say: Called with lines on skipped files.

    Returns:
        The file.
    """
    return _opened(run).report(progress=progress, say=say)
