"""The two phases: train the head on a frozen base, then its top blocks too; select the better phase's model."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.data.flow import telling_lost_pictures
from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.errors import OutOfMemoryError
from tfransfer.methods.heads.method import HeadMethod
from tfransfer.methods.heads.registry import head_method
from tfransfer.system.interface import option
from tfransfer.tasks.head import require_head
from tfransfer.tasks.task import Task
from tfransfer.training import optimizers
from tfransfer.training.callbacks import KeepBest, put_back, values_of
from tfransfer.training.checkpoint import Checkpoint, Checkpoints
from tfransfer.training.loop import DivergedError, Loop
from tfransfer.training.model import Parts, freeze_base, unfreeze
from tfransfer.training.phase import FINE_TUNE, HEAD, Phase, PhaseResult
from tfransfer.training.session import Session

CallbackFactory = Callable[[str], Sequence[keras.callbacks.Callback]]
OptimizerFactory = Callable[[int], keras.optimizers.Optimizer]


@dataclass(frozen=True)
class Hooks:
    """What a training calls while it runs.

    Attributes:
        callbacks: Builds new Keras callbacks for a phase.
        progress: Shows the progress.
        say: Called with a line on the result of each phase, and on a retry.
        checkpoints: Saves the state, and restores it when a training is resumed.
    """

    callbacks: CallbackFactory = lambda phase: ()
    progress: Progress = quiet
    say: Say = silent
    checkpoints: Checkpoints = field(default_factory=Checkpoints)


@dataclass
class Selected:
    """The results of the phases, and the selected phase.

    Attributes:
        results: A result per phase that ran, in order.
        phase: Name of the phase whose weights the model has.
    """

    results: list[PhaseResult] = field(default_factory=list)
    phase: str = HEAD

    def history_rows(self) -> list[dict[str, Any]]:
        """The rows of `history.csv`, over both phases."""
        return [{"phase": result.name, **row} for result in self.results for row in result.history]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest: the result of each phase by name."""
        return {result.name: result.to_dict() for result in self.results}


def train_phases(
    session: Session,
    callbacks: CallbackFactory,
    progress: Progress,
    say: Say,
    checkpoints: Checkpoints | None = None,
) -> Selected:
    """Train the head, then the top of the base too; leave the model with the weights of the better phase.

    Args:
        session: What to train.
        callbacks: Builds new Keras callbacks for each phase.
        progress: Shows the progress.
        say: Called with a line on the result of each phase.
        checkpoints: Saves the state, and restores it when a training is resumed.

    Raises:
        Stopped: The run was asked to stop; the state is saved.
    """
    plan, hooks = session.plan, Hooks(callbacks, progress, say, checkpoints or Checkpoints())
    phases = [session.phase(name) for name in ([HEAD, FINE_TUNE] if plan.fine_tune_epochs else [HEAD])]
    if plan.fine_tune_epochs:
        unfreeze(session.whole, plan.unfreeze)  # an invalid setting fails here, not after the head phase
    if not all(hooks.checkpoints.result(phase.name) for phase in phases):
        session.caching.extract(session.recipe, progress, say, session.devices)
    results: list[PhaseResult] = []
    for phase in phases:
        parts = freeze_base(session.whole) if phase.name == HEAD else unfreeze(session.whole, plan.unfreeze)
        before = values_of(parts.trained.weights)
        result = hooks.checkpoints.result(phase.name)
        if result is not None:
            put_back(parts.trained.weights, result.weights)
        else:
            method = head_method(session.recipe.head.method)
            by_steps = phase.name == FINE_TUNE or method.by_steps
            phase = replace(phase, first_epoch=sum(len(result.history) for result in results))
            result = run_phase(session, phase, parts, hooks) if by_steps else solve_head(session, phase, parts, method)
            hooks.checkpoints.finish(result)
            # A signal after a phase's last step is seen by no later step of it.
            hooks.checkpoints.stopping.stop_if_wanted()
        say(_phase_line(session.task, phase, result))
        results.append(result)
    if len(results) == 1:
        return Selected(results, HEAD)
    selected = better(session.task, *results)
    if selected is results[0]:
        put_back(parts.trained.weights, before)
        say("fine-tuning did not help on validation: it was rolled back, the head phase's model is selected")
    return Selected(results, selected.name)


def solve_head(session: Session, phase: Phase, parts: Parts, method: HeadMethod) -> PhaseResult:
    """Run the head phase without gradient steps: solve the head on all cached views, and report it as one epoch."""
    began = time.perf_counter()
    solved = method.solve(*session.head_data())
    require_head(session.whole.model).logits.set_weights([solved.kernel, solved.bias])
    objective = session.objective(phase, parts)
    loop = Loop(session.whole.model, parts, keras.optimizers.SGD(), objective, session.fresh_metrics, phase)
    row, validation = (loop.validate(batches) for batches in session.pooled_batches())
    row |= {f"val_{name}": value for name, value in validation.items()}
    row |= solved.facts | {"seconds": time.perf_counter() - began}
    return PhaseResult(
        name=phase.name,
        history=[{"epoch": 1, **row}],
        kept_epoch=1,
        validation=validation,
        weights=values_of(parts.trained.weights),
        batch=phase.plan.batch_size,
    )


