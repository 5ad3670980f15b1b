"""A training session: data, recipe, plan and model together, and what each phase needs from them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np

from tfransfer.base.build import BuiltBase
from tfransfer.base.taps import POOLED_TAP, tap_below
from tfransfer.base.tokens import AUTO, BOTH, MEAN
from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.display.progress import Progress, Say
from tfransfer.features.batches import Passes, evaluation_batches, training_batches
from tfransfer.features.caching import Caching, Workload, decide, decided_before
from tfransfer.features.plan import CachePlan
from tfransfer.features.source import FeatureSource
from tfransfer.methods.heads.method import HeadData
from tfransfer.methods.losses import as_loss
from tfransfer.methods.objective import Objective
from tfransfer.methods.supervised import Supervised
from tfransfer.methods.token_pooling import choose_pooling
from tfransfer.recipe import Recipe
from tfransfer.tasks.task import Task
from tfransfer.training.batches import Batches, Stream
from tfransfer.training.devices import Devices
from tfransfer.training.model import Parts, TransferModel, assemble, unfreeze
from tfransfer.training.phase import HEAD, PHASE_NUMBERS, Phase
from tfransfer.training.plan import Plan

# Steps per call where a step takes a millisecond: enough to hide the call's overhead.
_CACHED_HEAD_STEPS = 32


@dataclass(kw_only=True)
class Session:
    """Everything that both phases need.

    Attributes:
        dataset: The data, with its splits.
        recipe: The user's settings.
        plan: The resolved settings.
        base: The built base.
        task: The task of the head.
        loss: The user's Keras loss; None for the task's.
        metrics: Builds the user's additional metrics; None for none.
        rebuild: Builds the base again under another dtype policy; None for the user's own model.
        caching: Which features of the frozen part are cached; see `decide_caching`.
        devices: Devices to train on; the base was built in their scope.
        objectives: Builds a phase's objective from the phase and the Keras loss; None minimizes that loss, with mixup.
        cross_validated: The head's figure by cross-validation, where the test split is small; see `runs`.
        streams: Additional inputs of objectives, by name: builds a `Stream` from a phase and its global batch size.
    """

    dataset: Dataset
    recipe: Recipe
    plan: Plan
    base: BuiltBase
    task: Task
    loss: Any = None
    metrics: Callable[[], list[Any]] | None = None
    rebuild: Callable[[str], BuiltBase] | None = None
    caching: Caching = field(default_factory=lambda: Caching(CachePlan(why="not decided yet")))
    devices: Devices = field(default_factory=Devices)
    objectives: Callable[[Phase, keras.losses.Loss], Objective] | None = None
    cross_validated: dict[str, Any] | None = None
    streams: dict[str, Callable[[Phase, int], Stream]] = field(default_factory=dict)

    def decide_pooling(self, progress: Progress, say: Say) -> None:
        """Decide what the head takes of the base's tokens, where the recipe leaves it open; before anything else."""
        if self.plan.pooling == AUTO:
            apart = self.devices.workers > 1  # they would have to agree
            chosen = MEAN if apart else choose_pooling(self.dataset, self.base, self.recipe, progress, say)
            self.plan = replace(self.plan, pooling=chosen)

    def decide_caching(self, say: Say, decided: CachePlan | None = None, always: bool = False) -> None:
        """Decide what to cache of the frozen part, before anything is trained; or carry out an earlier decision.

        With `always`, features are cached even where training without a cache is faster.
        """
        work = self._workload()
        self.caching = decide(work, say, always) if decided is None else decided_before(work, decided, say)

    def _workload(self) -> Workload:
        plan, base = self.plan, self.base
        tap = tap_below(base.blocks, plan.unfreeze) if plan.fine_tune_epochs and base.module is None else None
        return Workload(
            dataset=self.dataset, base=base, recipe=self.recipe, head_epochs=plan.head_epochs,
            fine_tune_epochs=plan.fine_tune_epochs, batch_size=plan.batch_size, fine_tune_tap=tap,
            trained=lambda: unfreeze(self.whole, plan.unfreeze).trained,
        )  # fmt: skip

    @property
    def unit(self) -> str:
        """What progress displays count: "images" or "texts"."""
        return self.dataset.modality.unit

    @cached_property
    def whole(self) -> TransferModel:
        """The model, assembled on first use."""
        with self.devices.strategy.scope():
            return self._assemble(self.base)

    def assemble(self) -> TransferModel:
        """Assemble the model now, if it is not assembled yet."""
        return self.whole

    def _assemble(self, base: BuiltBase) -> TransferModel:
        dropout, seed = self.recipe.head.dropout, self.recipe.seed
        return assemble(base, len(self.dataset.classes), dropout, self.task, seed, self.plan.pooling or BOTH)

    def model_for_export(self) -> keras.Model:
        """The model in float32 on one device: rebuilt with the same weights if it was trained in another form."""
        if self.rebuild is None or (self.plan.precision == "float32" and not self.devices.scoped):
            return self.whole.model
        rebuilt = self._assemble(self.rebuild("float32")).model
        rebuilt.set_weights(self.whole.model.get_weights())
        return rebuilt

    def batches(self, phase: Phase, parts: Parts) -> Callable[[int], Batches]:
        """A function from a batch size to a phase's batches: of cached features if there are any, else of pixels."""
        cached = self.caching.plan.head if phase.name == HEAD else self.caching.plan.fine_tune
        if cached:
            make = self.cached_batches(phase.name, parts, phase.epochs)
        else:
            make = self.pixel_batches(phase.name, phase.epochs)

        def with_streams(batch: int) -> Batches:
            return replace(make(batch), streams={name: of(phase, batch) for name, of in self.streams.items()})

        return with_streams

    def pixel_batches(self, phase: str, epochs: int, views: int | None = None) -> Callable[[int], Batches]:
        """A function from a batch size to batches of pixels: augmented in each epoch, or in `views` fixed views."""
        data, recipe, size = self.dataset, self.recipe, self.plan.image_size
        train, held_out, targets, weights, held_out_targets = self._columns()
        seed, share = (recipe.seed, PHASE_NUMBERS[phase]), self.devices.share

        def make(batch: int) -> Batches:
            def training(first_epoch: int, first_step: int) -> Any:
                return flow.training_flow(
                    data, train, targets, weights, size, batch, settings=recipe.augment, seed=seed,
                    first_epoch=first_epoch, first_step=first_step, epochs=epochs, views=views, share=share,
                ).batches  # fmt: skip

            validation = flow.evaluation_flow(data, held_out, held_out_targets, size, share.piece(batch), share)
            return Batches(
                training=training, steps=len(train) // batch, batch=batch, validation=validation.batches,
                unit=self.unit,
            )  # fmt: skip

        return make

    def cached_batches(self, phase: str, parts: Parts, epochs: int) -> Callable[[int], Batches]:
        """A function from a batch size to batches of cached features."""
        train, held_out, targets, weights, held_out_targets = self._columns()
        seed, tap = (self.recipe.seed, PHASE_NUMBERS[phase]), parts.tap or POOLED_TAP
        source, share = self._source(), self.devices.share
        views = [source.rows(tap, train, view) for view in range(min(self.caching.plan.views, epochs))]
        validation_rows = source.rows(tap, held_out, 0)

        def make(batch: int) -> Batches:
            def training(first_epoch: int, first_step: int) -> Any:
                passes = Passes(seed, epochs, first_epoch, first_step)
                return training_batches(views, targets, weights, batch, passes, share).batches

            validation = evaluation_batches(validation_rows, held_out_targets, share.piece(batch), share)
            return Batches(
                training=training, steps=len(train) // batch, batch=batch, validation=validation.batches, cached=True,
                unit=self.unit,
            )  # fmt: skip

        return make

    def _columns(self) -> tuple[Any, Any, Any, Any, Any]:
        """Training examples, validation examples, training targets, training weights, validation targets."""
        train, held_out = self.dataset.split("train"), self.dataset.split("validation")
        weights = flow.class_weights(train, self.dataset.classes, self.recipe.class_weights)
        return train, held_out, self.dataset.targets(train), weights, self.dataset.targets(held_out)

    def _source(self) -> FeatureSource:
        if self.caching.source is None:
            raise RuntimeError("no features are cached in this session")
        return self.caching.source

    def phase(self, name: str) -> Phase:
        """The settings of a phase."""
        plan = self.plan
        if name == HEAD and self.caching.plan.head:
            plan = replace(plan, steps_per_call=max(plan.steps_per_call, _CACHED_HEAD_STEPS))
        return Phase(name, self.recipe, plan)

    def objective(self, phase: Phase, parts: Parts) -> Objective:
        """The objective of a phase, not built yet."""
        if self.objectives:
            return self.objectives(phase, self.keras_loss)
        # Mixup cannot blend texts, only a base's features of them.
        can_mix = self.dataset.modality.has_pixels or parts.tap is not None
        return Supervised(self.keras_loss, phase.section.mixup if can_mix else 0.0)

    @property
    def scored_share(self) -> int:
        """Number of validation examples if the headline metric is a share of them; 0 for any other metric."""
        return len(self.dataset.split("validation")) if self.task.share else 0

    @property
    def keras_loss(self) -> keras.losses.Loss:
        """The user's loss, or the task's."""
        return self.loss or as_loss(self.task.loss(self.recipe.label_smoothing))

    def fresh_metrics(self) -> list[Any]:
        """New Keras metrics: the task's and the user's."""
        return self.task.metrics() + (self.metrics() if self.metrics else [])

    def head_data(self) -> tuple[HeadData, HeadData]:
        """Pooled features to solve a head on: the training split in all cached views, and the validation split."""
        train, held_out, targets, weights, held_out_targets = self._columns()
        views = min(self.caching.plan.views, self.plan.head_epochs)
        features = np.concatenate([self._pooled_features(train, view) for view in range(views)])
        return (
            HeadData(features, np.tile(targets, (views, 1)), np.tile(weights, views)),
            HeadData(self._pooled_features(held_out), held_out_targets, np.ones(len(held_out), np.float32)),
        )

    def _pooled_features(self, examples: Any, view: int = 0) -> np.ndarray:
        return self._source().rows(POOLED_TAP, examples, view).take(np.arange(len(examples)))

    def pooled_batches(self) -> tuple[Batches, Batches]:
        """Batches to validate a head on: one pass over each split's pooled features, training and validation."""
        train, held_out, targets, _, held_out_targets = self._columns()

        def one_pass(examples: Any, expected: np.ndarray) -> Batches:
            rows = self._source().rows(POOLED_TAP, examples, 0)
            return Batches(validation=evaluation_batches(rows, expected, self.plan.batch_size).batches, cached=True)

        return one_pass(train, targets), one_pass(held_out, held_out_targets)
