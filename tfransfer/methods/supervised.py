"""The supervised objective: the task's loss on the training examples, optionally with mixup."""

from dataclasses import replace

import keras
import tensorflow as tf

from tfransfer.methods.mixing import Mixing
from tfransfer.methods.objective import Objective, Step


class Supervised(Objective):
    """A Keras loss of the model's outputs, including label smoothing.

    Args:
        loss: A Keras loss on (targets, outputs).
        mixup: Parameter of `Mixing` between the frozen and the trained part; 0 for no mixup.
    """

    def __init__(self, loss: keras.losses.Loss, mixup: float = 0.0) -> None:
        super().__init__(loss)
        self.mixup = mixup
        self._mixing: Mixing | None = None

    def build(self, trained: keras.Model) -> None:
        """Create mixup's seed generator."""
        self._mixing = Mixing(self.mixup) if self.mixup else None

    @property
    def seed_states(self) -> list[keras.Variable]:
        """The state of mixup's generator."""
        return [self._mixing.state] if self._mixing else []

    def prepare(self, step: Step) -> Step:
        """Blend examples if there is mixup."""
        if self._mixing is None:
            return step
        features, targets, weights = self._mixing(step.features, step.targets, step.weights)
        return replace(step, features=features, targets=targets, weights=weights)

    def __call__(self, step: Step) -> tf.Tensor:
        """The loss."""
        return self.loss(step.targets, step.outputs, step.weights, step.pieces)
