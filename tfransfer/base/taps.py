"""Taps: outputs of a base's frozen part, at a cut or as pooled features, and the model up to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tfransfer.base.blocks import ALL, Block, top_blocks
from tfransfer.base.build import BuiltBase
from tfransfer.base.cuts import Cut, split_at
from tfransfer.base.preprocessing import entry, preprocess

POOLED = "pooled"


@dataclass(frozen=True)
class Tap:
    """An output of the frozen part.

    Attributes:
        name: Name of the cut, or "pooled" for the base's output averaged over height and width.
        cut: The cut; None for the pooled features.
    """

    name: str
    cut: Cut | None = None


POOLED_TAP = Tap(POOLED)


def model_to(base: BuiltBase, taps: Sequence[Tap]) -> keras.Model:
    """Build the frozen part up to some taps from the base's own layers; layers that taps share run once.

    Args:
        base: A built base.
        taps: At most one cut, the pooled features, or both.

    Returns:
        A model from float32 pixels (batch, size, size, 3) in [0, 255], or strings, to the values at the taps, in the
        order given.
    """
    pixels = entry(base.kind, base.image_size)
    values = preprocess(pixels, base.preprocessing)
    cut = next((tap.cut for tap in taps if tap.cut is not None), None)
    outputs: dict[str, Any] = {}
    upper = base.model
    if cut is not None:
        prefix, upper = split_at(base.model, cut)
        values = outputs[cut.name] = prefix(values)
    if POOLED_TAP in taps:
        outputs[POOLED] = pooled(upper(values))
    selected = [outputs[tap.name] for tap in taps]
    return keras.Model(pixels, selected if len(selected) > 1 else selected[0], name="frozen")


def pooled(features: Any) -> Any:
    """Average a feature map over height and width; return a feature vector unchanged."""
    return keras.layers.GlobalAveragePooling2D(name="pooling")(features) if len(features.shape) == 4 else features


def elements(base: BuiltBase, tap: Tap) -> int:
    """Size of a tap's output for one example; 0 if its shape is not fixed."""
    shape = base.model.output_shape[-1:] if tap.cut is None else tap.cut.tensor.shape[1:]
    return 0 if None in shape else math.prod(shape)


def tap_below(blocks: Sequence[Block], setting: int | str) -> Tap | None:
    """Where the frozen part ends if the fine-tune phase unfreezes `setting`; None if no cut separates it.

    Raises:
        SettingError: The base has no such block.
    """
    chosen = () if setting == ALL else top_blocks(blocks, setting)
    cut = _cut_at_or_below(blocks, chosen[0]) if chosen else None
    return None if cut is None or cut.index == 0 else Tap(cut.name, cut)


def _cut_at_or_below(blocks: Sequence[Block], lowest: Block) -> Cut | None:
    """The cut just before a block, or else the nearest one before a lower block."""
    below = [block.cut_below for block in blocks if block.start <= lowest.start]
    return next((cut for cut in reversed(below) if cut is not None), None)
