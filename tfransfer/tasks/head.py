"""Where the head of a model is: the one place that knows how its layers are named.

A `.keras` file keeps nothing of a model's layers but their names, so that names are what a loaded model is asked by.
"""

from dataclasses import dataclass
from typing import Any

from tfransfer.errors import RunError

DROPOUT, LOGITS = "dropout", "logits"


@dataclass(frozen=True)
class Head:
    """The layers behind a base's pooled features.

    Attributes:
        features: What the head reads: KerasTensor, shape (batch, width).
        logits: The Dense layer.
        output: The layer from logits to probabilities or values.
    """

    features: Any
    logits: Any
    output: Any


def find_head(model: Any) -> Head | None:
    """The head of a model that `train` built, in memory or loaded from its file; None where a model has none.

    Args:
        model: A keras.Model.
    """
    layers = {layer.name: layer for layer in model.layers}
    logits = layers.get(LOGITS)
    if logits is None:
        return None
    return Head(layers.get(DROPOUT, logits).input, logits, model.layers[-1])


def require_head(model: Any) -> Head:
    """The head of a model that must have one.

    Raises:
        RunError: It has none.
    """
    head = find_head(model)
    if head is None:
        raise RunError(f"the model {model.name} has no Dense layer named {LOGITS!r}, as `train` builds it.")
    return head
