"""One training: the data, the recipe, the plan and the model brought together, and both phases run on them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras

from tfransfer.base.build import BuiltBase
from tfransfer.data import flow
from tfransfer.data.index import Dataset, labels_of
from tfransfer.progress import Progress, Say
from tfransfer.recipe import Recipe
from tfransfer.tasks import Task
from tfransfer.training import optimizers
from tfransfer.training.loop import Batches
from tfransfer.training.model import Parts, TransferModel, assemble, freeze_base, unfreeze
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
from tfransfer.training.planning import Plan


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
    """

    dataset: Dataset
    recipe: Recipe
    plan: Plan
    base: BuiltBase
    task: Task
    loss: Any = None
    metrics: Callable[[], list[Any]] | None = None
    rebuild: Callable[[str], BuiltBase] | None = None

    @cached_property
    def whole(self) -> TransferModel:
        """The model, assembled once."""
        return self._assemble(self.base)

    def _assemble(self, base: BuiltBase) -> TransferModel:
        dropout, seed = self.recipe.head.dropout, self.recipe.seed
        return assemble(base, len(self.dataset.classes), dropout, self.task.activation, seed)

    def model_for_export(self) -> keras.Model:
        """The model in float32: a base in mixed precision is built again and takes over the weights."""
        if self.plan.precision == "float32" or self.rebuild is None:
            return self.whole.model
        plain = self._assemble(self.rebuild("float32")).model
        plain.set_weights(self.whole.model.get_weights())
        return plain

    def batches(self, phase: str, epochs: int) -> Callable[[int], Batches]:
        """From a batch size to what a phase iterates over."""
        data, recipe, size, classes = self.dataset, self.recipe, self.plan.image_size, len(self.dataset.classes)
        train, held_out = data.split("train"), data.split("validation")
        targets = self.task.encode(labels_of(train), classes)
        weights = flow.class_weights(train, classes, recipe.class_weights)
        seed = (recipe.seed, PHASE_NUMBERS[phase])

        def make(batch: int) -> Batches:
            def training(first_epoch: int, first_step: int) -> Any:
                return flow.training_flow(
                    data, train, targets, weights, size, batch, recipe.augment, seed, first_epoch, first_step, epochs
                ).batches

            validation = flow.evaluation_flow(
                data, held_out, self.task.encode(labels_of(held_out), classes), size, batch
            )
            return Batches(training, len(train) // batch, batch, validation.batches, validation.steps)

        return make

    def run(
        self,
        phase: str,
        parts: Parts,
        optimizer: Callable[[int], keras.optimizers.Optimizer],
        callbacks: CallbackFactory,
        progress: Progress,
        say: Say,
    ) -> PhaseResult:
        """Train one phase."""
        plan, recipe = self.plan, self.recipe
        epochs = plan.head_epochs if phase == HEAD else plan.fine_tune_epochs
        patience = recipe.head.patience if phase == HEAD else recipe.fine_tune.patience
        settings = PhaseSettings(phase, epochs, patience, recipe.seed, plan.batch_size, plan.steps_per_call)
        return run_phase(
            self.whole,
            parts,
            settings,
            lambda steps: optimizers.scaled(optimizer(steps), plan.precision),
            self.batches(phase, epochs),
            self.loss or self.task.loss(recipe.label_smoothing),
            lambda: self.task.metrics() + (self.metrics() if self.metrics else []),
            callbacks,
            progress=progress,
            say=say,
        )


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
                "best_epoch": result.best_epoch,
                "batch_size": result.batch,
                "validation": result.validation,
                "seconds": round(sum(row["seconds"] for row in result.history), 1),
                "diverged": result.diverged,
            }
            for result in self.results
        }


def train_phases(session: Session, callbacks: CallbackFactory, progress: Progress, say: Say) -> Kept:
    """Train the head, then the top of the base; leave the model with the weights of the better phase.

    Args:
        session: What to train.
        callbacks: Builds fresh Keras callbacks for each phase.
        progress: Shows how far it is.
        say: Told how each phase ended.
    """
    recipe, plan, task = session.recipe, session.plan, session.task
    if plan.fine_tune_epochs:
        unfreeze(session.whole, plan.unfreeze)  # an impossible setting is said now, not after the head phase
    head_optimizer = lambda steps: optimizers.head_optimizer(recipe.head.learning_rate)  # noqa: E731
    head = session.run(HEAD, freeze_base(session.whole), head_optimizer, callbacks, progress, say)
    say(_phase_line(task, head))
    if not plan.fine_tune_epochs:
        return Kept([head], HEAD)
    settings = recipe.fine_tune
    parts = unfreeze(session.whole, plan.unfreeze)
    fine_tune_optimizer = lambda steps: optimizers.fine_tune_optimizer(  # noqa: E731
        plan.fine_tune_learning_rate, steps, settings.warmup, settings.weight_decay, settings.clip_norm,
        session.whole.model,
    )  # fmt: skip
    fine_tune = session.run(FINE_TUNE, parts, fine_tune_optimizer, callbacks, progress, say)
    say(_phase_line(task, fine_tune))
    kept = better(task, head, fine_tune)
    if kept is head:
        session.whole.model.set_weights(head.weights)
        say("fine-tuning did not help on validation: it was rolled back, the head phase's model is kept")
    return Kept([head, fine_tune], kept.name)


def _phase_line(task: Task, result: PhaseResult) -> str:
    name = result.name.replace("_", "-")
    if result.diverged:
        return f"{name}: stopped, {result.diverged}"
    values = ", ".join(f"{key} {value:.4f}" for key, value in result.validation.items())
    return f"{name}: best epoch {result.best_epoch} of {len(result.history)} on validation: {values}"
