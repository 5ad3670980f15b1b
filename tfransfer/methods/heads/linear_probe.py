"""The linear probe: the head solved to its end as a logistic regression on pooled features, with no gradient steps."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tfransfer.methods.heads.method import HeadData, HeadMethod, SolvedHead
from tfransfer.recipe import LINEAR_PROBE

# Inverse strengths of the penalty that are tried; the validation split chooses.
_STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0))
_ITERATIONS = 500
# A class that the training split lacks gets a logit this far below the smallest bias.
_NEVER = 20.0


class LinearProbe(HeadMethod):
    """A logistic regression by L-BFGS for several penalties; the one with the lowest validation loss is selected."""

    name = LINEAR_PROBE
    single_label = True

    def in_words(self, epochs: int) -> str:
        """Says that there are no epochs."""
        return "a linear probe"

    def solve(self, training: HeadData, validation: HeadData) -> SolvedHead:
        """Solve; the selected inverse strength of the penalty is a fact."""
        features, classes = training.features, training.targets.shape[1]
        labels, held_out_labels = training.targets.argmax(axis=1), validation.targets.argmax(axis=1)
        mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        scaled, found = (features - mean) / deviation, []
        for strength in _STRENGTHS:
            regression = LogisticRegression(C=strength, max_iter=_ITERATIONS)
            fitted = regression.fit(scaled, labels, sample_weight=training.weights)
            kernel, bias = _unscaled(fitted, mean, deviation, classes)
            probabilities = _softmax(validation.features @ kernel + bias)
            loss = log_loss(held_out_labels, probabilities, labels=np.arange(classes))
            found.append((loss, strength, kernel, bias))
        _, strength, kernel, bias = min(found, key=lambda one: one[0])
        return SolvedHead(kernel.astype(np.float32), bias.astype(np.float32), {"inverse_penalty": strength})


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
