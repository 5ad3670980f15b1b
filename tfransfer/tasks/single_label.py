"""Metrics of single-label classification, from labels and probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from tfransfer.tasks.reliability import bins as grouped

_BINS = 15


def score(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """All metrics of one split.

    Args:
        labels: True labels, integers, shape (n,).
        probabilities: Shape (n, classes), rows summing to one.
        classes: Class names.

    Returns:
        Plain values: n, top1, top5 (with more than 5 classes), log_loss in nats, expected_calibration_error, per_class
        (precision, recall, f1, support) and confusion_matrix (rows are true classes, columns predicted ones).
    """
    every = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    result: dict[str, Any] = {"n": len(labels), "top1": float(sk.accuracy_score(labels, predicted))}
    if len(classes) > 5:
        result["top5"] = float(sk.top_k_accuracy_score(labels, probabilities, k=5, labels=every))
    normalized = probabilities.astype(np.float64)
    normalized /= normalized.sum(axis=1, keepdims=True)
    result["log_loss"] = float(sk.log_loss(labels, normalized, labels=every))
    result["expected_calibration_error"] = expected_calibration_error(labels, probabilities)
    columns = sk.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    result["per_class"] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(classes, *columns, strict=True)
    }
    result["confusion_matrix"] = sk.confusion_matrix(labels, predicted, labels=every).tolist()
    return result


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = _BINS) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence, weighted by bin size.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        labels: True labels, shape (n,).
        probabilities: Shape (n, classes).
        bins: How many.

    Returns:
        In [0, 1]; 0 is calibrated.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    gaps = [one.count * abs(one.right - one.confidence) for one in grouped(confidence, right, bins)]
    return float(sum(gaps) / max(1, len(labels)))
