"""Whether the frozen part runs once or in every step: what is kept, what disk and time it takes, and why.

Decided before the first step and written to the manifest with the plan.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tfransfer import hyperrules
from tfransfer.base.build import BuiltBase
from tfransfer.base.taps import POOLED_TAP, Tap, elements
from tfransfer.data.index import IMAGE, Dataset
from tfransfer.errors import RunError
from tfransfer.features import budget, choosing
from tfransfer.features.engines import KERAS, LITERT, Engine
from tfransfer.features.memory import EngineMemory
from tfransfer.features.source import FeatureSource, Wanted
from tfransfer.files import size_text
from tfransfer.progress import Progress, Say
from tfransfer.recipe import Recipe
from tfransfer.training.devices import Devices
from tfransfer.training.forecast import Forecast, decoding_seconds, forward_seconds
from tfransfer.training.model import TransferModel, tap_below, unfreeze
from tfransfer.training.planning import Plan

# Kept features serve later runs too, so the plain way must be this much faster to be taken.
_PLAIN_WINS = 0.8


@dataclass(frozen=True)
class CachePlan:
    """What is kept of the frozen part.

    Attributes:
        head: Whether the head phase trains on kept features.
        fine_tune: Whether the fine-tune phase trains from kept activations.
        cut: Where the fine-tune phase's frozen part ends; empty where it has none apart.
        views: Of each training picture.
        engine: What runs the frozen part; empty where nothing is kept.
        dtype: Of the kept values.
        extract: Pictures that go through the engine first, over all views.
        bytes: What they will take on disk.
        seconds: Predicted, for extraction and both phases; None where nothing was measured.
        plain_seconds: Predicted, if the frozen part ran in every step.
        why: In a few words.
        unit: "images" or "texts".
    """

    head: bool = False
    fine_tune: bool = False
    cut: str = ""
    views: int = 1
    engine: str = ""
    dtype: str = ""
    extract: int = 0
    bytes: int = 0
    seconds: float | None = None
    plain_seconds: float | None = None
    why: str = ""
    unit: str = "images"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def sentence(self) -> str:
        """The plan's line about it."""
        if not self.head:
            return f"features: not kept, because {self.why}"
        what = "pooled features" + (f" and activations at {self.cut}" if self.fine_tune else "")
        views = f", {self.views} views of each training image" if self.views > 1 else ""
        new = (
            f"{self.extract} {self.unit} to extract with {self.engine}"
            if self.extract
            else "all of them are kept already"
        )
        size = f" ({size_text(self.bytes)})" if self.extract else ""
        return f"features: {what}{views}; {new}{size}; {self.why}"

    def predicted(self) -> str:
        """The plan's line about time; empty where nothing was measured."""
        if self.seconds is None or self.plain_seconds is None or not self.head:
            return ""
        return f"time: about {_duration(self.seconds)}; without kept features about {_duration(self.plain_seconds)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


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

    def extract(self, recipe: Recipe, progress: Progress, say: Say, devices: Devices | None = None) -> None:
        """Extract what is missing, after making room for it; several workers share the work.

        Raises:
            DataError: A picture cannot be read any more.
            WriteError: The disk is full or not writable.
        """
        devices = devices or Devices()
        if self.source is None or self.wanted is None or self.engine is None:
            devices.meet()
            return
        in_use = [self.source.collection(tap, varied).folder for tap in self.source.taps for varied in (False, True)]
        removed = budget.make_room(self.plan.bytes, recipe.features.budget, in_use)
        if removed:
            say(f"features: {removed} collections not used for the longest time were removed to make room")
        if devices.workers > 1:
            self.source.extract(self.wanted, self.engine, progress, devices.worker, devices.workers)
            devices.meet()
            self.source.look_again()  # at what the others wrote, where they write to the same folder
        self.source.extract(self.wanted, self.engine, progress)
        self._tell_widened(say)

    def _tell_widened(self, say: Say) -> None:
        widened = sum(c.widened for c in self.source.collections()) if self.source else 0
        if widened:
            say(f"features: {widened} shards hold values beyond float16 and were written as float32")


def decide(
    dataset: Dataset, recipe: Recipe, plan: Plan, whole: TransferModel, say: Say, always: bool = False
) -> Caching:
    """Decide what is kept.

    Args:
        dataset: With its splits.
        recipe: The user's settings.
        plan: What was decided before.
        whole: The model, its base untrained.
        say: Told of what was found damaged, or cannot be used.
        always: Whether features are kept even where the plain way is faster.

    Raises:
        SettingError: LiteRT was asked for and is not installed.
    """
    base = whole.base
    refused = _refusal(recipe, whole)
    if refused:
        return Caching(CachePlan(why=refused))
    tap = _fine_tune_tap(base, plan)
    most = recipe.features.views or hyperrules.views(len(dataset.split("train")), base.pretraining)
    most = (
        min(most, max(plan.head_epochs, plan.fine_tune_epochs)) if recipe.augment.moves and dataset.kind == IMAGE else 1
    )
    space, needed = budget.room(recipe.features.budget), 0
    for taps in [(tap, POOLED_TAP), (POOLED_TAP,)] if tap else [(POOLED_TAP,)]:
        source = FeatureSource(dataset, base, taps, recipe.augment, recipe.features.dtype)
        memory = source.engine_memory()
        for views in range(most, 0, -1):
            wanted = _wanted(source, plan, views)
            needed = _bytes(source, _look(source, wanted, choosing.remembered_engine(memory, recipe.features.engine)))
            if needed <= space:
                fewer = "" if views == most and taps[0] is (tap or POOLED_TAP) else "no room for more"
                return _opened(source, wanted, views, memory, recipe, plan, whole, fewer, say, always)
    return Caching(CachePlan(why=f"they need {size_text(needed)} and the store may take {size_text(space)}"))


