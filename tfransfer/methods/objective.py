"""Training objectives: the interface of what a training step minimizes, and its inputs."""

from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from tfransfer.methods.losses import BatchLoss


@dataclass(frozen=True)
class Step:
    """The inputs of one replica's training step, or of one of the equal pieces that it is split into.

    Attributes:
        features: Input of the trained part, shape (batch, ...): pixels or the frozen part's output.
        targets: float32, shape (batch, classes).
        weights: float32, shape (batch,).
        streams: Elements of the additional streams for this step, by name.
        outputs: Output of the trained part for `features`, shape (batch, classes); None before it is computed.
        pieces: Number of equal pieces of the global batch.
    """

    features: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    streams: dict[str, Any] = field(default_factory=dict)
    outputs: Any = None
    pieces: int = 1


class Objective:
    """What training minimizes in addition to or instead of the supervised loss. A new method is one subclass.

    Its variables are part of the loop's state, so that they survive a resume; trainable ones are trained together with
    the model's, by the same optimizer. A variable that `__call__` changes needs an `aggregation`, because each device
    changes it: "mean" for `assign`, "sum" for `value.assign_add`. With `accumulate`, each piece changes it.

    Args:
        loss: The task's Keras loss, or the user's; validation uses it.

    Attributes:
        streams: Names of the additional streams that a step needs; see `training.batches.Batches.streams`.
        examples: Streams of examples in the form of the training inputs, pixels or cached features; like
            `Step.features`, a step has them as inputs of the trained part.
    """

    streams: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    def __init__(self, loss: keras.losses.Loss) -> None:
        self.loss = BatchLoss(loss)

    def build(self, trained: keras.Model) -> None:
        """Create the variables; called once, in the scope of the tf.distribute strategy.

        Args:
            trained: The trained part of the model, from `features` to `outputs`; elements of streams can be passed
                through it, with `training=True`.
        """

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables that `build` created and a step changes, in a fixed order, without seed generators."""
        return []

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables that the optimizer trains."""
        return [variable for variable in self.variables if variable.trainable]

    @property
    def seed_states(self) -> list[keras.Variable]:
        """The states of the seed generators that `build` created; the loop sets them from the step."""
        return []

    def prepare(self, step: Step) -> Step:
        """Transform a step before it is split into pieces; unchanged by default."""
        return step

    def __call__(self, step: Step) -> tf.Tensor:
        """The value to minimize, for a piece as if it were the whole batch: float32, shape ()."""
        raise NotImplementedError

    def validation_loss(self, step: Step) -> tf.Tensor:
        """The validation loss, which has no streams: float32, shape ()."""
        return self.loss(step.targets, step.outputs, step.weights, step.pieces)
