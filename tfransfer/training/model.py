"""The model: pixels, preprocessing, base, pooling, dropout, Dense head, probabilities; and how it is split to train.

Frozen layers run in inference mode because they are called apart from the trained ones, with `training=False`: a flag
given inside one Functional model does not hold (keras#20285), and a frozen Dropout would else go on dropping.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from tfransfer.base.blocks import ALL, Block, top_blocks
from tfransfer.base.build import BuiltBase
from tfransfer.base.cuts import Cut, split_at
from tfransfer.base.preprocessing import preprocess

_HEAD_LAYERS = ("pooling", "dropout", "logits", "probabilities")
# How the layers of Keras that draw random numbers name their strength.
_NOISE_SETTINGS = ("rate", "stddev", "drop_path_rate")


@dataclass(frozen=True)
class TransferModel:
    """A whole model and the parts it is made of, all sharing the same layers.

    Attributes:
        model: float32 pixels (batch, size, size, 3) in [0, 255] to float32 probabilities (batch, classes).
        base: The base inside.
    """

    model: keras.Model
    base: BuiltBase


@dataclass(frozen=True)
class Parts:
    """A model as one phase trains it.

    Attributes:
        frozen: From pixels to where training begins; always called with `training=False`.
        trained: From there to probabilities; called with `training=True`.
        quieted: Frozen layers inside `trained` that would draw random numbers, for want of a cut below them.
    """

    frozen: keras.Model
    trained: keras.Model
    quieted: tuple[keras.layers.Layer, ...] = ()


def assemble(base: BuiltBase, classes: int, dropout: float, activation: str, seed: int) -> TransferModel:
    """Put preprocessing in front of a base and a head behind it.

    Args:
        base: A built base.
        classes: Width of the output.
        dropout: In front of the Dense layer, in [0, 1).
        activation: Of the output: "softmax", "sigmoid" or "linear".
        seed: Of the head's first weights.
    """
    pixels = keras.Input((base.image_size, base.image_size, 3), dtype="float32", name="pixels")
    features = base.model(preprocess(pixels, base.preprocessing))
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="pooling")(features)
    features = keras.layers.Dropout(dropout, seed=seed, name="dropout")(features)
    start = keras.initializers.GlorotUniform(seed=seed)
    logits = keras.layers.Dense(classes, kernel_initializer=start, dtype="float32", name="logits")(features)
    output = keras.layers.Activation(activation, dtype="float32", name="probabilities")(logits)
    return TransferModel(keras.Model(pixels, output, name="tfransfer_model"), base)


def freeze_base(whole: TransferModel) -> Parts:
    """Freeze the whole base: the head phase."""
    whole.base.model.trainable = False
    return Parts(_front(whole, whole.base.model), _with_head(whole, None))


def unfreeze(whole: TransferModel, setting: int | str) -> Parts:
    """Unfreeze the top of the base: the fine-tune phase. BatchNormalization stays frozen everywhere.

    Args:
        whole: The model.
        setting: How many top blocks, the name of the lowest one, or "all" for the whole base with its stem.

    Raises:
        SettingError: The base has no such block.
    """
    model = whole.base.model
    if setting == ALL:
        _set_trainable(model, model.layers)
        return Parts(_front(whole, None), _with_head(whole, model))
    chosen = top_blocks(whole.base.blocks, setting)
    _set_trainable(model, [layer for block in chosen for layer in block.layers])
    cut = _cut_at_or_below(whole.base.blocks, chosen[0])
    if cut is None or cut.index == 0:
        return Parts(_front(whole, None), _with_head(whole, model), _noisy_and_frozen(model))
    prefix, suffix = split_at(model, cut)
    return Parts(_front(whole, prefix), _with_head(whole, suffix), _noisy_and_frozen(suffix))


def _cut_at_or_below(blocks: Sequence[Block], lowest: Block) -> Cut | None:
    """The cut in front of a block, or else the nearest one in front of a block below it."""
    below = [block.cut_below for block in blocks if block.start <= lowest.start]
    return next((cut for cut in reversed(below) if cut is not None), None)


def _set_trainable(model: keras.Model, layers: Sequence[keras.layers.Layer]) -> None:
    """Make exactly these layers of a model trainable, except BatchNormalization, however deep it sits."""
    chosen = {id(inner) for layer in layers for inner in all_layers(layer)}
    model.trainable = True  # a frozen parent hides what its children train
    for layer in all_layers(model)[1:]:  # parents come first, and what they are set to reaches their children
        layer.trainable = id(layer) in chosen and not isinstance(layer, keras.layers.BatchNormalization)


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer and all layers inside it, parents before their children."""
    return list(layer._flatten_layers())


def _noisy_and_frozen(model: keras.Model) -> tuple[keras.layers.Layer, ...]:
    return tuple(
        layer
        for layer in all_layers(model)
        if not layer.trainable and any(getattr(layer, name, 0) for name in _NOISE_SETTINGS)
    )


def _front(whole: TransferModel, part: keras.Model | None) -> keras.Model:
    """From pixels through the preprocessing and, where given, a part of the base."""
    pixels = keras.Input(whole.model.input_shape[1:], dtype="float32")
    values = preprocess(pixels, whole.base.preprocessing)
    return keras.Model(pixels, values if part is None else part(values), name="frozen")


def _with_head(whole: TransferModel, part: keras.Model | None) -> keras.Model:
    """From where training begins, through a part of the base where given, to probabilities."""
    shape = (whole.base.model if part is None else part).output_shape if part is None else part.input_shape
    start = keras.Input(shape[1:], dtype=(whole.base.model.compute_dtype if part is None else None))
    values = start if part is None else part(start)
    present = {layer.name: layer for layer in whole.model.layers}
    for name in _HEAD_LAYERS:
        if name in present:
            values = present[name](values)
    return keras.Model(start, values, name="trained")


@contextmanager
def quiet_frozen(parts: Parts) -> Iterator[None]:
    """Keep frozen layers that no cut separates from the trained ones from drawing random numbers."""
    kept: list[tuple[Any, str, Any]] = []
    for layer in parts.quieted:
        for name in _NOISE_SETTINGS:
            if getattr(layer, name, 0):
                kept.append((layer, name, getattr(layer, name)))
                setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The state of every source of random numbers inside a model: (seed, counter), in the order of its layers."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]
