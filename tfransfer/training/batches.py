"""The batches of a phase: training, validation, and the additional streams of an objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from tfransfer.data.flow import untuned

# Maps (first epoch, first step in it) to a dataset that starts there and lasts to the end of the phase.
Stream = Callable[[int, int], tf.data.Dataset]


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The batches of a phase.

    Attributes:
        validation: One pass over the validation split: batches of (inputs, targets, weights).
        training: Training batches in the same form, as a `Stream`; None for validation only.
        steps: Training steps per epoch.
        batch: Images per training step.
        cached: Whether the inputs are cached features, float32; otherwise uint8 pixels or strings.
        unit: What the progress display counts.
        streams: Additional inputs of an objective, by name: one element per batch of `training`, so one per replica and
            step, in that order. A tensor or a nest of tensors with the examples on the first axis, of fixed size. Must
            be a function of seed, phase, epoch and step, so that a resumed phase sees the same elements.
    """

    validation: tf.data.Dataset
    training: Stream | None = None
    steps: int = 0
    batch: int = 0
    cached: bool = False
    unit: str = "images"
    streams: dict[str, Stream] = field(default_factory=dict)

    def starting(self, epoch: int, step: int, streams: Sequence[str]) -> tf.data.Dataset:
        """Training batches from a step on; with streams, pairs of a batch and a dict of the streams' elements.

        Raises:
            ValueError: A stream does not exist, or there are no training batches.
        """
        missing = set(streams) - set(self.streams)
        if missing or self.training is None:
            raise ValueError(f"no stream named {', '.join(sorted(missing))}" if missing else "no training batches")
        batches = self.training(epoch, step)
        if not streams:
            return batches
        return untuned(tf.data.Dataset.zip((batches, {name: self.streams[name](epoch, step) for name in streams})))
