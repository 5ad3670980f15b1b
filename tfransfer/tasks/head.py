"""Find the head of a model by the names of its layers, which only this module knows.

Names are used because a `.keras` file has no other information on the role of a layer.
"""

from dataclasses import dataclass
from typing import Any

from tfransfer.errors import RunError

DROPOUT, LOGITS = "dropout", "logits"


@dataclass(frozen=True)
class Head:
    """The layers after a base's pooled features.

    Attributes:
        features: Input of the head: KerasTensor, shape (batch, width).
        logits: The Dense layer.
        output: The layer from logits to probabilities or values.
    """

    features: Any
    logits: Any
    output: Any


def find_head(model: Any) -> Head | None:
    """The head of a model built by `train`, in memory or loaded from its file; None if it has none.

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
        raise RunError(
            f"the model {model.name} has no Dense layer named {LOGITS!r}: only models built by `train` have one."
        )
    return head
