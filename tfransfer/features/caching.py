"""Decide whether to cache the frozen part's outputs or to run it in every step, and what that costs.

The decision is made before the first step and written to the manifest with the plan.
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
from tfransfer.system.interface import option

# Cached features also serve later runs, so training without them has to be this much faster to be chosen.
_PLAIN_WINS = 0.8


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a training needs from the frozen part.

    Attributes:
        dataset: The dataset with its splits.
        base: The base, untrained.
        recipe: The user's settings.
        head_epochs: Epochs of the head phase.
        fine_tune_epochs: Epochs of the fine-tune phase; 0 if there is none.
        batch_size: Examples per training step.
        fine_tune_tap: Where the fine-tune phase's frozen part ends; None if training starts at the pixels.
        trained: Builds the fine-tune phase's trained part, to time a forward pass.
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
        """Where activations can be cached for the fine-tune phase, which needs a fixed shape; None if nowhere."""
        tap = self.fine_tune_tap
        return tap if tap is not None and elements(self.base, tap) else None

    def source(self, taps: tuple[Tap, ...], dtype: str) -> FeatureSource:
        """The features at some taps."""
        return FeatureSource(self.dataset, self.base, taps, self.recipe.augment, dtype)

    def wanted(self, source: FeatureSource, views: int) -> Wanted:
        """The views of the examples that both phases read."""
        train, validation = self.dataset.split("train"), self.dataset.split("validation")
        epochs = {tap: self.fine_tune_epochs if tap.cut else self.head_epochs for tap in source.taps}
        return Wanted(
            {tap.name: ((train, tuple(range(min(views, epochs[tap])))), (validation, (0,))) for tap in source.taps}
        )


class Workers(Protocol):
    """Processes of a distributed training; see `training.devices.Devices`."""

    @property
    def worker(self) -> int:
        """This process's number."""

    @property
    def workers(self) -> int:
        """Number of processes."""

    def meet(self) -> None:
        """Wait for all workers."""


@dataclass(frozen=True)
class Alone:
    """The only worker."""

    worker: int = 0
    workers: int = 1

    def meet(self) -> None:
        """Return at once: there are no other workers."""


@dataclass
class Caching:
    """A caching decision with what is needed to carry it out.

    Attributes:
        plan: The decision.
        source: Where the features come from; None if nothing is cached.
        wanted: The rows that training will read.
        engine: The engine that extracts; None if nothing is missing.
    """

    plan: CachePlan
    source: FeatureSource | None = None
    wanted: Wanted | None = None
    engine: Engine | None = None

    def extract(self, recipe: Recipe, progress: Progress, say: Say, workers: Workers | None = None) -> None:
        """Make room for the missing rows and extract them; several workers share the work.

        Raises:
            DataError: A picture can no longer be read.
            WriteError: The disk is full or not writable.
        """
        workers = workers or Alone()
        if self.source is None or self.wanted is None or self.engine is None:
            workers.meet()
            return
        in_use = [self.source.collection(tap, varied).folder for tap in self.source.taps for varied in (False, True)]
        removed = budget.make_room(self.plan.bytes, recipe.features.budget, in_use)
        if removed:
            say(f"features: removed the {removed} least recently used collections to make room")
        if workers.workers > 1:
            self.source.extract(self.wanted, self.engine, progress, workers.worker, workers.workers)
            workers.meet()
            self.source.reload()  # the other workers may have written to the same folder
        self.source.extract(self.wanted, self.engine, progress)
        self._report_widened(say)

    def _report_widened(self, say: Say) -> None:
        widened = sum(c.widened for c in self.source.collections()) if self.source else 0
        if widened:
            say(f"features: wrote {widened} shards as float32, because they hold values beyond float16")


