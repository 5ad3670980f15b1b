"""Selective classification: abstain below a confidence threshold.

Source: Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfransfer.display.numbers import number_text
from tfransfer.errors import DataError, SettingError


@dataclass(frozen=True)
class Selective:
    """The result of a model that may abstain.

    Attributes:
        coverage: Share of the examples that it does not abstain from.
        top1: Top-1 accuracy on those; None if it abstains from all.
    """

    coverage: float
    top1: float | None


def require_precision(precision: float) -> None:
    """Check that a precision is in (0, 1), before minutes of predictions.

    Raises:
        SettingError: It is out of range.
    """
    if not 0 < precision < 1:
        raise SettingError(f"precision must be between 0 and 1, for example 0.98; it is {precision!r}.")


def choose_threshold(labels: np.ndarray, probabilities: np.ndarray, precision: float) -> float:
    """The lowest confidence threshold that reaches a precision.

    Args:
        labels: Labels of the validation split, integers, shape (n,).
        probabilities: Shape (n, classes).
        precision: Requested share of correct predictions above the threshold, in (0, 1).

    Returns:
        In [0, 1], halfway between two observed confidences; 0 if the model need not abstain at all.

    Raises:
        SettingError: The precision is out of range.
        DataError: No threshold reaches the precision.
    """
    require_precision(precision)
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    correct = (probabilities.argmax(axis=1) == labels)[order]
    reached = correct.cumsum() / np.arange(1, len(correct) + 1)
    ranked = confidence[order]
    ends = np.append(ranked[1:] < ranked[:-1], True)  # no threshold separates equal confidences
    candidates = np.flatnonzero((reached >= precision) & ends)
    if not len(candidates):
        raise DataError(
            f"no threshold reaches precision {precision:g} on validation, as even the most confident predictions are "
            "wrong too often: choose a lower precision."
        )
    last = int(candidates[-1])
    return 0.0 if last == len(ranked) - 1 else float((ranked[last] + ranked[last + 1]) / 2)


def selective(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> Selective:
    """Coverage and accuracy at a threshold; arguments as in `choose_threshold`."""
    covered = probabilities.max(axis=1) >= threshold
    correct = (probabilities.argmax(axis=1) == labels)[covered]
    return Selective(float(covered.mean()), float(correct.mean()) if len(correct) else None)


def in_words(threshold: float, splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a threshold means, one phrase each.

    Args:
        threshold: From `choose_threshold`.
        splits: The coverage at the threshold for each split.
    """
    if threshold == 0:
        return ["never not sure: the predictions on validation reach this precision without a threshold"]
    # Of a threshold very near to 0 or 1, three digits would say that all or nothing is answered.
    text = number_text(threshold) if 0.0005 <= threshold < 0.9995 else f"{threshold:.9g}"
    nothing = [name for name, one in splits.items() if not one["coverage"]]
    return [
        f"not sure below {text}",
        *(f"nothing is answered on {name}: no prediction there is that sure" for name in nothing),
    ]
