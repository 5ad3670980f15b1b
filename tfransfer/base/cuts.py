"""Cuts: the places in a Functional model where exactly one tensor crosses, and how to split a model there.

Operations are visited in topological order while counting the tensors that later operations still need; a cut is where
only one is left. Prefix and suffix share the model's layers and weights, so training the suffix trains the model.
"""

import math
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class Cut:
    """A place where a model can be split in two.

    Attributes:
        index: Position of the last operation before the cut in `model.operations`.
        name: Name of that operation.
        tensor: The KerasTensor that crosses.
        elements: Size of that tensor for one example; 0 if its shape is not fixed.
    """

    index: int
    name: str
    tensor: Any
    elements: int


def cuts(model: keras.Model) -> list[Cut]:
    """All cuts of a model, from its input to its output.

    Args:
        model: A Functional model with one input and one output that calls each layer once.

    Returns:
        The cuts in order; empty for any other model.
    """
    operations = getattr(model, "operations", None)
    if not operations or len(model.inputs) != 1 or len(model.outputs) != 1:
        return []
    last_use = _last_uses(model, operations)
    if last_use is None:
        return []
    places, live = [], set()
    for index, operation in enumerate(operations):
        live |= {id(t) for t in _tensors(operation.output) if id(t) in last_use}
        live = {key for key in live if last_use[key] > index}
        outputs = _tensors(operation.output)
        if len(live) == 1 and len(outputs) == 1 and id(outputs[0]) in live:
            shape = outputs[0].shape[1:]
            elements = 0 if None in shape else math.prod(shape)
            places.append(Cut(index, operation.name, outputs[0], elements))
    return places


def split_at(model: keras.Model, cut: Cut) -> tuple[keras.Model, keras.Model]:
    """Split a model at a cut; both parts share its layers.

    Args:
        model: The model that the cut belongs to.
        cut: One of `cuts(model)`.

    Returns:
        The prefix, from the model's input to the cut, and the suffix, from the cut to the model's output.
    """
    prefix = keras.Model(model.inputs[0], cut.tensor, name=f"{model.name}_prefix")
    suffix = keras.Model(cut.tensor, model.outputs[0], name=f"{model.name}_suffix")
    return prefix, suffix


def _tensors(value: Any) -> list[Any]:
    return list(keras.tree.flatten(value))


def _last_uses(model: keras.Model, operations: list[Any]) -> dict[int, int] | None:
    """By tensor id, position of the last consumer; None if a layer's calls are ambiguous."""
    produced: set[int] = set()
    last_use: dict[int, int] = {}
    for index, operation in enumerate(operations):
        if index > 0:
            needed = _tensors(operation.input)
            if not all(id(t) in produced for t in needed):
                return None
            last_use.update({id(t): index for t in needed})
        produced |= {id(t) for t in _tensors(operation.output)}
    last_use[id(model.outputs[0])] = len(operations)
    return last_use if id(model.outputs[0]) in produced else None
