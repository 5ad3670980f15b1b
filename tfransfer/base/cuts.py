"""Cuts: the places in a Functional model where exactly one tensor crosses, and how to split there.

The operations are walked in topological order while the tensors that are still needed are counted; a cut is where one
is left. Prefix and suffix share the model's own layers and weights, so that training the suffix trains the model.
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
        elements: Numbers that cross for one example; 0 where the shape is not fixed.
    """

    index: int
    name: str
    tensor: Any
    elements: int


def cuts(model: keras.Model) -> list[Cut]:
    """Every cut of a model, from its input to its output.

    Args:
        model: A Functional model with one input and one output, each layer called once in it.

    Returns:
        The cuts in order; empty where the model has another form.
    """
    operations = getattr(model, "operations", None)
    if not operations or len(model.inputs) != 1 or len(model.outputs) != 1:
        return []
    last_use = _last_uses(model, operations)
    if last_use is None:
        return []
    found, live = [], set()
    for index, operation in enumerate(operations):
        live |= {id(t) for t in _tensors(operation.output) if id(t) in last_use}
        live = {key for key in live if last_use[key] > index}
        outputs = _tensors(operation.output)
        if len(live) == 1 and len(outputs) == 1 and id(outputs[0]) in live:
            shape = outputs[0].shape[1:]
            elements = 0 if None in shape else math.prod(shape)
            found.append(Cut(index, operation.name, outputs[0], elements))
    return found


def split_at(model: keras.Model, cut: Cut) -> tuple[keras.Model, keras.Model]:
    """The parts of a model before and after a cut; both share its layers.

    Args:
        model: The model that the cut comes from.
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
    """From tensor to the position of its last consumer; None where a layer's calls cannot be told apart."""
    made: set[int] = set()
    last_use: dict[int, int] = {}
    for index, operation in enumerate(operations):
        if index > 0:
            needed = _tensors(operation.input)
            if not all(id(t) in made for t in needed):
                return None
            last_use.update({id(t): index for t in needed})
        made |= {id(t) for t in _tensors(operation.output)}
    last_use[id(model.outputs[0])] = len(operations)
    return last_use if id(model.outputs[0]) in made else None
