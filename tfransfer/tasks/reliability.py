"""Confidence and accuracy: the bins of a reliability diagram."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bin:
    """Predictions of about the same confidence.

    Attributes:
        low: Lower edge, in [0, 1].
        high: Upper edge.
        count: How many predictions.
        confidence: The mean.
        right: The share of them that was right.
    """

    low: float
    high: float
    count: int
    confidence: float
    right: float


def bins(confidence: np.ndarray, right: np.ndarray, number: int = 10) -> tuple[Bin, ...]:
    """Group predictions into bins of equal width; empty bins are left out.

    Source: A. Niculescu-Mizil and R. Caruana, "Predicting Good Probabilities with Supervised Learning", ICML 2005.

    Args:
        confidence: Of each prediction, shape (n,), in [0, 1].
        right: Whether each was right, shape (n,).
        number: How many bins.
    """
    place = np.minimum((confidence * number).astype(int), number - 1)
    found = []
    for index in np.unique(place):
        inside = place == index
        sure, share = float(confidence[inside].mean()), float(right[inside].mean())
        found.append(Bin(index / number, (index + 1) / number, int(inside.sum()), sure, share))
    return tuple(found)