def decide(work: Workload, say: Say, always: bool = False) -> Caching:
    """Decide what to cache.

    Args:
        work: What the training needs.
        say: Gets a line about damaged shards, and about an engine that cannot be used.
        always: Whether to cache even if training without the cache is faster.

    Raises:
        SettingError: LiteRT is requested and not installed.
    """
    obstacle = _obstacle(work)
    if obstacle:
        return Caching(CachePlan(why=obstacle))
    settings, tap, most = work.recipe.features, work.cached_tap, _most_views(work)
    space, needed = budget.room(settings.budget), 0
    # The first combination that fits the budget is used. Fewer views come before dropping the activations, because
    # the fine-tune phase without them runs the frozen part in every step.
    for taps in [(tap, POOLED_TAP), (POOLED_TAP,)] if tap else [(POOLED_TAP,)]:
        source = work.source(taps, settings.dtype)
        memory = source.engine_memory()
        for views in range(most, 0, -1):
            wanted = work.wanted(source, views)
            needed = _bytes(source, _missing_rows(source, wanted, choosing.remembered_engine(memory, settings.engine)))
            if needed <= space:
                fewer = "" if views == most and taps[0] is (tap or POOLED_TAP) else "no room for more"
                return _plan(work, source, memory, views, say, fewer=fewer, always=always)
    return Caching(CachePlan(why=f"they need {size_text(needed)}, and the store may take {size_text(space)}"))


def _most_views(work: Workload) -> int:
    """How many views to cache if they fit: at most one per epoch, and one of data that is not augmented."""
    if not work.recipe.augment.moves or not work.dataset.modality.has_pixels:
        return 1
    most = work.recipe.features.views or hyperrules.views(work.images, work.base.pretraining)
    return min(most, max(work.head_epochs, work.fine_tune_epochs))


def decided_before(work: Workload, decided: CachePlan, say: Say) -> Caching:
    """Restore the decision of a run that is resumed; nothing is measured, so that the run stays the same.

    Args:
        work: What the training needs.
        decided: The decision in the manifest.
        say: Gets a line about damaged shards, and about an engine that cannot be used.

    Raises:
        RunError: The chosen engine does not run here.
    """
    if not decided.head:
        return Caching(decided)
    tap = work.cached_tap if decided.fine_tune else None
    source = work.source((tap, POOLED_TAP) if tap else (POOLED_TAP,), decided.dtype)
    source.use_engine(decided.engine)
    wanted = work.wanted(source, decided.views)
    missing = source.missing(wanted)
    engine = None
    if _rows(missing):
        pictures, _ = decoding_seconds(work.dataset, work.base.image_size, choosing.SAMPLE)
        engine = choosing.open_engine(
            source.model, pictures, _rows(missing), source.engine_memory(), decided.engine, say
        ).engine
        _require_engine(engine, decided)
    _report_damaged(source, say)
    plan = replace(decided, extract=_rows(missing), bytes=_bytes(source, missing), seconds=None, plain_seconds=None)
    return Caching(plan, source, wanted, engine)


def _require_engine(engine: Engine, decided: CachePlan) -> None:
    if engine.name != decided.engine:
        raise RunError(
            f"the run started with features from the {decided.engine} engine, which cannot run this base here: start "
            f"over with {option('overwrite', True)}."
        )


def _obstacle(work: Workload) -> str:
    if not work.recipe.features.cache:
        return "features.cache is off"
    return "" if elements(work.base, POOLED_TAP) else "the base's output has no fixed shape"


def _missing_rows(source: FeatureSource, wanted: Wanted, engine: str | None) -> dict[str, set[str]]:
    """Rows missing for an engine; if none is chosen yet, for the engine that extracted most of them before."""
    if engine is not None:
        source.use_engine(engine)
        return source.missing(wanted)
    missing = {}
    for name in (LITERT, KERAS):
        source.use_engine(name)
        missing[name] = source.missing(wanted)
    fewest = min(missing, key=lambda name: sum(map(len, missing[name].values())))
    source.use_engine(fewest)
    return missing[fewest]


