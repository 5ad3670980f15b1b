"""What exported files are compared with: held-out examples, the model's outputs for them, and the ground truth."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfransfer.evaluation.predictions import predict_inputs


@dataclass(frozen=True)
class HeldOut:
    """Held-out examples for comparing a file with its model.

    Attributes:
        given: Pictures, uint8 (n, size, size, 3), or texts, (n,).
        expected: The model's outputs for them, float32 (n, classes).
        targets: The ground truth, float32 (n, classes); None if it is no longer known.
        split: The split that they are from; empty if it is not known.
    """

    given: np.ndarray
    expected: np.ndarray
    targets: np.ndarray | None = None
    split: str = ""

    @classmethod
    def of(cls, model: Any, given: np.ndarray, targets: np.ndarray | None = None) -> "HeldOut":
        """Run the model on examples."""
        return cls(given, predict_inputs(model, given), targets)

    def first(self, count: int) -> "HeldOut":
        """The first examples."""
        targets = None if self.targets is None else self.targets[:count]
        return HeldOut(self.given[:count], self.expected[:count], targets, self.split)

    def __len__(self) -> int:
        return len(self.given)
