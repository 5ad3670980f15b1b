"""One training: the data, the recipe, the plan and the model brought together, and both phases run on them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from tfransfer.base.build import BuiltBase
from tfransfer.base.taps import POOLED_TAP, tap_below
from tfransfer.data import flow
from tfransfer.data.dataset import Dataset
from tfransfer.data.index import labels_of
from tfransfer.display.progress import Progress, Say
from tfransfer.features.batches import evaluation_batches, training_batches
from tfransfer.features.caching import Caching, Workload, decide, decided_before
from tfransfer.features.plan import CachePlan
from tfransfer.features.source import FeatureSource
from tfransfer.methods.losses import as_loss
from tfransfer.recipe import LINEAR_PROBE, Recipe
from tfransfer.tasks.task import Task
from tfransfer.training import optimizers, probe
from tfransfer.training.callbacks import put_back, values_of
from tfransfer.training.checkpoint import Checkpoints
from tfransfer.training.devices import Devices
from tfransfer.training.loop import Batches, Loop
from tfransfer.training.model import Parts, TransferModel, assemble, freeze_base, layer_shares, unfreeze
from tfransfer.training.phases import (
    FINE_TUNE,
    HEAD,
    PHASE_NUMBERS,
    CallbackFactory,
    PhaseResult,
    PhaseSettings,
    better,
    run_phase,
)
from tfransfer.training.plan import Plan

# Steps in one call where a step takes a millisecond: enough to hide the call's own cost.
_KEPT_HEAD_STEPS = 32


@dataclass
class Session:
    """Everything that both phases need.

    Attributes:
        dataset: With its splits.
        recipe: The user's settings.
        plan: What was decided.
        base: The base, built.
        task: What the head is for.
        loss: The user's Keras loss, or None for the task's.
        metrics: Builds the user's further metrics, or None.
        rebuild: Builds the base again under another dtype policy; None for a model of the user's own.
        caching: What is kept of the frozen part; see `decide_caching`.
        devices: What trains; the base was built in its scope.
    """

    dataset: Dataset
    recipe: Recipe
    plan: Plan
    base: BuiltBase
    task: Task
    loss: Any = None
    metrics: Callable[[], list[Any]] | None = None
    rebuild: Callable[[str], BuiltBase] | None = None
    caching: Caching = field(default_factory=lambda: Caching(CachePlan(why="it was not decided")))
    devices: Devices = field(default_factory=Devices)

    def decide_caching(self, say: Say, decided: CachePlan | None = None, always: bool = False) -> None:
        """Decide what is kept of the frozen part, before anything is trained; or carry out what was decided before.

        With `always` features are kept even where the plain way is faster.
        """
        work = self._workload()
        self.caching = decide(work, say, always) if decided is None else decided_before(work, decided, say)

    def _workload(self) -> Workload:
        plan, base = self.plan, self.base
        tap = tap_below(base.blocks, plan.unfreeze) if plan.fine_tune_epochs and base.module is None else None
        return Workload(
            self.dataset, base, self.recipe, plan.head_epochs, plan.fine_tune_epochs, plan.batch_size, tap,
            lambda: unfreeze(self.whole, plan.unfreeze).trained,
        )  # fmt: skip

    @property
    def unit(self) -> str:
        """What progress displays count: "images" or "texts"."""
        return self.dataset.modality.unit

    @cached_property
    def whole(self) -> TransferModel:
        """The model, assembled once."""
        with self.devices.strategy.scope():
            return self._assemble(self.base)

    def assemble(self) -> TransferModel:
        """Make the model now, where it is not made yet."""
        return self.whole

    def _assemble(self, base: BuiltBase) -> TransferModel:
        dropout, seed = self.recipe.head.dropout, self.recipe.seed
        return assemble(base, len(self.dataset.classes), dropout, self.task, seed)

    def model_for_export(self) -> keras.Model:
        """The model in float32, on one device: where it is another, it is built again and takes over the weights."""
        if self.rebuild is None or (self.plan.precision == "float32" and not self.devices.scoped):
            return self.whole.model
        plain = self._assemble(self.rebuild("float32")).model
        plain.set_weights(self.whole.model.get_weights())
        return plain

    def batches(self, phase: str, parts: Parts, epochs: int) -> Callable[[int], Batches]:
        """From a batch size to what a phase iterates over: kept features where there are some, else pixels."""
        kept = self.caching.plan.head if phase == HEAD else self.caching.plan.fine_tune
        return self.kept_batches(phase, parts, epochs) if kept else self.pixel_batches(phase, epochs)

    def pixel_batches(self, phase: str, epochs: int, views: int | None = None) -> Callable[[int], Batches]:
        """From a batch size to batches of pixels, varied anew in each epoch, or the views that would be kept."""
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
            return Batches(training, len(train) // batch, batch, validation.batches, validation.steps, unit=self.unit)

        return make

    def kept_batches(self, phase: str, parts: Parts, epochs: int) -> Callable[[int], Batches]:
        """From a batch size to batches of the frozen part's kept values."""
        train, held_out, targets, weights, held_out_targets = self._columns()
        seed, tap = (self.recipe.seed, PHASE_NUMBERS[phase]), parts.tap or POOLED_TAP
        source, share = self._source(), self.devices.share
        views = [source.rows(tap, train, view) for view in range(min(self.caching.plan.views, epochs))]
        validation_rows = source.rows(tap, held_out, 0)

        def make(batch: int) -> Batches:
            def training(first_epoch: int, first_step: int) -> Any:
                return training_batches(
                    views, targets, weights, batch, seed, first_epoch, first_step, epochs, share
                ).batches

            validation = evaluation_batches(validation_rows, held_out_targets, share.piece(batch), share)
            return Batches(training, len(train) // batch, batch, validation.batches, validation.steps, True, self.unit)

        return make

    def _columns(self) -> tuple[Any, Any, Any, Any, Any]:
        """Training and validation examples; targets and weights of the first, targets of the second."""
        classes = len(self.dataset.classes)
        train, held_out = self.dataset.split("train"), self.dataset.split("validation")
        weights = flow.class_weights(train, classes, self.recipe.class_weights)
        return train, held_out, self.dataset.targets(train), weights, self.dataset.targets(held_out)

    def _source(self) -> FeatureSource:
        if self.caching.source is None:
            raise RuntimeError("no features are kept in this session")
        return self.caching.source

    def run(
        self,
        phase: str,
        parts: Parts,
        optimizer: Callable[[int], keras.optimizers.Optimizer],
        callbacks: CallbackFactory,
        progress: Progress,
        say: Say,
        checkpoints: Checkpoints | None = None,
    ) -> PhaseResult:
        """Train one phase, from where it was stopped if it was."""
        checkpoints = checkpoints or Checkpoints()
        found = checkpoints.start(phase)
        plan, recipe = self.plan, self.recipe
        epochs = plan.head_epochs if phase == HEAD else plan.fine_tune_epochs
        patience = recipe.head.patience if phase == HEAD else plan.fine_tune_patience
        kept_head = phase == HEAD and self.caching.plan.head
        calls = max(plan.steps_per_call, _KEPT_HEAD_STEPS) if kept_head else plan.steps_per_call
        settings = PhaseSettings(
            phase, epochs, patience, recipe.seed, found.batch if found else plan.batch_size, calls, self.task.headline,
            len(self.dataset.split("validation")) if self.task.share else 0, self._mixup(phase, parts),
            recipe.accumulate, recipe.fine_tune.average if phase == FINE_TUNE else 0.0,
        )  # fmt: skip
        return run_phase(
            self.whole,
            parts,
            settings,
            lambda steps: optimizers.scaled(optimizer(steps), plan.precision),
            self.batches(phase, parts, epochs),
            self._loss(),
            self._metrics,
            callbacks,
            self.devices.strategy,
            progress=progress,
            say=say,
            keeping=partial(checkpoints.keeping, phase),
            start=found.loop if found else None,
        )

    def _mixup(self, phase: str, parts: Parts) -> float:
        """Texts cannot be blended, what a base says of them can."""
        if not self.dataset.modality.has_pixels and parts.tap is None:
            return 0.0
        return self.recipe.head.mixup if phase == HEAD else self.recipe.fine_tune.mixup

    def _loss(self) -> Any:
        return self.loss or as_loss(self.task.loss(self.recipe.label_smoothing))

    def _metrics(self) -> list[Any]:
        return self.task.metrics() + (self.metrics() if self.metrics else [])

    def probe(self, parts: Parts) -> PhaseResult:
        """The head phase as a linear probe: no steps, the logistic regression solved on all kept views."""
        began = time.perf_counter()
        train, held_out, targets, weights, held_out_targets = self._columns()
        source, views = self._source(), min(self.caching.plan.views, self.plan.head_epochs)
        features = [source.rows(POOLED_TAP, train, view).take(np.arange(len(train))) for view in range(views)]
        validation = source.rows(POOLED_TAP, held_out, 0)
        kernel, bias, strength = probe.solve(
            np.concatenate(features), np.tile(labels_of(train), views), np.tile(weights, views),
            validation.take(np.arange(len(held_out))), labels_of(held_out), len(self.dataset.classes),
        )  # fmt: skip
        self.whole.model.get_layer("logits").set_weights([kernel, bias])
        loop = Loop(self.whole.model, parts, keras.optimizers.SGD(), self._loss(), self._metrics)
        batch = self.plan.batch_size
        train_rows = evaluation_batches(source.rows(POOLED_TAP, train, 0), targets, batch)
        held_out_rows = evaluation_batches(validation, held_out_targets, batch)
        row, said = (
            loop.validate(Batches(lambda epoch, step: None, 0, batch, part.batches, part.steps, kept=True))
            for part in (train_rows, held_out_rows)
        )
        row |= {f"val_{name}": value for name, value in said.items()}
        row |= {"inverse_penalty": strength, "seconds": time.perf_counter() - began}
        return PhaseResult(HEAD, [{"epoch": 1, **row}], 1, said, values_of(parts.trained.weights), batch)


@dataclass
class Kept:
    """What both phases did, and which one was kept.

    Attributes:
        results: A result per phase that ran, in order.
        kept: Name of the phase whose weights the model has.
    """

    results: list[PhaseResult] = field(default_factory=list)
    kept: str = HEAD

    def history_rows(self) -> list[dict[str, Any]]:
        """The rows of `history.csv`, over both phases."""
        return [{"phase": result.name, **row} for result in self.results for row in result.history]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {
            result.name: {
                "epochs": len(result.history),
                "kept_epoch": result.kept_epoch,
                "batch_size": result.batch,
                "validation": result.validation,
                "seconds": round(sum(row["seconds"] for row in result.history), 1),
                "diverged": result.diverged,
            }
            for result in self.results
        }


def train_phases(
    session: Session,
    callbacks: CallbackFactory,
    progress: Progress,
    say: Say,
    checkpoints: Checkpoints | None = None,
) -> Kept:
    """Train the head, then the top of the base; leave the model with the weights of the better phase.

    Args:
        session: What to train.
        callbacks: Builds fresh Keras callbacks for each phase.
        progress: Shows how far it is.
        say: Told how each phase ended.
        checkpoints: Where the state is kept, and found again.

    Raises:
        Stopped: It was asked for; the state is kept.
    """
    plan, checkpoints = session.plan, checkpoints or Checkpoints()
    names = [HEAD, FINE_TUNE] if plan.fine_tune_epochs else [HEAD]
    if plan.fine_tune_epochs:
        unfreeze(session.whole, plan.unfreeze)  # an impossible setting is said now, not after the head phase
    if not all(checkpoints.result(name) for name in names):
        session.caching.extract(session.recipe, progress, say, session.devices)
    results = []
    for name in names:
        parts = freeze_base(session.whole) if name == HEAD else unfreeze(session.whole, plan.unfreeze)
        before = values_of(parts.trained.weights)
        result = checkpoints.result(name)
        if result is not None:
            put_back(parts.trained.weights, result.weights)
        else:
            result = _train_phase(session, name, parts, callbacks, progress, say, checkpoints)
            checkpoints.finish(result)
        say(_phase_line(session.task, result))
        results.append(result)
    if len(results) == 1:
        return Kept(results, HEAD)
    kept = better(session.task, *results)
    if kept is results[0]:
        put_back(parts.trained.weights, before)
        say("fine-tuning did not help on validation: it was rolled back, the head phase's model is kept")
    return Kept(results, kept.name)


def _train_phase(
    session: Session,
    name: str,
    parts: Parts,
    callbacks: CallbackFactory,
    progress: Progress,
    say: Say,
    checkpoints: Checkpoints,
) -> PhaseResult:
    recipe, plan = session.recipe, session.plan
    if name == HEAD and recipe.head.method == LINEAR_PROBE:
        return session.probe(parts)

    def head_optimizer(steps: int) -> keras.optimizers.Optimizer:
        return optimizers.head_optimizer(recipe.head, plan.head_learning_rate)

    def fine_tune_optimizer(steps: int) -> keras.optimizers.Optimizer:
        decay = recipe.fine_tune.layer_decay
        shares = None if decay == 1 else layer_shares(session.whole, decay)
        return optimizers.fine_tune_optimizer(
            recipe.fine_tune, plan.fine_tune_learning_rate, steps, session.whole.model, shares
        )

    optimizer = head_optimizer if name == HEAD else fine_tune_optimizer
    with checkpoints.stopping.patient():
        return session.run(name, parts, optimizer, callbacks, progress, say, checkpoints)


def _phase_line(task: Task, result: PhaseResult) -> str:
    name = result.name.replace("_", "-")
    if result.diverged:
        return f"{name}: stopped, {result.diverged}"
    values = ", ".join(f"{key} {value:.4f}" for key, value in result.validation.items())
    return f"{name}: kept epoch {result.kept_epoch} of {len(result.history)}; on validation {values}"
