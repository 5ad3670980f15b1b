"""The training loop: `strategy.run` in a `tf.function`, several steps per call, driving Keras callbacks and metrics.

Keras's own `fit` is not used because it fails on several workers (keras#20585) and calls frozen layers with
`training=True` (keras#20285). Dropout and mixup are functions of (seed, phase, step): before each step the counters of
their seed generators are set from it, so that there is no hidden state. All other state is in `LoopState`, which
`Keeping` saves at every epoch's end, every few minutes, and when the run is asked to stop.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfransfer.data.flow import as_model_input, telling_lost_pictures
from tfransfer.display.progress import Progress, quiet
from tfransfer.errors import RunError, SettingError, TransferError
from tfransfer.methods.objective import Objective, Step
from tfransfer.system.interface import option
from tfransfer.training import optimizers
from tfransfer.training.averaging import Averaging
from tfransfer.training.batches import Batches
from tfransfer.training.keeping import Keeping
from tfransfer.training.model import Parts, matrix_products, quiet_frozen, seed_states
from tfransfer.training.phase import Phase

# What callbacks see besides loss and metrics.
LOGGED = ("learning_rate", "seconds", "images_per_second")


class DivergedError(TransferError, ArithmeticError):
    """The loss is NaN or infinite."""


@dataclass
class LoopState:
    """Everything that determines the rest of a phase, in plain values.

    Attributes:
        epoch: The running or next epoch, from 0.
        step: Finished steps of it.
        arrays: Weights of the trained part; variables of optimizer, metrics, averages, objective. Keyed "group/index".
        history: A row per finished epoch.
        callbacks: States of the callbacks that have a `state()` method, by position and class.
        stopped: Whether a callback has ended the phase.
    """

    epoch: int = 0
    step: int = 0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    callbacks: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False


class Loop:
    """Runs one phase.

    Args:
        model: The whole model; callbacks see it, and validation uses it.
        parts: The model as this phase trains it.
        optimizer: Any Keras optimizer, not built yet.
        objective: What to minimize, not built yet.
        metrics: Builds new Keras metrics on (targets, probabilities).
        phase: Its settings. The plan's `steps_per_call` affects the speed only, not the results.
        strategy: The tf.distribute strategy in whose scope the model was built; the current one by default.
    """

    def __init__(
        self,
        model: keras.Model,
        parts: Parts,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        metrics: Callable[[], list[Any]],
        phase: Phase,
        *,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        self.parts, self.optimizer, self.phase = parts, optimizer, phase
        self.strategy = strategy or tf.distribute.get_strategy()
        self._replicas = int(self.strategy.num_replicas_in_sync)
        self.objective, self.state = objective, LoopState()
        # Callbacks expect a compiled model; compiling a copy that shares the layers leaves the user's model uncompiled.
        self.model = keras.Model(model.input, model.output, name=model.name)
        with self.strategy.scope():
            objective.build(parts.trained)
            self.variables = [*model.trainable_variables, *objective.trainable_variables]
            optimizer.build(self.variables)
            self.training_metrics = [keras.metrics.Mean(name="loss"), *metrics()]
            self.validation_metrics = [keras.metrics.Mean(name="loss"), *metrics()]
            self._averaging = Averaging(model.trainable_variables, phase.average) if phase.average else None
            self._build_metrics()
        if self._replicas > 1:
            optimizers.gradients_are_summed(optimizer)
        self.model.compile(optimizer=optimizer)
        self._seed_states = seed_states(parts.trained) + objective.seed_states
        self._cached, self._callbacks, self._keeping = False, list[keras.callbacks.Callback](), Keeping()
        self._train = tf.function(self._train_steps, reduce_retracing=True)
        self._validate = tf.function(self._validation_step, reduce_retracing=True)

    def _build_metrics(self) -> None:
        """Create all variables of the metrics: some metrics wait for the first update, too late to be restored."""
        zeros = tf.zeros((1, *self.model.output.shape[1:]))
        for metric in self.training_metrics[1:] + self.validation_metrics[1:]:
            self.strategy.run(metric.update_state, args=(zeros, zeros))
            metric.reset_state()

    def run(
        self,
        batches: Batches,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        progress: Progress = quiet,
        keeping: Keeping | None = None,
    ) -> list[dict[str, float]]:
        """Train to the end of the phase, from the current state.

        Args:
            batches: What to iterate over.
            epochs: Number of epochs of the whole phase.
            callbacks: Keras callbacks; batch hooks are called once per call of the compiled function.
            progress: Shows rate, loss and time left.
            keeping: Saves the state when it is due, and decides whether the phase stops midway.

        Returns:
            The history: a row per epoch with metrics, `val_` metrics, learning rate, seconds and images per second.

        Raises:
            DivergedError: The training or validation loss is NaN or infinite.
            Stopped: The run was asked to stop; `keeping` has the state.
        """
        callback_list = keras.callbacks.CallbackList(
            list(callbacks), model=self.model, epochs=self.phase.first_epoch + epochs, steps=batches.steps, verbose=0
        )
        self._cached, self._callbacks, self._keeping = batches.cached, list(callbacks), keeping or Keeping()
        callback_list.on_train_begin()
        self._restore_callbacks(callbacks)  # here, because many callbacks reset themselves in on_train_begin
        self.model.stop_training = self.state.stopped
        try:
            with quiet_frozen(self.parts), matrix_products(self.parts.trained), telling_lost_pictures():
                flow = batches.starting(self.state.epoch, self.state.step, self.objective.streams)
                iterator = iter(self._distributed(flow))
                while self.state.epoch < epochs and not self.model.stop_training:
                    self._epoch(batches, iterator, callback_list, progress, epochs)
        except DivergedError:
            callback_list.on_train_end()
            raise
        callback_list.on_train_end()
        return self.state.history

    def _epoch(
        self,
        batches: Batches,
        iterator: Iterator[Any],
        callbacks: keras.callbacks.CallbackList,
        progress: Progress,
        epochs: int,
    ) -> None:
        epoch, began, first_step = self.state.epoch, time.perf_counter(), self.state.step
        callbacks.on_epoch_begin(self.phase.first_epoch + epoch)
        title = f"{self.phase.title} {epoch + 1}/{epochs}"
        with progress(title, batches.steps * batches.batch, batches.unit) as advance:
            advance(self.state.step * batches.batch)
            while self.state.step < batches.steps:
                self._call(batches, iterator, callbacks, advance)
            seconds = time.perf_counter() - began
            logs = _results(self.training_metrics)
            with self._averaging.in_place() if self._averaging else nullcontext():
                logs |= {f"val_{name}": value for name, value in self.validate(batches).items()}
                self._require_finite(logs["val_loss"], "validation loss")
                advance(0, **logs)
                logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
                logs["seconds"] = time.perf_counter() - began
                logs["images_per_second"] = (batches.steps - first_step) * batches.batch / max(seconds, 1e-9)
                callbacks.on_epoch_end(self.phase.first_epoch + epoch, logs)
        self.state.history.append({"epoch": epoch + 1, **logs})
        self.state.epoch, self.state.step, self.state.stopped = epoch + 1, 0, bool(self.model.stop_training)
        for metric in self.training_metrics:
            metric.reset_state()
        self._save(at_end=True)

    def _save(self, at_end: bool = False) -> None:
        if at_end or self._keeping.due:
            self._keeping.save(self.snapshot(self._callbacks))
            self._keeping.stop_if_asked()

    def _call(
        self, batches: Batches, iterator: Iterator[Any], callbacks: keras.callbacks.CallbackList, advance: Callable
    ) -> None:
        step, count = self.state.step, min(self.phase.plan.steps_per_call, batches.steps - self.state.step)
        callbacks.on_train_batch_begin(step)
        self._train(iterator, tf.constant(self.state.epoch * batches.steps + step), tf.constant(count))
        self.state.step += count
        logs = _results(self.training_metrics)
        self._require_finite(logs["loss"], "loss")
        advance(count * batches.batch, **logs)
        callbacks.on_train_batch_end(self.state.step - 1, logs)
        self._save()

    def _distributed(self, flow: tf.data.Dataset) -> Any:
        """Distribute the flow, whose batches are for this worker's replicas in turn."""
        if self._replicas == 1:
            return flow
        return self.strategy.distribute_datasets_from_function(lambda context: flow)

    def _train_steps(self, iterator: Iterator[Any], first: tf.Tensor, count: tf.Tensor) -> None:
        for number in tf.range(count):
            self.strategy.run(self._train_step, args=(next(iterator), first + number))
            if self._averaging:
                self._averaging.update(first + number)

    def _train_step(self, batch: Any, number: tf.Tensor) -> None:
        (inputs, targets, weights), streams = batch if self.objective.streams else (batch, {})
        self._set_generators(number)
        streams |= {name: self._features(streams[name]) for name in self.objective.examples}
        step = self.objective.prepare(Step(self._features(inputs), targets, weights, streams))
        of_pieces = [self._gradients(piece) for piece in self._pieces(step)]
        gradients = of_pieces[0] if len(of_pieces) == 1 else [_sum(terms) for terms in zip(*of_pieces, strict=True)]
        self.optimizer.apply(self._over_replicas(gradients), self.variables)

    def _features(self, inputs: tf.Tensor) -> tf.Tensor:
        """The input of the trained part: the frozen part's output, which cached inputs already are."""
        if self._cached:
            return inputs
        return tf.stop_gradient(self.parts.frozen(as_model_input(inputs), training=False))

    def _over_replicas(self, gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
        """The sum of all replicas' gradients; None stays None for variables that do not affect the loss."""
        if self._replicas == 1:
            return gradients
        context, present = tf.distribute.get_replica_context(), [g for g in gradients if g is not None]
        summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
        return [None if gradient is None else next(summed) for gradient in gradients]

    def _pieces(self, step: Step) -> list[Step]:
        """Split a replica's step into `accumulate` equal pieces, or into fewer where a batch does not divide evenly."""
        values = (step.features, step.targets, step.weights, step.streams)
        count = self.phase.recipe.accumulate
        if count > 1:
            count = math.gcd(count, *(int(tensor.shape[0]) for tensor in tf.nest.flatten(values)))
        split = [tf.split(tensor, count) for tensor in tf.nest.flatten(values)]
        pieces = [tf.nest.pack_sequence_as(values, piece) for piece in zip(*split, strict=True)]
        return [Step(f, t, w, streams, pieces=count * self._replicas) for f, t, w, streams in pieces]

    def _gradients(self, step: Step) -> list[tf.Tensor | None]:
        """One piece's contribution to the gradients of the whole batch."""
        with tf.GradientTape() as tape:
            outputs = self.parts.trained(step.features, training=True)
            loss = self.objective(replace(step, outputs=outputs))
            total = (loss + sum(self.parts.trained.losses)) / step.pieces
            total = self.optimizer.scale_loss(total)
        self._update(self.training_metrics, loss, step.targets, outputs)
        return tape.gradient(total, [variable.value for variable in self.variables])

    def validate(self, batches: Batches) -> dict[str, float]:
        """Loss and metrics over the validation batches, in inference mode."""
        self._cached = batches.cached
        for metric in self.validation_metrics:
            metric.reset_state()
        for batch in self._distributed(batches.validation):
            self.strategy.run(self._validate, args=(batch,))
            if not self._averaging:  # a state saved now would hold the averages in place of the raw weights
                self._save()
        return _results(self.validation_metrics)

    def _require_finite(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"the {name} is {loss} in epoch {self.state.epoch + 1}: use a lower learning rate, and check the "
                "inputs and weights for NaN."
            )

    def _validation_step(self, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> None:
        inputs, targets, weights = batch
        model = self.parts.trained if self._cached else self.model
        probabilities = model(as_model_input(inputs), training=False)
        step = Step(inputs, targets, weights, outputs=probabilities, pieces=self._replicas)
        loss = self.objective.validation_loss(step)
        counted = weights if self._replicas > 1 else None  # some examples may be padding, with weight 0
        self._update(self.validation_metrics, loss, targets, probabilities, counted)

    @staticmethod
    def _update(
        metrics: list[Any],
        loss: tf.Tensor,
        targets: tf.Tensor,
        probabilities: tf.Tensor,
        counted: tf.Tensor | None = None,
    ) -> None:
        """Update metrics with a batch's mean loss and outputs; `counted` is 0 for padding, 1 for examples."""
        size = tf.cast(tf.shape(targets)[0], tf.float32)
        if counted is None:
            metrics[0].update_state(loss, sample_weight=size)
        else:
            number = tf.reduce_sum(counted)
            metrics[0].update_state(tf.math.divide_no_nan(loss * size, number), sample_weight=number)
        options = {} if counted is None else {"sample_weight": counted}
        for metric in metrics[1:]:
            metric.update_state(targets, probabilities, **options)

    def _set_generators(self, step: tf.Tensor) -> None:
        """Make dropout and mixup functions of the step, different on each replica."""
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if self._replicas > 1 and context else 0
        for number, state in enumerate(self._seed_states):
            seeds = [
                np.random.SeedSequence([*self.phase.seed, number, *([r] if r else [])]).generate_state(1)[0]
                for r in range(self._replicas)
            ]
            seed = tf.gather(tf.constant(seeds, state.dtype), replica)
            state.value.assign(tf.stack([seed, tf.cast(step, state.dtype)]))

    def _named_variables(self) -> dict[str, Any]:
        groups = {
            "weight": self.parts.trained.weights,
            "optimizer": self.optimizer.variables,
            "metric": [v for m in self.training_metrics for v in m.variables],
            "average": self._averaging.averages if self._averaging else [],
            "objective": self.objective.variables,
        }
        return {f"{group}/{i}": variable for group, variables in groups.items() for i, variable in enumerate(variables)}

    def snapshot(self, callbacks: Sequence[keras.callbacks.Callback] = ()) -> LoopState:
        """A copy of the state as plain values, taken between two calls of the compiled function."""
        arrays = {name: np.array(keras.ops.convert_to_numpy(v)) for name, v in self._named_variables().items()}
        states = {_callback_key(n, c): c.state() for n, c in enumerate(callbacks) if keeps_state(c)}
        return replace(self.state, arrays=arrays, history=[dict(row) for row in self.state.history], callbacks=states)

    def restore(self, state: LoopState) -> None:
        """Restore a snapshot: the next `run` resumes in the middle of its epoch.

        Raises:
            RunError: The snapshot belongs to another model or optimizer.
        """
        variables = self._named_variables()
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if {name: array.shape for name, array in state.arrays.items()} != shapes:
            raise RunError(
                f"the saved state belongs to another model or optimizer: start over with {option('overwrite', True)}."
            )
        for name, variable in variables.items():
            variable.assign(state.arrays[name])
        self.state = replace(state, arrays={}, history=[dict(row) for row in state.history])

    def _restore_callbacks(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        for number, callback in enumerate(callbacks):
            saved = self.state.callbacks.get(_callback_key(number, callback))
            if saved is not None and keeps_state(callback):
                callback.restore(saved)


def keeps_state(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback has `state()`, which returns plain values, and `restore(state)`."""
    return all(callable(getattr(callback, name, None)) for name in ("state", "restore"))


def _sum(terms: Sequence[tf.Tensor | None]) -> tf.Tensor | None:
    return None if terms[0] is None else tf.add_n([tf.convert_to_tensor(term) for term in terms])


def _callback_key(number: int, callback: keras.callbacks.Callback) -> str:
    return f"{number}/{type(callback).__name__}"


def _results(metrics: Sequence[Any]) -> dict[str, float]:
    """The value of each metric.

    Raises:
        SettingError: A metric returns more than one number.
    """
    values = {metric.name: np.asarray(keras.ops.convert_to_numpy(metric.result())) for metric in metrics}
    for name, value in values.items():
        if value.size != 1:
            raise SettingError(
                f"metric {name!r} returns {value.size} numbers; it must return one: set, for example, average='macro'."
            )
    return {name: float(value.reshape(())) for name, value in values.items()}
