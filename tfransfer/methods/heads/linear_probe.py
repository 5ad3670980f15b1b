"""The linear probe: the head as a logistic regression on pooled features, solved to convergence by L-BFGS."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tfransfer.methods.heads.method import HeadData, HeadMethod, SolvedHead
from tfransfer.recipe import LINEAR_PROBE

# Inverse strengths of the penalty to try; the validation split selects one.
_STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0))
_ITERATIONS = 500
# Classes without training examples get a bias this far below the smallest one.
_NEVER = 20.0


class LinearProbe(HeadMethod):
    """Logistic regression with several penalties; the one with the lowest validation loss is selected."""

    name = LINEAR_PROBE
    single_label = True

    def in_words(self, epochs: int) -> str:
        """The name of the method; it has no epochs."""
        return "a linear probe"

    def solve(self, training: HeadData, validation: HeadData) -> SolvedHead:
        """Solve the head; the facts have the selected inverse strength of the penalty."""
        features, classes = training.features, training.targets.shape[1]
        labels, held_out_labels = training.targets.argmax(axis=1), validation.targets.argmax(axis=1)
        mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        scaled, candidates = (features - mean) / deviation, []
        for strength in _STRENGTHS:
            regression = LogisticRegression(C=strength, max_iter=_ITERATIONS)
            fitted = regression.fit(scaled, labels, sample_weight=training.weights)
            kernel, bias = _unscaled(fitted, mean, deviation, classes)
            probabilities = _softmax(validation.features @ kernel + bias)
            loss = log_loss(held_out_labels, probabilities, labels=np.arange(classes))
            candidates.append((loss, strength, kernel, bias))
        _, strength, kernel, bias = min(candidates, key=lambda candidate: candidate[0])
        return SolvedHead(kernel.astype(np.float32), bias.astype(np.float32), {"inverse_penalty": strength})


def _unscaled(
    fitted: LogisticRegression, mean: np.ndarray, deviation: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The regression's kernel and bias for unscaled features, with a column for every class."""
    coefficients, offsets = fitted.coef_, fitted.intercept_
    if len(coefficients) == 1:  # with two classes, scikit-learn has coefficients for the second one only
        coefficients = np.concatenate([0 * coefficients, coefficients])
        offsets = np.concatenate([0 * offsets, offsets])
    kernel, bias = np.zeros((len(mean), classes)), np.full(classes, offsets.min() - _NEVER)
    kernel[:, fitted.classes_] = (coefficients / deviation).T
    bias[fitted.classes_] = offsets - (coefficients / deviation) @ mean
    return kernel, bias


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
