"""Temperature scaling: probabilities that mean what they say, without another class being named.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. One number, fitted on the validation
split, divides the logits. As the head is linear, its kernel and bias are divided instead, so that no file needs
another operation, and nothing can forget it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import optimize

from tfransfer.tasks.task import MULTI_LABEL, REGRESSION

# Fewer examples say too little about how sure a model may be.
FEWEST = 50
# The temperature is one before anything is seen: a normal prior on its logarithm, which a hundred examples outweigh.
_PRIOR_DEVIATION = 0.5
_LARGEST_LOG = 3.0
_LEAST_PROBABILITY = 1e-30


def fit_temperature(task: str, targets: np.ndarray, outputs: np.ndarray, floor: float = _LEAST_PROBABILITY) -> float:
    """The temperature with the lowest log loss.

    Args:
        task: Its name; a regression has no probabilities.
        targets: Of the validation split, shape (n, classes).
        outputs: Probabilities, shape (n, classes).
        floor: What a probability of zero is taken for; half a step, where probabilities were rounded.

    Returns:
        To four digits, so that the last bits of the probabilities do not matter; 1 where there are fewer than 50
        examples, or nothing to calibrate.
    """
    if task == REGRESSION or len(targets) < FEWEST:
        return 1.0
    logits = _logits(task, outputs, floor)

    def loss(log_temperature: float) -> float:
        said = _probabilities(task, logits / np.exp(log_temperature))
        penalty = 0.5 * (log_temperature / _PRIOR_DEVIATION) ** 2 / len(targets)
        return log_loss(task, targets, said) + penalty

    found = optimize.minimize_scalar(loss, bounds=(-_LARGEST_LOG, _LARGEST_LOG), method="bounded")
    return float(f"{np.exp(found.x):.4g}")


def log_loss(task: str, targets: np.ndarray, outputs: np.ndarray, floor: float = _LEAST_PROBABILITY) -> float:
    """Mean log loss in nats: of the right class, or over all classes that may apply.

    Args:
        task: Its name.
        targets: Shape (n, classes).
        outputs: Probabilities, shape (n, classes).
        floor: What a probability of zero is taken for.
    """
    said = outputs.astype(np.float64)
    right = -targets * np.log(np.maximum(said, floor))
    if task == MULTI_LABEL:
        return float((right - (1 - targets) * np.log(np.maximum(1 - said, floor))).mean())
    return float(right.sum(axis=1).mean())


def tempered(task: str, outputs: np.ndarray, temperature: float) -> np.ndarray:
    """What a model says once its logits are divided by a temperature: float32, shape (n, classes)."""
    return _probabilities(task, _logits(task, outputs, _LEAST_PROBABILITY) / temperature).astype(np.float32)


def _logits(task: str, outputs: np.ndarray, floor: float) -> np.ndarray:
    said = outputs.astype(np.float64)
    logits = np.log(np.maximum(said, floor))
    if task == MULTI_LABEL:
        logits -= np.log(np.maximum(1 - said, max(floor, 1e-12)))
    return np.asarray(logits)


def _probabilities(task: str, logits: np.ndarray) -> np.ndarray:
    if task == MULTI_LABEL:
        return np.asarray(1 / (1 + np.exp(-logits)))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def divide_logits(model: Any, temperature: float) -> None:
    """Divide a model's logits: its Dense head's kernel and bias are.

    Args:
        model: A model with a Dense layer `logits`, as `train` builds them.
        temperature: Above 0.
    """
    head = model.get_layer("logits")
    for variable in (head.kernel, head.bias):
        variable.assign(variable / temperature)


@contextmanager
def at_temperature(model: Any, temperature: float) -> Iterator[None]:
    """Divide a model's logits for a while."""
    head = model.get_layer("logits")
    before = head.get_weights()
    divide_logits(model, temperature)
    try:
        yield
    finally:
        head.set_weights(before)
