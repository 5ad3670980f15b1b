"""What exported files are held to: examples that were not trained on, what the model says of them, what is right."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfransfer.evaluation.predictions import predict_inputs


@dataclass(frozen=True)
class HeldOut:
    """Examples for the comparison of a file with its model.

    Attributes:
        given: Pictures, uint8 (n, size, size, 3), or texts, (n,).
        expected: What the model says of them, float32 (n, classes).
        targets: What is right, float32 (n, classes); None where that is not known any more.
    """

    given: np.ndarray
    expected: np.ndarray
    targets: np.ndarray | None = None

    @classmethod
    def of(cls, model: Any, given: np.ndarray, targets: np.ndarray | None = None) -> "HeldOut":
        """Ask the model about examples."""
        return cls(given, predict_inputs(model, given), targets)

    def first(self, count: int) -> "HeldOut":
        """The first of them."""
        targets = None if self.targets is None else self.targets[:count]
        return HeldOut(self.given[:count], self.expected[:count], targets)

    def __len__(self) -> int:
        return len(self.given)
