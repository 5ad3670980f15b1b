"""Temperature scaling: calibrated probabilities; the predicted class never changes.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. One number, fitted on the validation
split, divides the logits. As the head is linear, its kernel and bias are divided instead, so that no file needs
another operation, and nothing can forget it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import optimize

from tfransfer.tasks.head import require_head
from tfransfer.tasks.task import Task

# Fewer examples say too little about how sure a model may be.
FEWEST = 50
# The temperature is one before anything is seen: a normal prior on its logarithm, which a hundred examples outweigh.
_PRIOR_DEVIATION = 0.5
_LARGEST_LOG = 3.0
_LEAST_PROBABILITY = 1e-30


def fit_temperature(task: Task, targets: np.ndarray, outputs: np.ndarray, floor: float = _LEAST_PROBABILITY) -> float:
    """The temperature with the lowest log loss.

    Args:
        task: Decides how probabilities become logits, if it has probabilities.
        targets: Of the validation split, shape (n, classes).
        outputs: Probabilities, shape (n, classes).
        floor: What a probability of zero is taken for; half a step, where probabilities were rounded.

    Returns:
        To four digits, so that the last bits of the probabilities do not matter; 1 where there are fewer than 50
        examples, or nothing to calibrate.
    """
    if not task.calibrates or len(targets) < FEWEST:
        return 1.0
    logits = task.logits(outputs, floor)

    def loss(log_temperature: float) -> float:
        said = task.probabilities(logits / np.exp(log_temperature))
        penalty = 0.5 * (log_temperature / _PRIOR_DEVIATION) ** 2 / len(targets)
        return log_loss(task, targets, said) + penalty

    found = optimize.minimize_scalar(loss, bounds=(-_LARGEST_LOG, _LARGEST_LOG), method="bounded")
    return float(f"{np.exp(found.x):.4g}")


def log_loss(task: Task, targets: np.ndarray, outputs: np.ndarray, floor: float = _LEAST_PROBABILITY) -> float:
    """Mean log loss in nats: of the true class, or over all classes that may apply.

    Args:
        task: One with probabilities.
        targets: Shape (n, classes).
        outputs: Probabilities, shape (n, classes).
        floor: What a probability of zero is taken for.
    """
    return task.log_loss(targets, outputs, floor)


def tempered(task: Task, outputs: np.ndarray, temperature: float) -> np.ndarray:
    """A model's outputs once its logits are divided by a temperature: float32, shape (n, classes)."""
    return task.probabilities(task.logits(outputs, _LEAST_PROBABILITY) / temperature).astype(np.float32)


def divide_logits(model: Any, temperature: float) -> None:
    """Divide a model's logits: its Dense head's kernel and bias are.

    Args:
        model: With a head as `train` builds it.
        temperature: Above 0.
    """
    head = require_head(model).logits
    for variable in (head.kernel, head.bias):
        variable.assign(variable / temperature)


@contextmanager
def at_temperature(model: Any, temperature: float) -> Iterator[None]:
    """Divide a model's logits for a while."""
    head = require_head(model).logits
    before = head.get_weights()
    divide_logits(model, temperature)
    try:
        yield
    finally:
        head.set_weights(before)
