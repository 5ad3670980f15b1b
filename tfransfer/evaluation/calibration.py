"""Temperature scaling: calibrated probabilities; the predicted class never changes.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. One number, fitted on the validation
split, divides the logits. As the head is linear, its kernel and bias are divided instead, so that exported files need
no additional operation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import optimize

from tfransfer.tasks.head import require_head
from tfransfer.tasks.task import Task

# With fewer examples, the fit would be mostly noise.
FEWEST = 50
# A normal prior on the logarithm of the temperature, around 0; a hundred examples outweigh it.
_PRIOR_DEVIATION = 0.5
_LARGEST_LOG = 3.0
_LEAST_PROBABILITY = 1e-30


def fit_temperature(task: Task, targets: np.ndarray, outputs: np.ndarray, floor: float = _LEAST_PROBABILITY) -> float:
    """The temperature with the lowest log loss.

    Args:
        task: Decides how probabilities become logits.
        targets: Targets of the validation split, shape (n, classes).
        outputs: Probabilities, shape (n, classes).
        floor: Lower bound of probabilities; half a step for quantized ones.

    Returns:
        The temperature to four digits, so that the last bits of the probabilities do not matter; 1 with fewer than 50
        examples, or for a task without probabilities.
    """
    if not task.calibrates or len(targets) < FEWEST:
        return 1.0
    logits = task.logits(outputs, floor)

    def loss(log_temperature: float) -> float:
        probabilities = task.probabilities(logits / np.exp(log_temperature))
        penalty = 0.5 * (log_temperature / _PRIOR_DEVIATION) ** 2 / len(targets)
        return log_loss(task, targets, probabilities) + penalty

    minimum = optimize.minimize_scalar(loss, bounds=(-_LARGEST_LOG, _LARGEST_LOG), method="bounded")
    return float(f"{np.exp(minimum.x):.4g}")


def log_loss(task: Task, targets: np.ndarray, outputs: np.ndarray, floor: float = _LEAST_PROBABILITY) -> float:
    """Mean log loss in nats: of the true class, or over all classes in a multi-label task.

    Args:
        task: A task with probabilities.
        targets: Shape (n, classes).
        outputs: Probabilities, shape (n, classes).
        floor: Lower bound of probabilities.
    """
    return task.log_loss(targets, outputs, floor)


def tempered(task: Task, outputs: np.ndarray, temperature: float) -> np.ndarray:
    """A model's outputs with its logits divided by a temperature: float32, shape (n, classes)."""
    return task.probabilities(task.logits(outputs, _LEAST_PROBABILITY) / temperature).astype(np.float32)


def divide_logits(model: Any, temperature: float) -> None:
    """Divide a model's logits by a temperature, in the kernel and bias of its Dense head.

    Args:
        model: With a head as `train` builds it.
        temperature: Above 0.
    """
    head = require_head(model).logits
    for variable in (head.kernel, head.bias):
        variable.assign(variable / temperature)


@contextmanager
def at_temperature(model: Any, temperature: float) -> Iterator[None]:
    """Divide a model's logits by a temperature inside the block."""
    head = require_head(model).logits
    before = head.get_weights()
    divide_logits(model, temperature)
    try:
        yield
    finally:
        head.set_weights(before)