def decided_before(
    dataset: Dataset, recipe: Recipe, plan: Plan, whole: TransferModel, decided: CachePlan, say: Say
) -> Caching:
    """Carry out what was decided when a run was begun; nothing is measured, so that the run stays the same.

    Args:
        dataset: With its splits.
        recipe: The user's settings.
        plan: What was decided before.
        whole: The model, its base untrained.
        decided: What was decided about the features.
        say: Told of what was found damaged, or cannot be used.

    Raises:
        RunError: The engine that was chosen does not run here.
    """
    if not decided.head:
        return Caching(decided)
    tap = _fine_tune_tap(whole.base, plan) if decided.fine_tune else None
    taps = (tap, POOLED_TAP) if tap else (POOLED_TAP,)
    source = FeatureSource(dataset, whole.base, taps, recipe.augment, decided.dtype)
    source.use_engine(decided.engine)
    wanted = _wanted(source, plan, decided.views)
    lacking = source.missing(wanted)
    engine = None
    if _rows(lacking):
        pictures, _ = decoding_seconds(dataset, whole.base.image_size, choosing.SAMPLE)
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


def _fine_tune_tap(base: BuiltBase, plan: Plan) -> Tap | None:
    """Where activations are kept for the fine-tune phase; None where it has no frozen part apart."""
    tap = tap_below(base.blocks, plan.unfreeze) if plan.fine_tune_epochs and base.module is None else None
    return tap if tap is not None and elements(base, tap) else None


def _refusal(recipe: Recipe, whole: TransferModel) -> str:
    if not recipe.features.cache:
        return "the recipe says so"
    return "" if elements(whole.base, POOLED_TAP) else "the base's output has no fixed shape"


def _wanted(source: FeatureSource, plan: Plan, views: int) -> Wanted:
    train, validation = source.dataset.split("train"), source.dataset.split("validation")
    epochs = {tap: plan.fine_tune_epochs if tap.cut else plan.head_epochs for tap in source.taps}
    return Wanted(
        {tap.name: ((train, tuple(range(min(views, epochs[tap])))), (validation, (0,))) for tap in source.taps}
    )


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
    source: FeatureSource,
    wanted: Wanted,
    views: int,
    memory: EngineMemory,
    recipe: Recipe,
    plan: Plan,
    whole: TransferModel,
    fewer: str,
    say: Say,
    always: bool,
) -> Caching:
    """Choose the engine where something is to be extracted, and foretell the time."""
    lacking = source.missing(wanted)
    engine, why = None, "kept before"
    if _rows(lacking):
        pictures, decoding = decoding_seconds(source.dataset, source.base.image_size, choosing.SAMPLE)
        setting = _engine_setting(source, wanted, lacking, memory, recipe)
        choice = choosing.open_engine(source.model, pictures, _rows(lacking), memory, setting, say)
        engine, why = choice.engine, choice.why
        source.use_engine(engine.name)
        lacking = source.missing(wanted)
        memory.keep(rates=memory.rates | choice.rates, decoding=decoding)
    _say_damaged(source, say)
    tap = next((tap for tap in source.taps if tap.cut), None)
    forecast = _forecast(
        memory, plan, whole, tap, engine.name if engine else "", _rows(lacking), len(source.dataset.split("train"))
    )
    made = CachePlan(
        head=True,
        fine_tune=tap is not None,
        cut=tap.name if tap else "",
        views=views,
        engine=source.engine_name,
        dtype=recipe.features.dtype,
        extract=_rows(lacking),
        bytes=_bytes(source, lacking),
        seconds=forecast.kept,
        plain_seconds=forecast.plain,
        unit=f"{source.dataset.kind}s",
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


def _forecast(
    memory: EngineMemory, plan: Plan, whole: TransferModel, tap: Tap | None, engine: str, rows: int, images: int
) -> Forecast:
    rates = memory.rates
    if plan.fine_tune_epochs and "trained" not in memory.values:
        parts = unfreeze(whole, plan.unfreeze)
        memory.keep(trained=forward_seconds(parts.trained))
    return Forecast.of(
        keras_rate=rates.get(KERAS),
        engine_rate=rates.get(engine),
        decoding=memory.values.get("decoding", 0.0),
        trained=memory.values.get("trained", 0.0),
        rows=rows,
        images=images,
        plan=plan,
        fine_tune_kept=tap is not None,
    )


def _say_damaged(source: FeatureSource, say: Say) -> None:
    damaged = sum(collection.damaged for collection in source.collections())
    if damaged:
        say(f"features: {damaged} damaged shards were removed; their rows are extracted again")
