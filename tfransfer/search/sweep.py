"""A sweep: one training for each combination of base, unfreeze depth and learning rate, compared on validation.

Trainings share cached features and seeds. Test data is not read, so that it plays no part in the choice; `train` then
trains the best combination and evaluates it on test data.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tfransfer import hyperrules
from tfransfer.base.blocks import ALL, NONE, top_blocks
from tfransfer.base.build import BuiltBase
from tfransfer.base.names import require_base
from tfransfer.base.open import named_base
from tfransfer.data.dataset import Dataset
from tfransfer.data.loading import open_data
from tfransfer.data.sources.kinds import name_of
from tfransfer.display.html import table
from tfransfer.display.listeners import listeners
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import RunExistsError, SettingError, WeightsNotFoundError
from tfransfer.evaluation import plots
from tfransfer.recipe import FineTunePhase, Recipe, read_recipe, write_recipe
from tfransfer.runs import run_folder
from tfransfer.runs.settings import lists_settings, make_recipe
from tfransfer.search.learning_rates import require_rates
from tfransfer.search.trial import Combination, Trial, row_of
from tfransfer.system.interface import option
from tfransfer.system.keywords import keywords_of
from tfransfer.system.signals import Stopped
from tfransfer.tasks.task import find_task, metric_name
from tfransfer.training import planning
from tfransfer.training.devices import Devices
from tfransfer.training.opening import suited

FOLDER = Path("sweeps")
TABLE, PLOT, COMMON, BEST, TRIALS = "sweep.csv", "sweep.png", "recipe.toml", "best.toml", "trials"


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep.

    Attributes:
        folder: Folder with its files.
        headline: Name of the metric that decides.
        rows: A row for each training, best first.
        recipe: All settings of the best training, for `train(data, recipe=...)`.
    """

    folder: Path
    headline: str
    rows: tuple[dict[str, Any], ...]
    recipe: Recipe

    @property
    def best(self) -> dict[str, Any]:
        """The row with the highest validation score; among equals, the lowest loss."""
        return self.rows[0]

    def plot(self) -> plots.Plot:
        """Plot the score over the learning rate, a line for each base and depth; returns a matplotlib figure."""
        return _plot(self.rows, self.headline)

    def __repr__(self) -> str:
        best = self.best
        rate = "" if best["learning_rate"] is None else f" at {best['learning_rate']:g}"
        score = f"{self.headline} {best[f'validation_{self.headline}']:.3f} on validation"
        return f"Sweep({len(self.rows)} trainings; best: {best['base']}, {best['unfreeze']} unfrozen{rate}, {score})"

    def _repr_html_(self) -> str:
        shown = [["" if v is None else f"{v:g}" if isinstance(v, float) else v for v in r.values()] for r in self.rows]
        return table(repr(self), list(self.best), shown)


