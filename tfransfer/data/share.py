"""Which part of each batch a worker reads, where several devices work on one batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """One worker's part of every batch, in equal pieces, one for each of its replicas.

    The workers' parts follow one another, so that together they see just what one device would see.

    Attributes:
        worker: From 0.
        workers: How many there are.
        pieces: Replicas of each worker.
    """

    worker: int = 0
    workers: int = 1
    pieces: int = 1

    @property
    def replicas(self) -> int:
        """Of all workers together."""
        return self.workers * self.pieces

    def piece(self, batch: int) -> int:
        """Examples of one replica in a batch of all."""
        return batch // self.replicas

    def of(self, batch: np.ndarray) -> Iterator[np.ndarray]:
        """This worker's pieces of a batch of positions, int64 of a length that the replicas divide."""
        size = self.piece(len(batch))
        first = self.worker * self.pieces
        for number in range(first, first + self.pieces):
            yield batch[number * size : (number + 1) * size]

    def evaluated(self, examples: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """This worker's positions of an evaluation split, each example once over all workers.

        Args:
            examples: Of the split.
            batch: Of one replica.

        Returns:
            int64 positions and float32 weights, shape (n,), batch after batch of its replicas. Where there are several
            replicas, n is a multiple of `batch` and the same for all workers: weights of 0 mark what only fills up.
        """
        if self.replicas == 1:
            return np.arange(examples), np.ones(examples, np.float32)
        every = batch * self.replicas
        filled = np.arange(-(-examples // every) * every).reshape(-1, every)
        own = np.concatenate([np.concatenate(list(self.of(row))) for row in filled])
        return np.where(own < examples, own, 0), (own < examples).astype(np.float32)


ALL = Share()
