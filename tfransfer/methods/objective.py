"""What a training step minimizes: the interface that every objective has, and the values that it is computed from."""

from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from tfransfer.methods.losses import BatchLoss


@dataclass(frozen=True)
class Step:
    """One training step of one replica, or one of the equal pieces that it is worked through in.

    Attributes:
        features: What the trained part is given, shape (batch, ...): pixels or the frozen part's output.
        targets: float32, shape (batch, classes).
        weights: float32, shape (batch,).
        streams: What the further streams gave for this step, by name; empty where there are none.
        outputs: What the trained part gives for `features`, shape (batch, classes); None before it ran.
        pieces: In how many equal pieces the batch of all devices is.
    """

    features: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    streams: dict[str, Any] = field(default_factory=dict)
    outputs: Any = None
    pieces: int = 1


class Objective:
    """What training minimizes beside or in place of the supervised loss. A further method is one subclass.

    The loop makes the variables part of its state, so that a resumed training goes on with them; trainable ones learn
    with the model's, by the same optimizer. A variable that `__call__` changes needs an `aggregation`, because each
    device changes it: "mean" for `assign`, "sum" for `value.assign_add`. With `accumulate` it does so for each piece.

    Args:
        loss: The task's Keras loss, or the user's: what validation is scored by.

    Attributes:
        streams: Names of the further streams that a step needs; see `training.batches.Batches.streams`.
        examples: Those streams that give what the training batches have for inputs, pixels or cached values: in a step
            they are what the trained part is given, as `Step.features` is.
    """

    streams: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    def __init__(self, loss: keras.losses.Loss) -> None:
        self.loss = BatchLoss(loss)

    def build(self, trained: keras.Model) -> None:
        """Make the variables; called once, in the scope of the tf.distribute strategy.

        Args:
            trained: The part of the model that learns, from `features` to `outputs`; what streams give can be passed
                through it, with `training=True`.
        """

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables that `build` made and that a step changes, in a fixed order; without seed generators."""
        return []

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Those that the optimizer changes."""
        return [variable for variable in self.variables if variable.trainable]

    @property
    def seed_states(self) -> list[keras.Variable]:
        """The states of the seed generators that `build` made: the loop sets them from the step."""
        return []

    def prepare(self, step: Step) -> Step:
        """What a step trains on in place of its examples, before it is divided into pieces; by default the same."""
        return step

    def __call__(self, step: Step) -> tf.Tensor:
        """What is minimized: float32, shape (), of a piece as if the others were like it."""
        raise NotImplementedError

    def validation_loss(self, step: Step) -> tf.Tensor:
        """What validation is scored by, for which there are no streams: float32, shape ()."""
        return self.loss(step.targets, step.outputs, step.weights, step.pieces)