def _bytes(source: FeatureSource, missing: dict[str, set[str]]) -> int:
    itemsize = np.dtype(source.dtype).itemsize
    return sum(len(missing[tap.name]) * elements(source.base, tap) * itemsize for tap in source.taps)


def _rows(missing: dict[str, set[str]]) -> int:
    return len(set().union(*missing.values()))


def _plan(
    work: Workload, source: FeatureSource, memory: EngineMemory, views: int, say: Say, *, fewer: str, always: bool
) -> Caching:
    """Choose the engine if rows are missing, and decide by estimated time; `fewer` says why not more is cached."""
    # No engine is opened or measured if every row is cached: `why` then stays "cached before".
    wanted = work.wanted(source, views)
    missing = source.missing(wanted)
    engine, why = None, "cached before"
    if _rows(missing):
        pictures, decoding = decoding_seconds(work.dataset, work.base.image_size, choosing.SAMPLE)
        setting = _engine_setting(source, wanted, missing, memory, work.recipe)
        choice = choosing.open_engine(source.model, pictures, _rows(missing), memory, setting, say)
        engine, why = choice.engine, choice.why
        if engine.name == setting != work.recipe.features.engine:
            why = "most were extracted with it before"
        source.use_engine(engine.name)
        missing = source.missing(wanted)  # engines differ in the last digits, so their rows are not mixed
        memory.update(rates=memory.rates | choice.rates, decoding=decoding)
    _report_damaged(source, say)
    tap = next((tap for tap in source.taps if tap.cut), None)
    estimate = _forecast(work, memory, engine.name if engine else "", _rows(missing), tap is not None)
    plan = CachePlan(
        head=True,
        fine_tune=tap is not None,
        cut=tap.name if tap else "",
        views=views,
        engine=source.engine_name,
        dtype=work.recipe.features.dtype,
        extract=_rows(missing),
        bytes=_bytes(source, missing),
        seconds=estimate.cached,
        plain_seconds=estimate.plain,
        example_seconds=estimate.example,
        unit=source.dataset.modality.unit,
        why=", ".join(part for part in (f"engine {source.engine_name}: {why}", fewer) if part),
    )
    plain_wins = plan.seconds and plan.plain_seconds and plan.plain_seconds < _PLAIN_WINS * plan.seconds
    if plain_wins and not always:
        faster = "training without them is faster"
        plan = CachePlan(
            seconds=plan.seconds, plain_seconds=plan.plain_seconds, example_seconds=plan.example_seconds, why=faster
        )
        return Caching(plan)
    return Caching(plan, source, wanted, engine)


def _engine_setting(
    source: FeatureSource, wanted: Wanted, missing: dict[str, set[str]], memory: EngineMemory, recipe: Recipe
) -> str:
    """The engine setting; an engine that extracted most rows before is used again, so that these rows stay valid."""
    setting: str = recipe.features.engine
    total = sum(len(list(wanted.of(tap))) for tap in source.taps)
    if choosing.remembered_engine(memory, setting) is None and sum(map(len, missing.values())) * 2 < total:
        return source.engine_name
    return setting


def _forecast(work: Workload, memory: EngineMemory, engine: str, rows: int, fine_tune_cached: bool) -> Forecast:
    if work.fine_tune_epochs and "trained" not in memory.values:
        memory.update(trained=forward_seconds(work.trained()))
    measured = Measured(
        memory.rates.get(KERAS),
        memory.rates.get(engine),
        memory.values.get("decoding", 0.0),
        memory.values.get("trained", 0.0),
    )
    epochs = Epochs(work.head_epochs, work.fine_tune_epochs, work.images, work.batch_size)
    return forecast(measured, epochs, rows, fine_tune_cached)


def _report_damaged(source: FeatureSource, say: Say) -> None:
    damaged = sum(collection.damaged for collection in source.collections())
    if damaged:
        say(f"features: removed {damaged} damaged shards; their rows are extracted again")
