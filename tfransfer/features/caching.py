"""Whether the frozen part runs once or in every step: what is kept, what disk and time it takes, and why.

Decided before the first step and written to the manifest with the plan.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import keras
import numpy as np

from tfransfer import hyperrules
from tfransfer.base.build import BuiltBase
from tfransfer.base.taps import POOLED_TAP, Tap, elements
from tfransfer.data.dataset import Dataset
from tfransfer.display.progress import Progress, Say
from tfransfer.errors import RunError
from tfransfer.features import budget, choosing
from tfransfer.features.engines import KERAS, LITERT, Engine
from tfransfer.features.forecast import Epochs, Forecast, Measured, decoding_seconds, forecast, forward_seconds
from tfransfer.features.memory import EngineMemory
from tfransfer.features.plan import CachePlan
from tfransfer.features.source import FeatureSource, Wanted
from tfransfer.recipe import Recipe
from tfransfer.system.files import size_text

# Kept features serve later runs too, so the plain way must be this much faster to be taken.
_PLAIN_WINS = 0.8


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a training asks of the frozen part.

    Attributes:
        dataset: With its splits.
        base: The base, untrained.
        recipe: The user's settings.
        head_epochs: Epochs of the head phase.
        fine_tune_epochs: Epochs of the fine-tune phase; 0 where there is none.
        batch_size: Examples per training step.
        fine_tune_tap: Where the fine-tune phase's frozen part ends; None where training begins at the pixels.
        trained: Builds the fine-tune phase's trained part, to measure how long a pass through it takes.
    """

    dataset: Dataset
    base: BuiltBase
    recipe: Recipe
    head_epochs: int
    fine_tune_epochs: int
    batch_size: int
    fine_tune_tap: Tap | None
    trained: Callable[[], keras.Model]

    @property
    def images(self) -> int:
        """Size of the training split."""
        return len(self.dataset.split("train"))

    @property
    def cached_tap(self) -> Tap | None:
        """Where activations can be cached for the fine-tune phase: a place of fixed shape."""
        tap = self.fine_tune_tap
        return tap if tap is not None and elements(self.base, tap) else None

    def source(self, taps: tuple[Tap, ...], dtype: str) -> FeatureSource:
        """The values at some taps."""
        return FeatureSource(self.dataset, self.base, taps, self.recipe.augment, dtype)

    def wanted(self, source: FeatureSource, views: int) -> Wanted:
        """Which views of which examples both phases read."""
        train, validation = self.dataset.split("train"), self.dataset.split("validation")
        epochs = {tap: self.fine_tune_epochs if tap.cut else self.head_epochs for tap in source.taps}
        return Wanted(
            {tap.name: ((train, tuple(range(min(views, epochs[tap])))), (validation, (0,))) for tap in source.taps}
        )


class Workers(Protocol):
    """Processes that train together; see `training.devices.Devices`."""

    @property
    def worker(self) -> int:
        """This process's number."""

    @property
    def workers(self) -> int:
        """How many processes there are."""

    def meet(self) -> None:
        """Wait until every worker is here."""


@dataclass(frozen=True)
class Alone:
    """The only worker."""

    worker: int = 0
    workers: int = 1

    def meet(self) -> None:
        """There is nobody to wait for."""


@dataclass
class Caching:
    """A decision, and what carries it out.

    Attributes:
        plan: What was decided.
        source: Where the features come from; None where nothing is kept.
        wanted: What will be needed of it.
        engine: What extracts; None where nothing is to be extracted.
    """

    plan: CachePlan
    source: FeatureSource | None = None
    wanted: Wanted | None = None
    engine: Engine | None = None

    def extract(self, recipe: Recipe, progress: Progress, say: Say, workers: Workers | None = None) -> None:
        """Extract what is missing, after making room for it; several workers share the work.

        Raises:
            DataError: A picture cannot be read any more.
            WriteError: The disk is full or not writable.
        """
        workers = workers or Alone()
        if self.source is None or self.wanted is None or self.engine is None:
            workers.meet()
            return
        in_use = [self.source.collection(tap, varied).folder for tap in self.source.taps for varied in (False, True)]
        removed = budget.make_room(self.plan.bytes, recipe.features.budget, in_use)
        if removed:
            say(f"features: {removed} collections not used for the longest time were removed to make room")
        if workers.workers > 1:
            self.source.extract(self.wanted, self.engine, progress, workers.worker, workers.workers)
            workers.meet()
            self.source.look_again()  # at what the others wrote, where they write to the same folder
        self.source.extract(self.wanted, self.engine, progress)
        self._tell_widened(say)

    def _tell_widened(self, say: Say) -> None:
        widened = sum(c.widened for c in self.source.collections()) if self.source else 0
        if widened:
            say(f"features: {widened} shards hold values beyond float16 and were written as float32")


