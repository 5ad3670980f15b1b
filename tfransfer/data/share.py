"""Each worker's part of a batch, for training on several devices."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """One worker's part of every batch, in equal pieces, one for each of its replicas.

    The workers' parts follow one another, so that together they see exactly what one device would see.

    Attributes:
        worker: This worker's number, from 0.
        workers: Number of workers.
        pieces: Replicas per worker.
    """

    worker: int = 0
    workers: int = 1
    pieces: int = 1

    @property
    def replicas(self) -> int:
        """Replicas of all workers together."""
        return self.workers * self.pieces

    def piece(self, batch: int) -> int:
        """Examples per replica in a batch of that total size."""
        return batch // self.replicas

    def of(self, batch: np.ndarray) -> Iterator[np.ndarray]:
        """This worker's pieces of a batch of positions, int64, whose length is a multiple of the replicas."""
        size = self.piece(len(batch))
        first = self.worker * self.pieces
        for number in range(first, first + self.pieces):
            yield batch[number * size : (number + 1) * size]

    def evaluated(self, examples: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """This worker's positions of an evaluation split, each example once over all workers.

        Args:
            examples: Size of the split.
            batch: Examples per batch and replica.

        Returns:
            int64 positions and float32 weights, shape (n,), batch after batch of its replicas. Where there are several
            replicas, n is a multiple of `batch` and the same for all workers: padding has weight 0.
        """
        if self.replicas == 1:
            return np.arange(examples), np.ones(examples, np.float32)
        total = batch * self.replicas
        padded = np.arange(-(-examples // total) * total).reshape(-1, total)
        own = np.concatenate([np.concatenate(list(self.of(row))) for row in padded])
        return np.where(own < examples, own, 0), (own < examples).astype(np.float32)


ALL = Share()