@lists_settings
def sweep(
    data: Any,
    *,
    unfreeze: Sequence[int | str] | None = None,
    learning_rates: Sequence[float] | None = None,
    bases: Sequence[str] | None = None,
    weights: str | dict[str, str] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    recipe: Recipe | None = None,
    reading: dict[str, Any] | None = None,
    command: str = "",
    progress: Progress | bool | None = None,
    say: Say | None = None,
    **settings: Any,
) -> Sweep:
    """Train each combination of base, unfreeze depth and learning rate of the fine-tune phase; compare on validation.

    Args:
        data: A dataset from `load_data`, or anything that it takes.
        unfreeze: Depths, as `fine_tune.unfreeze`; 0 trains the head alone. None takes half, all and twice the default.
        learning_rates: Rates of the fine-tune phase. None takes a third, all and three times each base's default.
        bases: Names of bases; None takes the recipe's. If weights are not available, a base is skipped with a warning.
        weights: A weights file for a single base, or files by base.
        out: The folder; None takes `sweeps/NAME OF THE DATA`.
        resume: Resume the sweep in the folder. Finished trainings are not repeated, and combinations may be added.
        recipe: Settings common to all trainings; None takes the defaults.
        reading: Arguments of `load_data` by name, if the data is not loaded yet.
        command: The command line of this sweep, for messages and the recipe file.
        progress: Reports progress; True shows a bar, None shows one in notebooks only.
        say: Called with each line about findings and decisions.
        **settings: Override the recipe, as for `train`.

    Raises:
        TransferError: Something is wrong with the data, settings or folder, or no base's weights are available.
        Stopped: By SIGINT or SIGTERM; its message says how to resume.
    """
    progress, say = listeners(progress, say)
    common = make_recipe(recipe, settings, named_base=False, keywords=keywords_of(sweep))
    names: list[str | None] = list(bases) if bases else [common.base]
    files = _files(weights or common.weights, names)
    for name in names:
        require_base(replace(common, base=name, weights=files.get(name)))
    rates = require_rates(learning_rates) if learning_rates is not None else None
    place = run_folder.place_for(name_of(data), out, FOLDER)
    _require_place(place, resume)
    dataset = open_data(data, reading, progress=progress, say=say)
    common = suited(common, dataset)
    names = [name or common.base for name in names]
    files = {name or common.base: file for name, file in files.items()}
    combinations = _combinations(dataset, common, {name: files.get(name) for name in names}, unfreeze, rates, say)
    with run_folder.alone_in(place, create=True, remedy=f"wait, or choose another folder with {option('out')}."):
        _require_place(place, resume)  # another sweep may have come first
        _require_same_settings(place, common)
        write_recipe(place / COMMON, common, command or "made in Python with tfransfer.sweep")
        trial = partial(Trial, data=dataset, devices=Devices(), progress=progress, say=say, resume=resume)
        trials = {one: trial(recipe=one.recipe(common), place=place / TRIALS / one.name) for one in combinations}
        headline = find_task(dataset.task).headline
        resuming = f"{command} --resume" if command else f"tfransfer.sweep(..., out={str(place)!r}, resume=True)"
        return _run(trials, headline, place, resuming, say)


def _files(weights: str | dict[str, str] | None, names: Sequence[str | None]) -> dict[str | None, str]:
    """Weights files by base; a single file belongs to the only base."""
    if isinstance(weights, dict):
        unknown = set(weights) - set(names)
        if unknown:
            raise SettingError(f"weights are given for {', '.join(sorted(unknown))}, which is not among the bases.")
        return {name: weights[name] for name in names if name in weights}
    if weights is None:
        return {}
    if len(names) > 1:
        raise SettingError(f"one weights file, {weights}, does not fit {len(names)} bases: pass BASE=FILE for each.")
    return {names[0]: weights}


def _require_place(place: Path, resume: bool) -> None:
    """Check that a new sweep has a new folder, before any work is done."""
    if not resume and place.exists() and not (place.is_dir() and run_folder.is_empty(place)):
        hint = f"Give {option('resume', True)} to resume it, or c" if (place / COMMON).is_file() else "C"
        raise RunExistsError(f"{place} exists already. {hint}hoose another folder with {option('out')}.")


def _require_same_settings(place: Path, common: Recipe) -> None:
    """Check that common settings have not changed, so that rows can be compared; bases may differ."""
    if (place / COMMON).is_file():
        earlier, now = (replace(r, base=None, weights=None) for r in (read_recipe(place / COMMON), common))
        if earlier != now:
            raise SettingError(
                f"the sweep in {place} has other settings (see {place / COMMON}): use the same ones, or choose another "
                f"folder with {option('out')}."
            )


