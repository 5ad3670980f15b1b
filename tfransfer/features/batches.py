"""Batches of cached features, in the order in which `data.flow` would read the pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfransfer.data.flow import Flow, epoch_order, untuned
from tfransfer.data.share import ALL, Share
from tfransfer.features.store import Rows

_AHEAD = 4


@dataclass(frozen=True)
class Passes:
    """The epochs of a phase, from its start or from where it is resumed.

    Attributes:
        seed: The run's seed and the phase's number, which determine each epoch's order.
        epochs: Number of epochs in the phase.
        first_epoch: Epoch to start with.
        first_step: Step to start with in that epoch.
    """

    seed: tuple[int, int]
    epochs: int
    first_epoch: int = 0
    first_step: int = 0


def training_batches(
    views: Sequence[Rows],
    targets: np.ndarray,
    weights: np.ndarray,
    batch: int,
    passes: Passes,
    share: Share = ALL,
) -> Flow:
    """All examples in a new order each epoch; epoch e reads view e mod K, and an incomplete last batch is dropped.

    Args:
        views: The rows of each view, in the order of the training split.
        targets: float32, shape (n, classes).
        weights: float32, shape (n,).
        batch: Examples per batch over all devices, limited to the number of examples.
        passes: The epochs to read.
        share: This worker's part of each batch; each of its replicas gets one of the returned batches.

    Returns:
        Batches of (float32 features, float32 targets, float32 weights).
    """
    count = len(views[0])
    batch = min(batch, count)
    steps = count // batch

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for epoch in range(passes.first_epoch, passes.epochs):
            order = epoch_order(passes.seed, epoch, count).numpy()
            for step in range(passes.first_step if epoch == passes.first_epoch else 0, steps):
                for positions in share.of(order[step * batch : (step + 1) * batch]):
                    yield views[epoch % len(views)].take(positions), targets[positions], weights[positions]

    return Flow(_as_dataset(batches, views[0], targets, share.piece(batch)), steps, steps * batch)


def evaluation_batches(rows: Rows, targets: np.ndarray, batch: int, share: Share = ALL) -> Flow:
    """Each example once, in order; the last batch may be smaller.

    Args:
        rows: The rows to read.
        targets: float32, shape (n, classes).
        batch: Examples per batch of one replica.
        share: This worker's part; examples that pad a batch have weight 0.

    Returns:
        Batches of (float32 features, float32 targets, float32 weights).
    """
    positions, weights = share.evaluated(len(rows), batch)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(0, len(positions), batch):
            chosen = positions[start : start + batch]
            yield rows.take(chosen), targets[chosen], weights[start : start + batch]

    static = None if share.replicas == 1 else batch
    steps = -(-len(positions) // (batch * share.pieces))
    return Flow(_as_dataset(batches, rows, targets, static), steps, len(rows))


def _as_dataset(batches: object, rows: Rows, targets: np.ndarray, batch: int | None) -> tf.data.Dataset:
    shapes = ((batch, *rows.shape), (batch, *targets.shape[1:]), (batch,))
    signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
    return untuned(tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(_AHEAD))
