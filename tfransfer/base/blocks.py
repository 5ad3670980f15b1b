"""The ordered blocks of a base: what "the top 3 blocks" means.

A block starts where the block below it ends and extends past its own last layer to the next cut. Operations before the
first block are the stem. Layers after the last block (such as MobileNetV2's Conv_1) belong to the last block and are
unfrozen with it.
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
    """Consecutive operations of a base.

    Attributes:
        name: Its name, as `tfransfer bases NAME` shows it.
        start: Position of its first operation in `model.operations`.
        stop: Position after its last operation.
        layers: Its layers in order.
        parameters: Number of weights.
        cut_below: The cut just before it; None where more than one tensor crosses.
    """

    name: str
    start: int
    stop: int
    layers: tuple[keras.layers.Layer, ...]
    parameters: int
    cut_below: Cut | None


def blocks_of(model: keras.Model, pattern: str | None = None) -> tuple[Block, ...]:
    """Split a base into blocks.

    Args:
        model: A Functional model; any other model counts as one block.
        pattern: Regular expression for layer names, with the block's name as its group; None makes a block of every
            segment between two cuts that contains a kernel.

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
    """(block name, position after its end), in order."""
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
    """Where the first block begins: right after the last cut before its first layer."""
    first = next((i for i in range(end) if pattern and re.match(pattern, operations[i].name)), 1)
    return max((i + 1 for i in places if i < first), default=1)


def _ends_at_cuts(operations: Sequence, places: dict[int, Cut]) -> list[tuple[str, int]]:
    ends, start = [], 1
    for index in sorted(places):
        segment = operations[start : index + 1]
        if index > 0 and any(getattr(op, "kernel", None) is not None or getattr(op, "layers", None) for op in segment):
            ends.append((operations[index].name, index + 1))
            start = index + 1
    return ends


def top_blocks(blocks: Sequence[Block], unfreeze: int | str) -> tuple[Block, ...]:
    """The blocks that an `unfreeze` setting selects.

    Args:
        blocks: All blocks of a base.
        unfreeze: How many from the top, the name of the lowest one, or "none". "all" also covers the stem; the caller
            handles it.

    Raises:
        SettingError: The base has fewer blocks, or none with this name.
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