def decide(work: Workload, say: Say, always: bool = False) -> Caching:
    """Decide what is cached.

    Args:
        work: What the training asks for.
        say: Told what was found damaged, or cannot be used.
        always: Whether features are cached even where the plain way is faster.

    Raises:
        SettingError: LiteRT was asked for and is not installed.
    """
    refused = _refusal(work)
    if refused:
        return Caching(CachePlan(why=refused))
    settings, tap, most = work.recipe.features, work.cached_tap, _most_views(work)
    space, needed = budget.room(settings.budget), 0
    for taps in [(tap, POOLED_TAP), (POOLED_TAP,)] if tap else [(POOLED_TAP,)]:
        source = work.source(taps, settings.dtype)
        memory = source.engine_memory()
        for views in range(most, 0, -1):
            wanted = work.wanted(source, views)
            needed = _bytes(source, _look(source, wanted, choosing.remembered_engine(memory, settings.engine)))
            if needed <= space:
                fewer = "" if views == most and taps[0] is (tap or POOLED_TAP) else "no room for more"
                return _opened(work, source, memory, views, say, fewer=fewer, always=always)
    return Caching(CachePlan(why=f"they need {size_text(needed)} and the store may take {size_text(space)}"))


def _most_views(work: Workload) -> int:
    """How many views are cached where there is room: no more than there are epochs, one of what is not varied."""
    if not work.recipe.augment.moves or not work.dataset.modality.has_pixels:
        return 1
    most = work.recipe.features.views or hyperrules.views(work.images, work.base.pretraining)
    return min(most, max(work.head_epochs, work.fine_tune_epochs))


def decided_before(work: Workload, decided: CachePlan, say: Say) -> Caching:
    """Carry out what was decided when a run was begun; nothing is measured, so that the run stays the same.

    Args:
        work: What the training asks for.
        decided: What was decided about the features.
        say: Told what was found damaged, or cannot be used.

    Raises:
        RunError: The engine that was chosen does not run here.
    """
    if not decided.head:
        return Caching(decided)
    tap = work.cached_tap if decided.fine_tune else None
    source = work.source((tap, POOLED_TAP) if tap else (POOLED_TAP,), decided.dtype)
    source.use_engine(decided.engine)
    wanted = work.wanted(source, decided.views)
    lacking = source.missing(wanted)
    engine = None
    if _rows(lacking):
        pictures, _ = decoding_seconds(work.dataset, work.base.image_size, choosing.SAMPLE)
        engine = choosing.open_engine(
            source.model, pictures, _rows(lacking), source.engine_memory(), decided.engine, say
        ).engine
        _require_engine(engine, decided)
    _say_damaged(source, say)
    left = replace(decided, extract=_rows(lacking), bytes=_bytes(source, lacking), seconds=None, plain_seconds=None)
    return Caching(left, source, wanted, engine)


def _require_engine(engine: Engine, decided: CachePlan) -> None:
    if engine.name != decided.engine:
        raise RunError(
            f"the run was begun with features from {decided.engine}, which does not run this base now; train anew with "
            "--overwrite."
        )


def _refusal(work: Workload) -> str:
    if not work.recipe.features.cache:
        return "the recipe says so"
    return "" if elements(work.base, POOLED_TAP) else "the base's output has no fixed shape"


