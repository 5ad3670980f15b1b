"""The whole way: load data, train both phases, evaluate, predict, export. Wires the stages together."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfransfer import run_folder, runs, scoring, trust
from tfransfer.allocator import keep_freed_memory
from tfransfer.base.build import require_model
from tfransfer.data import flow, kinds, splits, survey
from tfransfer.data.index import IMAGE, TEXT, Dataset, Example
from tfransfer.data.inputs import is_single
from tfransfer.errors import DataError, RunError, SettingError, WriteError
from tfransfer.evaluation.predictions import Prediction, name_pictures, name_texts, predict_examples
from tfransfer.evaluation.scores import score
from tfransfer.exports.exporting import Export, export_model
from tfransfer.exports.formats import require_formats
from tfransfer.files import file_hash, write_json, write_text
from tfransfer.loading import load_data
from tfransfer.opening import open_session, require_base, suited
from tfransfer.progress import Progress, Say, quiet, silent
from tfransfer.recipe import LINEAR_PROBE, HeadPhase, Recipe, write_recipe
from tfransfer.runs import Run
from tfransfer.tasks import MULTI_LABEL, REGRESSION
from tfransfer.training import planning
from tfransfer.training.session import Session, train_phases

_DEFAULT_EXPORTS = {IMAGE: ("savedmodel", "tflite"), TEXT: ("savedmodel",)}
_SHORTCUTS = {
    "head_epochs": "head.epochs",
    "fine_tune_epochs": "fine_tune.epochs",
    "unfreeze": "fine_tune.unfreeze",
    "head": "head.method",
    "cache": "features.cache",
    "views": "features.views",
    "engine": "features.engine",
}
_SAMPLES, _COMPARED = 16, 64


def make_recipe(recipe: Recipe | None, settings: dict[str, Any], named_base: bool = True) -> Recipe:
    """A recipe with settings put over it; short names such as `head_epochs` and `cache` stand for dotted keys.

    Args:
        recipe: None takes the defaults.
        settings: What is put over it; None leaves a setting alone.
        named_base: Whether the recipe's base is used, and must be known.

    Raises:
        SettingError: A setting is unknown or out of range, or settings contradict each other.
    """
    dotted = {_dotted(key, value): value for key, value in settings.items() if value is not None}
    made = (recipe or Recipe()).with_settings(dotted)
    planning.require_sense(made)
    if named_base:
        require_base(made)
    return made


def _dotted(key: str, value: Any) -> str:
    """`head="linear-probe"` names a method; `head={"epochs": 3}` is the section itself."""
    return key if isinstance(value, dict | HeadPhase) else _SHORTCUTS.get(key, key)


def train(
    data: Any,
    base: Any = None,
    *,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    exports: Sequence[str] | None = None,
    loss: Any = None,
    metrics: Callable[[], list[Any]] | None = None,
    callbacks: Callable[[str], Sequence[Any]] | None = None,
    tensorboard: bool = False,
    command: str = "",
    progress: Progress = quiet,
    say: Say = silent,
    **settings: Any,
) -> Run:
    """Train a new head on a frozen base, then fine-tune the base's top blocks; evaluate, export, and keep the run.

    Args:
        data: From `load_data`, or what it takes: a folder, a table, "digits", arrays, ...
        base: Name of a base, a TF-Hub handle or folder, or a keras.Model (then name its `preprocessing`); None
            leaves it to the recipe.
        out: The run's folder; None takes `saved_models/NAME OF THE DATA`.
        recipe: All settings; None takes the defaults.
        overwrite: Replace the run that is in `out`.
        exports: Formats besides `.keras`; None takes SavedModel, and LiteRT where the model takes pictures.
        loss: A Keras loss on (targets, probabilities), in place of the task's.
        metrics: Builds further Keras metrics on (targets, probabilities).
        callbacks: From a phase's name, "head" or "fine_tune", to fresh Keras callbacks.
        tensorboard: Write TensorBoard logs to the run's folder.
        command: The command line that asks for this, for the recipe file.
        progress: Shows how far it is.
        say: Told in one line what was found and decided.
        **settings: Put over the recipe: `image_size`, `seed`, `head_epochs`, `unfreeze`, ...; see Recipe.

    Returns:
        The run, whose model is the better of the two phases on validation.

    Raises:
        TransferError: Something is wrong with the data, the settings, the weights or the folder; its message says what.
    """
    began = time.time()
    keep_freed_memory()
    own_model = None if base is None or isinstance(base, str) else base
    if own_model is not None:
        require_model(own_model)
    settings = settings | ({"base": base} if isinstance(base, str) else {})
    recipe = make_recipe(recipe, settings, named_base=own_model is None)
    _require_factories(metrics=metrics, callbacks=callbacks)
    require_formats(exports or ())
    place = run_folder.place_for(kinds.name_of(data), out, overwrite)
    dataset = data if isinstance(data, Dataset) else load_data(data, progress=progress, say=say)
    if dataset.refusal:
        raise DataError(dataset.refusal)
    survey.say_findings(survey.index_findings(dataset), say)
    recipe = suited(recipe, dataset)
    exports = _DEFAULT_EXPORTS[dataset.kind] if exports is None else exports
    require_formats(exports, dataset.kind == TEXT)
    session = open_session(dataset, recipe, own_model, loss, metrics, say)
    session.decide_caching(say)
    _say_plan(session, say)
    with run_folder.fresh_folder(place, overwrite, dataset.root):
        run = _start_run(place, session, command)
        callback_factory = _callbacks(callbacks, place / "tensorboard" if tensorboard else None)
        kept = train_phases(session, callback_factory, progress, say)
        run_folder.write_table(place / run_folder.HISTORY, kept.history_rows())
        run.manifest |= {"phases": kept.to_dict(), "kept": kept.kept}
        _finish(run, session, progress)
        run.write_manifest()
    try:
        if exports:
            export(run, *exports, say=say)
    finally:  # a format that fails does not cost the run
        run.manifest["seconds"] = round(time.time() - began, 1)
        run.write_manifest()
    return run


def _require_factories(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and not callable(value):
            raise SettingError(
                f"{name} wants a function that makes fresh ones, because each phase has its own; "
                f"it is a {type(value).__name__}. Write lambda {'phase' if name == 'callbacks' else ''}: [...]."
            )


def _start_run(place: Path, session: Session, command: str) -> Run:
    """Write everything that is decided before the first step."""
    dataset, plan = session.dataset, session.plan
    splits.write_splits(place / run_folder.SPLITS, dataset)
    run_folder.write_issues(place / run_folder.DATA_ISSUES, dataset.issues)
    write_text(place / run_folder.LABELS, "".join(f"{name}\n" for name in dataset.classes))
    write_recipe(place / run_folder.RECIPE, session.recipe, command or "made in Python with tfransfer.train")
    manifest = {
        "schema": run_folder.SCHEMA,
        "versions": runs.versions(),
        "task": session.task.name,
        "classes": list(dataset.classes),
        "seeds": {"seed": session.recipe.seed, "split_seed": dataset.split_seed},
        "data": {
            "source": dataset.source,
            "origin": dataset.origin,
            "kind": dataset.kind,
            "root": os.path.abspath(dataset.root),
            "counts": {name: dict(counts) for name, counts in dataset.counts().items()},
            "set_aside": sum(issue.set_aside for issue in dataset.issues),
            "notes": list(dataset.notes),
        },
        "plan": plan.to_dict() | {"features": session.caching.plan.to_dict()},
    }
    run = Run(place, manifest, dataset)
    run.write_manifest()
    return run


def _say_plan(session: Session, say: Say) -> None:
    dataset, plan = session.dataset, session.plan
    sizes = ", ".join(f"{name} {len(dataset.split(name))}" for name in ("train", "validation", "test"))
    what = f"{len(dataset.classes)} classes" if dataset.task != REGRESSION else f"a number, {dataset.classes[0]}"
    say(f"data: {what}{', of which several may apply' if dataset.task == MULTI_LABEL else ''}; {sizes}")
    for note in dataset.notes:
        say(f"data: {note}")
    second = f", then {plan.fine_tune_epochs} epochs with {', '.join(plan.unfrozen)} unfrozen" if plan.unfrozen else ""
    size = f" at {plan.image_size} pixels" if plan.image_size else ""
    say(f"base: {plan.base}{size}, weights from {plan.weights}, {plan.precision}")
    head = "a linear probe" if session.recipe.head.method == LINEAR_PROBE else f"{plan.head_epochs} epochs for the head"
    say(f"plan: {head}{second}, {plan.batch_size} {session.unit} a step")
    say(session.caching.plan.sentence())
    if predicted := session.caching.plan.predicted():
        say(predicted)


def _callbacks(users: Callable[[str], Sequence[Any]] | None, logs: Path | None) -> Callable[[str], Sequence[Any]]:
    def make(phase: str) -> Sequence[Any]:
        made = list(users(phase)) if users else []
        if logs is not None:
            made.append(keras.callbacks.TensorBoard(str(logs / phase), write_graph=False))
        return made

    return make


def _finish(run: Run, session: Session, progress: Progress) -> None:
    """Evaluate the kept model and save it."""
    model = session.model_for_export()
    run._model = model
    scored = scoring.score_splits(run, model, session.dataset, progress)
    write_json(run.folder / run_folder.METRICS, {name: score_of for name, (score_of, _) in scored.items()})
    validation = session.dataset.split("validation")
    pictures = _pictures(session.dataset, validation, session.plan.image_size)
    run_folder.write_samples(run.folder / run_folder.SAMPLES, pictures[:_SAMPLES])
    made = export_model(model, run.classes, pictures, ["keras"], run.folder, run.task)
    run.manifest["exports"] = {e.format: e.to_dict() for e in made}
    run.manifest["model_hash"] = file_hash(run.folder / run_folder.MODEL)
    trust.remember(run.folder / run_folder.MODEL, run.manifest["model_hash"])


def _pictures(dataset: Dataset, examples: Sequence[Example], size: int) -> np.ndarray:
    """Some held-out pictures, spread over the split, uint8 (n, size, size, 3); or texts, (n,)."""
    chosen = [examples[i] for i in np.unique(np.linspace(0, len(examples) - 1, _COMPARED).astype(int))]
    order = np.random.default_rng(0).permutation(len(chosen))
    ordered = [chosen[i] for i in order]
    if dataset.kind == TEXT:
        return np.array([example.text for example in ordered])
    made = flow.evaluation_flow(dataset, ordered, np.zeros((len(ordered), 1), np.float32), size, len(ordered))
    return next(iter(made.batches))[0].numpy()


def evaluate(
    run: Run | str | Path,
    data: Any = None,
    *,
    predictions: bool = False,
    progress: Progress = quiet,
    say: Say = silent,
) -> dict[str, Any]:
    """Score a run's model.

    Args:
        run: A run or its folder.
        data: A dataset, or what `load_data` takes, with the run's classes; None, or what it was trained on, takes
            the recorded validation and test splits and writes `metrics.json` anew, where that can be written.
        predictions: Write `predictions.csv` to the run's folder: path, label, split, predicted, probability.
        progress: Shows how far it is.
        say: Told what was set aside.

    Returns:
        For each split, its metrics; the pictures of another folder are all scored and stand under "all".

    Raises:
        DataNotFoundError: The data is not there (any more).
        DataError: Its classes are not the run's.
    """
    keep_freed_memory()
    run = run if isinstance(run, Run) else runs.load_run(run)
    if data is None or scoring.is_own_data(run, data):
        dataset = run.data or scoring.recorded_data(run, progress, say)
        scored = scoring.score_splits(run, run.model, dataset, progress)
        try:
            write_json(run.folder / run_folder.METRICS, {name: metrics for name, (metrics, _) in scored.items()})
        except WriteError as error:  # what took minutes to find out is still told
            say(f"warning: the figures are not kept: {error}")
    else:
        dataset = scoring.known_data(run, data, progress, say)
        said = predict_examples(run.model, dataset, dataset.examples, run.image_size, progress=progress)
        scored = {"all": (score(run.task, said, run.classes, run.thresholds), said)}
    if predictions:
        scoring.write_predictions(run, scored)
    return {name: metrics for name, (metrics, _) in scored.items()}


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
    run = run if isinstance(run, Run) else runs.load_run(run)
    reading = scoring.reading_of(run, top)
    if run.kind == TEXT:
        texts = [pictures] if isinstance(pictures, str) else [str(text) for text in pictures]
        named = name_texts(run.model, reading, texts, batch)
        return named[0] if isinstance(pictures, str) else named
    said = name_pictures(run.model, reading, run.image_size, pictures, batch)
    return said[0] if is_single(pictures) else said


def export(run: Run | str | Path, *formats: str, say: Say = silent) -> list[Export]:
    """Export a run's model; each file is checked in a fresh process first. The training data is not needed.

    Args:
        run: A run or its folder.
        *formats: "keras", "savedmodel", "tflite".
        say: Told what is done.

    Raises:
        SettingError: A format is unknown, or none was named.
        ExportError: A file does not say what the model says; it is not kept.
    """
    if not formats:
        raise SettingError("name at least one format to export to, for example tflite.")
    require_formats(formats)
    run = run if isinstance(run, Run) else runs.load_run(run)
    require_formats(formats, run.kind == TEXT)
    try:
        with np.load(run.folder / run_folder.SAMPLES, allow_pickle=False) as archive:
            pictures = archive["pictures"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{run.folder / run_folder.SAMPLES} is missing or damaged, so no export could be checked."
        ) from error
    made: list[Export] = []
    for name in dict.fromkeys(formats):  # one by one, so that one that fails does not take the others along
        say(f"export: writing and checking {name}")
        made += export_model(run.model, run.classes, pictures, [name], run.folder, run.task)
        run.manifest.setdefault("exports", {})[name] = made[-1].to_dict()
        run.write_manifest()
    return made
