"""Metrics of each task from ground truth and model outputs, computed with scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from tfransfer.tasks.reliability import bins as grouped

_BINS = 15


def single_label(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Metrics of single-label classification.

    Args:
        labels: True labels, integers, shape (n,).
        probabilities: Shape (n, classes), rows summing to one.
        classes: Class names.

    Returns:
        Plain values: n, top1, top5 (with more than 5 classes), log_loss in nats, expected_calibration_error, per_class
        (precision, recall, f1, support) and confusion_matrix (rows are true classes, columns predicted ones).
    """
    indices = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    result: dict[str, Any] = {"n": len(labels), "top1": float(sk.accuracy_score(labels, predicted))}
    if len(classes) > 5:
        result["top5"] = float(sk.top_k_accuracy_score(labels, probabilities, k=5, labels=indices))
    normalized = probabilities.astype(np.float64)
    normalized /= normalized.sum(axis=1, keepdims=True)
    result["log_loss"] = float(sk.log_loss(labels, normalized, labels=indices))
    result["expected_calibration_error"] = expected_calibration_error(labels, probabilities)
    columns = sk.precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=0)
    result["per_class"] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for name, p, r, f, n in zip(classes, *columns, strict=True)
    }
    result["confusion_matrix"] = sk.confusion_matrix(labels, predicted, labels=indices).tolist()
    return result


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = _BINS) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence, weighted by bin size.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        labels: True labels, shape (n,).
        probabilities: Shape (n, classes).
        bins: Number of bins.

    Returns:
        In [0, 1]; 0 is calibrated.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    gaps = [one.count * abs(one.accuracy - one.confidence) for one in grouped(confidence, correct, bins)]
    return float(sum(gaps) / max(1, len(labels)))


def multi_label(
    targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], thresholds: np.ndarray
) -> dict[str, Any]:
    """Metrics of multi-label classification, with a threshold for each class.

    Args:
        targets: 0 or 1, shape (n, classes).
        probabilities: Shape (n, classes).
        classes: Class names.
        thresholds: From `choose_thresholds`, on another split; shape (classes,).

    Returns:
        Plain values: n; mean_average_precision, over the classes that occur, and mean_prevalence, which random
        predictions score; micro_f1 and macro_f1; exact_match, the share of examples with all classes correct; log_loss
        in nats, mean over classes; per_class (average_precision, precision, recall, f1, support, threshold).
    """
    true, predicted = targets.astype(int), (probabilities >= thresholds).astype(int)
    occurs = true.sum(axis=0) > 0
    precisions = np.array([
        sk.average_precision_score(true[:, i], probabilities[:, i]) if occurs[i] else np.nan
        for i in range(len(classes))
    ])  # fmt: skip
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -(true * np.log(clipped) + (1 - true) * np.log(1 - clipped))
    columns = sk.precision_recall_fscore_support(true, predicted, average=None, zero_division=0)
    return {
        "n": len(targets),
        "mean_average_precision": float(np.nanmean(precisions)) if occurs.any() else None,
        "mean_prevalence": float(true[:, occurs].mean()) if occurs.any() else None,
        "micro_f1": float(sk.f1_score(true, predicted, average="micro", zero_division=0)),
        "macro_f1": float(sk.f1_score(true, predicted, average="macro", zero_division=0)),
        "exact_match": float((true == predicted).all(axis=1).mean()),
        "log_loss": float(losses.mean()),
        "per_class": {
            name: {
                "average_precision": None if np.isnan(precision) else float(precision),
                "precision": float(p), "recall": float(r), "f1": float(f), "support": int(count),
                "threshold": float(threshold),
            }
            for name, precision, p, r, f, count, threshold in zip(
                classes, precisions, *columns, thresholds, strict=True
            )
        },
    }  # fmt: skip


def choose_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The threshold of each class with the highest F1; one half for a class that applies never or always.

    Source: Z. Lipton et al., "Optimal Thresholding of Classifiers to Maximize F1 Measure", ECML 2014.

    Args:
        targets: Targets of the validation split: 0 or 1, shape (n, classes).
        probabilities: Shape (n, classes).

    Returns:
        float64, shape (classes,), each halfway between two observed probabilities.
    """
    chosen = np.full(targets.shape[1], 0.5)
    for i in range(targets.shape[1]):
        if 0 < targets[:, i].sum() < len(targets):
            chosen[i] = _best_threshold(targets[:, i], probabilities[:, i])
    return chosen


def _best_threshold(true: np.ndarray, probabilities: np.ndarray) -> float:
    precision, recall, observed = sk.precision_recall_curve(true, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    candidates = np.concatenate([[observed[0] / 2], (observed[1:] + observed[:-1]) / 2])
    # The curve's last point has no threshold: there, nothing is predicted.
    best = np.flatnonzero(np.isclose(f1[:-1], f1[:-1].max()))
    return float(candidates[best[len(best) // 2]])  # the middle one of equals, farthest from both sides


def regression(targets: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Metrics of regression, in the targets' own units.

    Args:
        targets: Shape (n, 1).
        values: Predictions, shape (n, 1).

    Returns:
        Plain values: n; r2, 1 for a perfect model and 0 for one that always predicts the mean (None below two
        examples); rmse and mae in the target's unit; bias, the mean of prediction minus truth.
    """
    true, predicted = targets.ravel().astype(np.float64), values.ravel().astype(np.float64)
    return {
        "n": len(true),
        "r2": float(sk.r2_score(true, predicted)) if len(true) > 1 else None,
        "rmse": float(sk.root_mean_squared_error(true, predicted)),
        "mae": float(sk.mean_absolute_error(true, predicted)),
        "bias": float((predicted - true).mean()),
    }
