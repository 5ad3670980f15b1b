"""The bins of a reliability diagram: confidence and accuracy."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence.

    Attributes:
        low: Lower edge, in [0, 1].
        high: Upper edge.
        count: Number of predictions.
        confidence: Their mean confidence.
        accuracy: The share of them that is correct.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def bins(confidence: np.ndarray, correct: np.ndarray, number: int = 10) -> tuple[Bin, ...]:
    """Group predictions into bins of equal width, without empty bins.

    Source: A. Niculescu-Mizil and R. Caruana, "Predicting Good Probabilities with Supervised Learning", ICML 2005.

    Args:
        confidence: Confidence of each prediction, shape (n,), in [0, 1].
        correct: Whether each prediction is correct, shape (n,).
        number: Number of bins.
    """
    positions = np.minimum((confidence * number).astype(int), number - 1)
    grouped = []
    for index in np.unique(positions):
        inside = positions == index
        mean, accuracy = float(confidence[inside].mean()), float(correct[inside].mean())
        grouped.append(Bin(index / number, (index + 1) / number, int(inside.sum()), mean, accuracy))
    return tuple(grouped)
