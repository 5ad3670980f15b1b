"""The linear probe: the head solved to its end as a logistic regression on pooled features, with no gradient steps."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

# Inverse strengths of the penalty that are tried; the validation split chooses.
_STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0))
_ITERATIONS = 500
# A class that the training split lacks gets a logit this far below the smallest bias.
_NEVER = 20.0


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    held_out: np.ndarray,
    held_out_labels: np.ndarray,
    classes: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit a logistic regression by L-BFGS for several penalties; keep the one with the lowest validation loss.

    Args:
        features: float32, shape (n, d).
        labels: int64, shape (n,).
        weights: float32, shape (n,).
        held_out: Validation features, float32, shape (m, d).
        held_out_labels: int64, shape (m,).
        classes: How many there are.

    Returns:
        Kernel, float32 (d, classes); bias, float32 (classes,); the inverse strength that was chosen.
    """
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    scaled = (features - mean) / deviation
    found = []
    for strength in _STRENGTHS:
        fitted = LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(scaled, labels, sample_weight=weights)
        kernel, bias = _unscaled(fitted, mean, deviation, classes)
        loss = log_loss(held_out_labels, _softmax(held_out @ kernel + bias), labels=np.arange(classes))
        found.append((loss, strength, kernel, bias))
    _, strength, kernel, bias = min(found, key=lambda one: one[0])
    return kernel.astype(np.float32), bias.astype(np.float32), strength


def _unscaled(
    fitted: LogisticRegression, mean: np.ndarray, deviation: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The regression's coefficients for features that are not scaled, with a column for every class."""
    known, offsets = fitted.coef_, fitted.intercept_
    if len(known) == 1:  # of two classes scikit-learn gives the second one's only
        known, offsets = np.concatenate([0 * known, known]), np.concatenate([0 * offsets, offsets])
    kernel, bias = np.zeros((len(mean), classes)), np.full(classes, offsets.min() - _NEVER)
    kernel[:, fitted.classes_] = (known / deviation).T
    bias[fitted.classes_] = offsets - (known / deviation) @ mean
    return kernel, bias


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
