"""The two phases: the head learns on a frozen base, then the base's top blocks learn too; the better one is kept."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.display.progress import Progress, Say, quiet, silent
from tfransfer.errors import OutOfMemoryError
from tfransfer.tasks.task import Task
from tfransfer.training.callbacks import KeepBest, put_back, values_of
from tfransfer.training.keeping import Keeping
from tfransfer.training.loop import Batches, DivergedError, Loop, LoopState
from tfransfer.training.model import Parts, TransferModel

HEAD, FINE_TUNE = "head", "fine_tune"
# Enters the seeds, so that the two phases differ in order, augmentation and dropout.
PHASE_NUMBERS = {HEAD: 1, FINE_TUNE: 2}
CallbackFactory = Callable[[str], Sequence[keras.callbacks.Callback]]


@dataclass(frozen=True)
class PhaseSettings:
    """What one phase needs besides the model and the data.

    Attributes:
        name: HEAD or FINE_TUNE.
        epochs: At most.
        patience: Of KeepBest.
        headline: Of KeepBest.
        held_out: Of KeepBest.
        seed: The run's.
        batch: Pictures per step.
        steps_per_call: As Loop takes it.
        mixup: As Loop takes it.
        accumulate: As Loop takes it.
        average: As Loop takes it.
    """

    name: str
    epochs: int
    patience: int
    seed: int
    batch: int
    steps_per_call: int = 1
    headline: str = "top1"
    held_out: int = 0
    mixup: float = 0.0
    accumulate: int = 1
    average: float = 0.0


@dataclass
class PhaseResult:
    """What a phase did.

    Attributes:
        name: HEAD or FINE_TUNE.
        history: A row per epoch.
        kept_epoch: Whose weights were put back, from 1; 0 where no epoch was finished.
        validation: The kept epoch's `val_` metrics, without the prefix.
        weights: What the variables of the phase's trained part hold after it.
        batch: Pictures per step, after a retry for want of memory.
        diverged: What was said when the loss stopped being a number; empty otherwise.
    """

    name: str
    history: list[dict[str, float]] = field(default_factory=list)
    kept_epoch: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    weights: list[np.ndarray] = field(default_factory=list)
    batch: int = 0
    diverged: str = ""


def run_phase(
    whole: TransferModel,
    parts: Parts,
    settings: PhaseSettings,
    optimizer: Callable[[int], keras.optimizers.Optimizer],
    batches: Callable[[int], Batches],
    loss: Any,
    metrics: Callable[[], list[Any]],
    callbacks: CallbackFactory = lambda phase: (),
    strategy: tf.distribute.Strategy | None = None,
    progress: Progress = quiet,
    say: Say = silent,
    keeping: Callable[[int], Keeping] = lambda batch: Keeping(),
    start: LoopState | None = None,
) -> PhaseResult:
    """Train one phase; where a GPU's memory is too small, once more with half the batch.

    Args:
        whole: The model, whose layers are already frozen and unfrozen as `parts` needs it.
        parts: From `freeze_base` or `unfreeze`.
        settings: See there.
        optimizer: From the phase's number of steps to an optimizer.
        batches: From a batch size to what is iterated over.
        loss: A Keras loss.
        metrics: Builds fresh Keras metrics.
        callbacks: Builds fresh callbacks for a phase.
        strategy: As Loop takes it.
        progress: Shows how far it is.
        say: Told of a retry.
        keeping: From a batch size to what keeps the phase's state while it runs.
        start: Where the phase goes on; None begins it.

    Raises:
        DivergedError: The loss is no number, and there is no epoch of this phase to fall back to.
        OutOfMemoryError: Half the batch does not fit into memory either.
        Stopped: It was asked for; `keeping` has the state.
    """
    before, batch = values_of(parts.trained.weights), settings.batch
    replicas = strategy.num_replicas_in_sync if strategy else 1
    half = batch // 2 // replicas * replicas

    def once(size: int, start: LoopState | None = None) -> PhaseResult:
        return _run_once(
            whole, parts, settings, size, optimizer, batches, loss, metrics, callbacks, strategy, progress,
            keeping(size), start,
        )  # fmt: skip

    try:
        return once(batch, start)
    except tf.errors.ResourceExhaustedError as error:
        if not half or "No space left" in str(error):  # TensorFlow says the same of a full disk
            raise
        if replicas > 1:  # the others wait for this one in the middle of a step
            raise OutOfMemoryError(
                f"out of memory with {batch} pictures per step on {replicas} devices: say --batch-size {half}, or "
                "--set accumulate=2."
            ) from error
        say(f"out of memory with {batch} pictures per step: once more with {half}")
    put_back(parts.trained.weights, before)
    try:
        return once(half)
    except tf.errors.ResourceExhaustedError as error:
        raise OutOfMemoryError(
            f"out of memory with {half} pictures per step, too: set a smaller batch size or image size."
        ) from error


def _run_once(
    whole: TransferModel,
    parts: Parts,
    settings: PhaseSettings,
    batch: int,
    optimizer: Callable[[int], keras.optimizers.Optimizer],
    batches: Callable[[int], Batches],
    loss: Any,
    metrics: Callable[[], list[Any]],
    callbacks: CallbackFactory,
    strategy: tf.distribute.Strategy | None,
    progress: Progress,
    keeping: Keeping,
    start: LoopState | None,
) -> PhaseResult:
    flow = batches(batch)
    seed = (settings.seed, PHASE_NUMBERS[settings.name])
    with strategy.scope() if strategy else nullcontext():
        made = optimizer(flow.steps * settings.epochs)
    loop = Loop(
        whole.model, parts, made, loss, metrics, seed, strategy,
        settings.steps_per_call, settings.mixup, settings.accumulate, settings.average,
    )  # fmt: skip
    best = KeepBest(settings.patience, settings.headline, settings.held_out, parts.trained.weights)
    if start is not None:
        loop.restore(start)
    title = settings.name.replace("_", "-")
    diverged = ""
    try:
        loop.run(flow, settings.epochs, [best, *callbacks(settings.name)], progress, title, keeping)
    except DivergedError as error:
        if not best.weights and settings.name == HEAD:
            raise
        diverged = str(error)
    validation = {k.removeprefix("val_"): v for k, v in best.kept_logs.items() if k.startswith("val_")}
    weights = values_of(parts.trained.weights)
    return PhaseResult(settings.name, loop.state.history, best.kept_epoch + 1, validation, weights, batch, diverged)


def better(task: Task, head: PhaseResult, fine_tune: PhaseResult) -> PhaseResult:
    """The phase whose kept epoch does better on validation: by the task's headline metric, then by loss.

    Equality keeps the head phase, which is the simpler model.
    """

    def rank(result: PhaseResult) -> tuple[float, float]:
        return result.validation.get(task.headline, -np.inf), -result.validation.get("loss", np.inf)

    return fine_tune if rank(fine_tune) > rank(head) else head