def run_phase(
    session: Session, phase: Phase, parts: Parts, hooks: Hooks | None = None, optimizer: OptimizerFactory | None = None
) -> PhaseResult:
    """Train one phase by gradient steps, resuming it if it was stopped midway.

    If GPU memory runs out, the phase restarts once with half the batch size. This does not work on several devices: the
    others hang in the middle of a step, waiting for the one that ran out of memory.

    Args:
        session: What to train.
        phase: Its settings.
        parts: From `freeze_base` or `unfreeze`.
        hooks: What to call while training; None for nothing.
        optimizer: Builds an optimizer from the phase's number of steps; None takes the phase's own.

    Raises:
        DivergedError: The loss is NaN or infinite, and there is nothing to fall back to.
        OutOfMemoryError: Half the batch does not fit into memory either.
        Stopped: The run was asked to stop; the state is saved.
    """
    hooks, before = hooks or Hooks(), values_of(parts.trained.weights)
    start = hooks.checkpoints.start(phase.name) or Checkpoint(phase.name, phase.plan.batch_size)
    replicas = session.devices.strategy.num_replicas_in_sync
    half = start.batch // 2 // replicas * replicas
    with hooks.checkpoints.stopping.patient():
        try:
            return _attempt(session, phase, parts, hooks, optimizer, start)
        except tf.errors.ResourceExhaustedError as error:
            if not half or "No space left" in str(error):  # TensorFlow raises the same error for a full disk
                raise
            if replicas > 1:
                raise OutOfMemoryError(
                    f"out of memory with {start.batch} {session.unit} per step on {replicas} devices: use "
                    f"{option('batch_size', half)}, or {option('accumulate', 2)}."
                ) from error
            hooks.say(f"out of memory with {start.batch} {session.unit} per step: trying again with {half}")
        # Outside the except block: the error's traceback would keep the failed attempt's tensors in memory.
        put_back(parts.trained.weights, before)
        try:
            return _attempt(session, phase, parts, hooks, optimizer, Checkpoint(phase.name, half))
        except tf.errors.ResourceExhaustedError as error:
            raise OutOfMemoryError(
                f"out of memory with {half} {session.unit} per step, too: set a smaller batch size"
                f"{' or image size' if session.dataset.modality.has_pixels else ''}."
            ) from error


def _attempt(
    session: Session, phase: Phase, parts: Parts, hooks: Hooks, optimizer: OptimizerFactory | None, start: Checkpoint
) -> PhaseResult:
    """Train a phase with `start.batch` images per step, from `start.loop` unless that is empty."""
    batches, strategy = session.batches(phase, parts)(start.batch), session.devices.strategy
    steps = batches.steps * phase.epochs
    with strategy.scope():
        built = optimizer(steps) if optimizer else optimizers.phase_optimizer(phase, steps, session.whole)
        built = optimizers.scaled(built, phase.plan.precision)
    objective = session.objective(phase, parts)
    loop = Loop(session.whole.model, parts, built, objective, session.fresh_metrics, phase, strategy=strategy)
    share, weights = session.scored_share, parts.trained.weights
    best = KeepBest(phase.patience, session.task.headline, share, weights, first_epoch=phase.first_epoch)
    if start.loop.arrays:
        loop.restore(start.loop)
    keeping, diverged = hooks.checkpoints.keeping(phase.name, start.batch), ""
    try:
        with telling_lost_pictures(session.dataset):
            loop.run(batches, phase.epochs, [best, *hooks.callbacks(phase.name)], hooks.progress, keeping)
    except DivergedError as error:
        if not best.weights and phase.name == HEAD:
            raise
        diverged = str(error)
    return PhaseResult(
        name=phase.name,
        history=loop.state.history,
        kept_epoch=best.kept_epoch + 1,
        validation={k.removeprefix("val_"): v for k, v in best.kept_logs.items() if k.startswith("val_")},
        weights=values_of(parts.trained.weights),
        batch=start.batch,
        diverged=diverged,
    )


def better(task: Task, head: PhaseResult, fine_tune: PhaseResult) -> PhaseResult:
    """The phase whose selected epoch is better on validation: by the task's headline metric, then by loss.

    A tie selects the head phase, which is the simpler model.
    """

    def rank(result: PhaseResult) -> tuple[float, float]:
        return result.validation.get(task.headline, -np.inf), -result.validation.get("loss", np.inf)

    return fine_tune if rank(fine_tune) > rank(head) else head


def _phase_line(task: Task, phase: Phase, result: PhaseResult) -> str:
    if result.diverged:
        return f"{phase.title}: stopped, {result.diverged}"
    values = ", ".join(f"{key} {value:.4f}" for key, value in result.validation.items())
    return f"{phase.title}: selected epoch {result.kept_epoch} of {len(result.history)}; on validation {values}"
