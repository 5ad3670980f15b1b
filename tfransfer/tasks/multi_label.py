"""Metrics of multi-label classification: each class applies or not, decided by a threshold of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk


def score(
    targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], thresholds: np.ndarray
) -> dict[str, Any]:
    """All metrics of one split.

    Args:
        targets: 0 or 1, shape (n, classes).
        probabilities: Shape (n, classes).
        classes: Class names.
        thresholds: From `choose_thresholds`, on another split; shape (classes,).

    Returns:
        Plain values: n; mean_average_precision, over the classes that occur, beside mean_prevalence, which is what
        chance scores; micro_f1 and macro_f1; exact_match, the share of examples with every class right; log_loss in
        nats, mean over classes; per_class (average_precision, precision, recall, f1, support, threshold).
    """
    wanted, said = targets.astype(int), (probabilities >= thresholds).astype(int)
    occurs = wanted.sum(axis=0) > 0
    precisions = np.array([
        sk.average_precision_score(wanted[:, i], probabilities[:, i]) if occurs[i] else np.nan
        for i in range(len(classes))
    ])  # fmt: skip
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -(wanted * np.log(clipped) + (1 - wanted) * np.log(1 - clipped))
    columns = sk.precision_recall_fscore_support(wanted, said, average=None, zero_division=0)
    return {
        "n": len(targets),
        "mean_average_precision": float(np.nanmean(precisions)) if occurs.any() else None,
        "mean_prevalence": float(wanted[:, occurs].mean()) if occurs.any() else None,
        "micro_f1": float(sk.f1_score(wanted, said, average="micro", zero_division=0)),
        "macro_f1": float(sk.f1_score(wanted, said, average="macro", zero_division=0)),
        "exact_match": float((wanted == said).all(axis=1).mean()),
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
    """For each class the threshold with the highest F1; one half for a class that never applies, or always.

    Source: Z. Lipton et al., "Optimal Thresholding of Classifiers to Maximize F1 Measure", ECML 2014.

    Args:
        targets: Of the validation split: 0 or 1, shape (n, classes).
        probabilities: Shape (n, classes).

    Returns:
        float64, shape (classes,), each in the middle between two probabilities that were seen.
    """
    chosen = np.full(targets.shape[1], 0.5)
    for i in range(targets.shape[1]):
        if 0 < targets[:, i].sum() < len(targets):
            chosen[i] = _best_threshold(targets[:, i], probabilities[:, i])
    return chosen


def _best_threshold(wanted: np.ndarray, probabilities: np.ndarray) -> float:
    seen = np.unique(probabilities)
    tried = np.concatenate([[seen[0] / 2], (seen[1:] + seen[:-1]) / 2])
    scores = [sk.f1_score(wanted, probabilities >= threshold, zero_division=0) for threshold in tried]
    best = np.flatnonzero(np.isclose(scores, max(scores)))
    return float(tried[best[len(best) // 2]])  # of equals the middle one, which is farthest from both sides