def _combinations(
    dataset: Dataset,
    common: Recipe,
    files: dict[str | None, str | None],
    depths: Sequence[int | str] | None,
    rates: Sequence[float] | None,
    say: Say,
) -> list[Combination]:
    combinations: dict[Combination, None] = {}
    missing = []
    for name, file in files.items():
        try:
            base = named_base(replace(common, base=name, weights=file), "float32", say)
        except WeightsNotFoundError as error:
            missing.append(str(error).splitlines()[0])
            say(f"warning: skipping {name}: {missing[-1]}")
            continue
        for depth in _depths(base, depths, common, len(dataset.split("train"))):
            for rate in [None] if depth in (0, NONE) else rates or _rates(base, common, len(dataset.split("train"))):
                combinations[Combination(base.name, file, depth, rate)] = None
    if not combinations:
        raise WeightsNotFoundError(f"no base can be trained: {'; '.join(missing)}")
    return list(combinations)


def _depths(base: BuiltBase, given: Sequence[int | str] | None, common: Recipe, images: int) -> list[int | str]:
    """The requested depths without duplicates; by default about half, all and twice the base's default."""
    if given is not None:
        requested = [FineTunePhase(unfreeze=depth).unfreeze for depth in given]
        for depth in requested:
            if depth != ALL and base.module is None:
                _require_depth(base, depth)
        return list(dict.fromkeys(0 if depth in (None, NONE) else depth for depth in requested))
    default = common.fine_tune.unfreeze
    default = planning.default_unfreeze(base, images) if default is None else default
    if not isinstance(default, int):
        return [default]
    return list(dict.fromkeys(max(1, min(len(base.blocks), depth)) for depth in (default // 2, default, 2 * default)))


def _require_depth(base: BuiltBase, depth: int | str | None) -> None:
    try:
        top_blocks(base.blocks, NONE if depth is None else depth)
    except SettingError as error:
        raise SettingError(f"{base.name}: {error}") from error


def _rates(base: BuiltBase, common: Recipe, images: int) -> list[float]:
    batch = min(common.batch_size or hyperrules.batch_size(images), images)
    default = common.fine_tune.learning_rate or hyperrules.fine_tune_learning_rate(batch, base.pretraining)
    return [float(f"{default * factor:.2g}") for factor in (1 / 3, 1, 3)]


def _run(trials: dict[Combination, Trial], headline: str, place: Path, resuming: str, say: Say) -> Sweep:
    """Run trials one after the other; `resuming` is the command that resumes them, for the message when stopped."""
    rows: dict[Combination, dict[str, Any]] = {}
    for number, (one, trial) in enumerate(trials.items(), start=1):
        rate = "" if one.learning_rate is None else f" at {one.learning_rate:g}"
        say(f"{number} of {len(trials)}: {one.base}, {one.unfreeze} unfrozen{rate}")
        try:
            rows[one] = row_of(one, trial.run().manifest, headline)
        except Stopped as error:
            raise Stopped(f"stopped after {len(rows)} of {len(trials)} trainings. To resume:\n{resuming}") from error
        run_folder.write_table(place / TABLE, _ordered(list(rows.values()), headline))
        gc.collect()  # a model's layers refer to each other, so only the collector frees them
    ordered = _ordered(list(rows.values()), headline)
    best = next(trials[one].recipe for one, row in rows.items() if row is ordered[0])
    write_recipe(place / BEST, best, f"the best of {len(rows)} on validation in {place}")
    plots.write_plot(_plot(ordered, headline), place / PLOT)
    return Sweep(place, headline, tuple(ordered), best)


def _ordered(rows: Sequence[dict[str, Any]], headline: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-row[f"validation_{headline}"], row["validation_loss"]))


def _plot(rows: Sequence[dict[str, Any]], headline: str) -> plots.Plot:
    lines: dict[str, list[tuple[float, float]]] = {}
    flat: dict[str, float] = {}
    for row in rows:
        name, score = f"{row['base']}, {row['unfreeze']} unfrozen", row[f"validation_{headline}"]
        if row["learning_rate"] is None:
            flat[f"{row['base']}, head alone"] = score
        else:
            lines.setdefault(name, []).append((row["learning_rate"], score))
    best = rows[0]["learning_rate"]
    marked = None if best is None else (best, rows[0][f"validation_{headline}"])
    return plots.trials(lines, flat, metric_name(headline), marked)
