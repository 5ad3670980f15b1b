"""What a phase iterates over: training and validation batches, and the further streams of an objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from tfransfer.data.flow import untuned

# From the first epoch and its first step to a dataset that begins there and reaches to the phase's end.
Stream = Callable[[int, int], tf.data.Dataset]


@dataclass(frozen=True, kw_only=True)
class Batches:
    """What a phase iterates over.

    Attributes:
        validation: One pass over the validation split: batches of (inputs, targets, weights).
        training: From (first epoch, first step) to batches in the same form to the phase's end; None validates only.
        steps: Training steps per epoch.
        batch: Pictures per training step.
        kept: Whether the inputs are cached values of the frozen part, float32, and not uint8 pixels or strings.
        unit: What the progress display counts.
        streams: What an objective needs beside the training batches, by name: one element for each batch that
            `training` gives, so one for each replica and step, in that order. A tensor, or a nesting of them, whose
            first axis is the examples, of fixed size; a function of seed, phase, epoch and step, so that a resumed
            phase goes on with the same.
    """

    validation: tf.data.Dataset
    training: Stream | None = None
    steps: int = 0
    batch: int = 0
    kept: bool = False
    unit: str = "images"
    streams: dict[str, Stream] = field(default_factory=dict)

    def starting(self, epoch: int, step: int, streams: Sequence[str]) -> tf.data.Dataset:
        """Training batches from a step on; where streams are named, pairs of such a batch and their elements by name.

        Raises:
            ValueError: There is no such stream, or nothing to train on.
        """
        missing = set(streams) - set(self.streams)
        if missing or self.training is None:
            raise ValueError(f"no stream named {', '.join(sorted(missing))}" if missing else "no training batches")
        batches = self.training(epoch, step)
        if not streams:
            return batches
        return untuned(tf.data.Dataset.zip((batches, {name: self.streams[name](epoch, step) for name in streams})))
