"""The ordered blocks of a base: what "the top 3 blocks" means.

A block reaches from the end of the block below it to its own last layer, and on to the next place where a single tensor
crosses. What comes before the first block is the stem. What follows the last block (MobileNetV2's Conv_1, say) belongs
to the last block and is unfrozen with it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tfransfer.base.cuts import Cut, cuts
from tfransfer.errors import SettingError, did_you_mean

ALL, NONE = "all", "none"


@dataclass(frozen=True)
class Block:
    """A run of operations in a base.

    Attributes:
        name: As `tfransfer bases NAME` shows it.
        start: Position of its first operation in `model.operations`.
        stop: Position behind its last.
        layers: Its layers, in order.
        parameters: Weights in it.
        cut_below: The cut right in front of it; None where more than one tensor crosses.
    """

    name: str
    start: int
    stop: int
    layers: tuple[keras.layers.Layer, ...]
    parameters: int
    cut_below: Cut | None


def blocks_of(model: keras.Model, pattern: str | None = None) -> tuple[Block, ...]:
    """The blocks of a base.

    Args:
        model: A Functional model; another kind of model is one block.
        pattern: Regular expression for layer names whose group is the block's name; None makes a block of each stretch
            between two cuts that holds a kernel.

    Returns:
        The blocks from input to output.
    """
    operations = list(getattr(model, "operations", None) or [])
    if not operations:
        return (Block(model.name, 0, 1, tuple(model.layers) or (model,), model.count_params(), None),)
    places = {cut.index: cut for cut in cuts(model)}
    ends = _ends_by_name(operations, pattern, places) if pattern else _ends_at_cuts(operations, places)
    if not ends:
        return (_block(model.name, 1, len(operations), operations, places),)
    first = _first_start(operations, pattern, places, ends[0][1])
    starts = [first] + [end for _, end in ends[:-1]]
    stops = [end for _, end in ends[:-1]] + [len(operations)]
    return tuple(
        _block(name, start, stop, operations, places)
        for (name, _), start, stop in zip(ends, starts, stops, strict=True)
    )


def _block(name: str, start: int, stop: int, operations: Sequence[object], places: dict[int, Cut]) -> Block:
    layers = tuple(op for op in operations[start:stop] if isinstance(op, keras.layers.Layer))
    return Block(name, start, stop, layers, sum(layer.count_params() for layer in layers), places.get(start - 1))


def _ends_by_name(operations: Sequence, pattern: str, places: dict[int, Cut]) -> list[tuple[str, int]]:
    """(block name, position behind its end), in order."""
    firsts: dict[str, int] = {}
    lasts: dict[str, int] = {}
    for index, operation in enumerate(operations):
        match = re.match(pattern, operation.name)
        if match:
            firsts.setdefault(match.group(1), index)
            lasts[match.group(1)] = index
    names = sorted(lasts, key=lambda n: lasts[n])
    ends = []
    for name, following in zip(names, names[1:] + [""], strict=True):
        limit = firsts[following] if following else len(operations)
        end = next((i for i in range(lasts[name], limit) if i in places), lasts[name])
        ends.append((_readable(name), end + 1))
    return ends


def _readable(name: str) -> str:
    return f"block_{name}" if name.isdigit() else name


def _first_start(operations: Sequence, pattern: str | None, places: dict[int, Cut], end: int) -> int:
    """Where the first block begins: behind the last cut in front of its first layer."""
    first = next((i for i in range(end) if pattern and re.match(pattern, operations[i].name)), 1)
    return max((i + 1 for i in places if i < first), default=1)


def _ends_at_cuts(operations: Sequence, places: dict[int, Cut]) -> list[tuple[str, int]]:
    ends, start = [], 1
    for index in sorted(places):
        stretch = operations[start : index + 1]
        if index > 0 and any(getattr(op, "kernel", None) is not None or getattr(op, "layers", None) for op in stretch):
            ends.append((operations[index].name, index + 1))
            start = index + 1
    return ends


def top_blocks(blocks: Sequence[Block], unfreeze: int | str) -> tuple[Block, ...]:
    """The blocks that a setting unfreezes.

    Args:
        blocks: All blocks of a base.
        unfreeze: How many from the top, the name of the lowest one, or "none". ("all" also means the stem and is the
            caller's to treat.)

    Raises:
        SettingError: There are fewer blocks, or none of this name.
    """
    names = [block.name for block in blocks]
    if unfreeze == NONE:
        return ()
    if isinstance(unfreeze, int):
        if unfreeze > len(blocks):
            raise SettingError(
                f"this base has {len(blocks)} blocks; {unfreeze} cannot be unfrozen. Use a number up to {len(blocks)}, "
                "or all."
            )
        return tuple(blocks[len(blocks) - unfreeze :])
    if unfreeze not in names:
        raise SettingError(
            f"this base has no block {unfreeze!r}; it has {', '.join(names)}.{did_you_mean(str(unfreeze), names)}"
        )
    return tuple(blocks[names.index(unfreeze) :])
