"""Selective classification: abstain below a confidence threshold.

Source: Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
"""

from dataclasses import dataclass

import numpy as np

from tfransfer.errors import DataError, SettingError


@dataclass(frozen=True)
class Selective:
    """What a model that may abstain does on some examples.

    Attributes:
        coverage: Share of the examples that it answers.
        top1: Share of right answers among those; None where it answers nothing.
    """

    coverage: float
    top1: float | None


def choose_threshold(labels: np.ndarray, probabilities: np.ndarray, precision: float) -> float:
    """The lowest confidence from which on a model is right often enough.

    Args:
        labels: Of the validation split, integers, shape (n,).
        probabilities: Shape (n, classes).
        precision: Share of right answers that is wanted among those that are given, in (0, 1).

    Returns:
        In [0, 1], in the middle between two confidences that were seen; 0 answers everything.

    Raises:
        SettingError: The precision is out of range.
        DataError: It is not reached, however little is answered.
    """
    if not 0 < precision < 1:
        raise SettingError(f"precision must be between 0 and 1, for example 0.98; it is {precision!r}.")
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == labels)[order]
    reached = right.cumsum() / np.arange(1, len(right) + 1)
    ranked = confidence[order]
    ends = np.append(ranked[1:] < ranked[:-1], True)  # equal confidences are answered together
    enough = np.flatnonzero((reached >= precision) & ends)
    if not len(enough):
        raise DataError(
            f"no confidence gives {precision:g} right answers on validation: even the surest are wrong too often."
        )
    last = int(enough[-1])
    return 0.0 if last == len(ranked) - 1 else float((ranked[last] + ranked[last + 1]) / 2)


def selective(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> Selective:
    """What comes of a threshold on other examples; arguments as for `choose_threshold`."""
    answered = probabilities.max(axis=1) >= threshold
    right = (probabilities.argmax(axis=1) == labels)[answered]
    return Selective(float(answered.mean()), float(right.mean()) if len(right) else None)