def _look(source: FeatureSource, wanted: Wanted, engine: str | None) -> dict[str, set[str]]:
    """What is missing under an engine; where none is chosen yet, under the one that extracted the most of it."""
    if engine is not None:
        source.use_engine(engine)
        return source.missing(wanted)
    found = {}
    for name in (LITERT, KERAS):
        source.use_engine(name)
        found[name] = source.missing(wanted)
    fewest = min(found, key=lambda name: sum(map(len, found[name].values())))
    source.use_engine(fewest)
    return found[fewest]


def _bytes(source: FeatureSource, lacking: dict[str, set[str]]) -> int:
    itemsize = np.dtype(source.dtype).itemsize
    return sum(len(lacking[tap.name]) * elements(source.base, tap) * itemsize for tap in source.taps)


def _rows(lacking: dict[str, set[str]]) -> int:
    return len(set().union(*lacking.values()))


def _opened(
    work: Workload, source: FeatureSource, memory: EngineMemory, views: int, say: Say, *, fewer: str, always: bool
) -> Caching:
    """Choose the engine where something is to be extracted, and estimate the time; `fewer` says why not more views."""
    wanted = work.wanted(source, views)
    lacking = source.missing(wanted)
    engine, why = None, "cached before"
    if _rows(lacking):
        pictures, decoding = decoding_seconds(work.dataset, work.base.image_size, choosing.SAMPLE)
        setting = _engine_setting(source, wanted, lacking, memory, work.recipe)
        choice = choosing.open_engine(source.model, pictures, _rows(lacking), memory, setting, say)
        engine, why = choice.engine, choice.why
        source.use_engine(engine.name)
        lacking = source.missing(wanted)  # another engine's rows do not serve: values differ in the last digits
        memory.keep(rates=memory.rates | choice.rates, decoding=decoding)
    _say_damaged(source, say)
    tap = next((tap for tap in source.taps if tap.cut), None)
    estimate = _forecast(work, memory, engine.name if engine else "", _rows(lacking), tap is not None)
    made = CachePlan(
        head=True,
        fine_tune=tap is not None,
        cut=tap.name if tap else "",
        views=views,
        engine=source.engine_name,
        dtype=work.recipe.features.dtype,
        extract=_rows(lacking),
        bytes=_bytes(source, lacking),
        seconds=estimate.kept,
        plain_seconds=estimate.plain,
        unit=source.dataset.modality.unit,
        why=", ".join(part for part in (f"engine {source.engine_name}: {why}", fewer) if part),
    )
    plain_wins = made.seconds and made.plain_seconds and made.plain_seconds < _PLAIN_WINS * made.seconds
    if plain_wins and not always:
        return Caching(CachePlan(seconds=made.seconds, plain_seconds=made.plain_seconds, why="the plain way is faster"))
    return Caching(made, source, wanted, engine)


def _engine_setting(
    source: FeatureSource, wanted: Wanted, lacking: dict[str, set[str]], memory: EngineMemory, recipe: Recipe
) -> str:
    """An engine that extracted most of the rows already goes on, so that these need not be extracted again."""
    setting: str = recipe.features.engine
    total = sum(len(list(wanted.of(tap))) for tap in source.taps)
    if choosing.remembered_engine(memory, setting) is None and sum(map(len, lacking.values())) * 2 < total:
        return source.engine_name
    return setting


def _forecast(work: Workload, memory: EngineMemory, engine: str, rows: int, fine_tune_kept: bool) -> Forecast:
    if work.fine_tune_epochs and "trained" not in memory.values:
        memory.keep(trained=forward_seconds(work.trained()))
    measured = Measured(
        memory.rates.get(KERAS),
        memory.rates.get(engine),
        memory.values.get("decoding", 0.0),
        memory.values.get("trained", 0.0),
    )
    epochs = Epochs(work.head_epochs, work.fine_tune_epochs, work.images, work.batch_size)
    return forecast(measured, epochs, rows, fine_tune_kept)


def _say_damaged(source: FeatureSource, say: Say) -> None:
    damaged = sum(collection.damaged for collection in source.collections())
    if damaged:
        say(f"features: {damaged} damaged shards were removed; their rows are extracted again")
