"""The model: pixels, preprocessing, base, pooling, dropout, Dense head, probabilities; and its frozen and trained part.

Frozen layers are called separately from the trained ones, with `training=False`, to run in inference mode: the flag has
no effect inside one Functional model (keras#20285), and a frozen Dropout would keep dropping units.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tfransfer.base.blocks import ALL, top_blocks
from tfransfer.base.build import BuiltBase
from tfransfer.base.cuts import split_at
from tfransfer.base.hub.build import pattern_of
from tfransfer.base.preprocessing import entry, preprocess
from tfransfer.base.taps import POOLED_TAP, Tap, model_to, pooled, tap_below
from tfransfer.base.tokens import BOTH, TokenPooling
from tfransfer.tasks.head import DROPOUT, LOGITS
from tfransfer.tasks.task import Task

# Name of the layer that selects from tokens.
TOKENS = "tokens_pooling"
# The settings that hold the strength of Keras's random layers.
_NOISE_SETTINGS = ("rate", "stddev", "drop_path_rate")


@dataclass(frozen=True)
class TransferModel:
    """A whole model and its components, all sharing the same layers.

    Attributes:
        model: float32 pixels (batch, size, size, 3) in [0, 255], or strings (batch,), to float32 probabilities or
            values (batch, classes).
        base: The base in it.
        head: Names of the layers after the pooled features.
    """

    model: keras.Model
    base: BuiltBase
    head: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """A model as one phase trains it.

    Attributes:
        frozen: From pixels to the features that `trained` takes; always called with `training=False`.
        trained: From those features to probabilities; called with `training=True`.
        quieted: Frozen layers that draw random numbers, in `trained` because no cut separates them from its layers.
        tap: Where `frozen` ends, if its outputs can be cached; None if `trained` takes preprocessed pixels.
    """

    frozen: keras.Model
    trained: keras.Model
    quieted: tuple[keras.layers.Layer, ...] = ()
    tap: Tap | None = None


def assemble(
    base: BuiltBase, classes: int, dropout: float, task: Task, seed: int, pooling: str = BOTH
) -> TransferModel:
    """Add preprocessing before a base and a head after it.

    Args:
        base: A built base.
        classes: Width of the output.
        dropout: Rate before the Dense layer, in [0, 1).
        task: Decides how logits become the output.
        seed: Of the head's initial weights.
        pooling: What the head takes of tokens: "class", "mean" or "both"; for bases of tokens only.
    """
    pixels = entry(base.kind, base.image_size)
    features = pooled(base.model(preprocess(pixels, base.preprocessing)))
    head: tuple[str, ...] = (DROPOUT, LOGITS, task.output)
    if base.both_tokens:
        features = TokenPooling(pooling, name=TOKENS)(features)
        head = (TOKENS, *head)
    features = keras.layers.Dropout(dropout, seed=seed, name=DROPOUT)(features)
    start = keras.initializers.GlorotUniform(seed=seed)
    logits = keras.layers.Dense(classes, kernel_initializer=start, dtype="float32", name=LOGITS)(features)
    model = keras.Model(pixels, task.output_layer()(logits), name="tfransfer_model")
    return TransferModel(model, base, head)


def freeze_base(whole: TransferModel) -> Parts:
    """Freeze the whole base: the head phase."""
    for layer in all_layers(whole.base.model):  # setting the parent is not enough: KerasHub's layers do not pass it on
        layer.trainable = False
    return Parts(model_to(whole.base, [POOLED_TAP]), _with_head(whole, None), tap=POOLED_TAP)


def unfreeze(whole: TransferModel, setting: int | str) -> Parts:
    """Unfreeze the top of the base: the fine-tune phase. BatchNormalization stays frozen everywhere.

    Args:
        whole: The model.
        setting: Number of top blocks, the name of the lowest one, or "all" for the whole base with its stem; for a
            TF-Hub module also a regular expression for the names of its variables.

    Raises:
        SettingError: The base has no such block.
    """
    model = whole.base.model
    if whole.base.module is not None:  # one frozen block: it has no cuts
        model.trainable = True
        whole.base.module.unfreeze(pattern_of(whole.base, setting))
        return Parts(_pixels_only(whole), _with_head(whole, model))
    if setting == ALL:
        _set_trainable(model, model.layers)
        return Parts(_pixels_only(whole), _with_head(whole, model))
    chosen = top_blocks(whole.base.blocks, setting)
    _set_trainable(model, [layer for block in chosen for layer in block.layers])
    tap = tap_below(whole.base.blocks, setting)
    if tap is None or tap.cut is None:
        return Parts(_pixels_only(whole), _with_head(whole, model), _noisy_and_frozen(model))
    _, suffix = split_at(model, tap.cut)
    return Parts(model_to(whole.base, [tap]), _with_head(whole, suffix), _noisy_and_frozen(suffix), tap)


def head_on(whole: TransferModel, tap: Tap) -> keras.Model:
    """The model behind a tap, without a change to what is trainable.

    Args:
        whole: The model.
        tap: Where the frozen part ends.

    Returns:
        From the tap's values to two outputs: the head's input, shape (batch, width), and the model's output.
    """
    part = None if tap.cut is None else split_at(whole.base.model, tap.cut)[1]
    inputs, features, values = _behind(whole, part)
    return keras.Model(inputs, [features, values], name="head_on")


def layer_shares(whole: TransferModel, decay: float) -> list[float]:
    """Each trainable variable's factor of the learning rate: 1 in the head, times `decay` for each block below it."""
    depths = {
        id(variable): depth
        for depth, block in enumerate(reversed(whole.base.blocks), start=1)
        for layer in block.layers
        for variable in layer.variables
    }
    lowest = len(whole.base.blocks) + 1
    inside = {id(variable) for variable in whole.base.model.variables}
    return [
        decay ** depths.get(id(variable), lowest if id(variable) in inside else 0)
        for variable in whole.model.trainable_variables
    ]


def _set_trainable(model: keras.Model, layers: Sequence[keras.layers.Layer]) -> None:
    """Make exactly these layers of a model trainable, except BatchNormalization at any depth."""
    chosen = {id(inner) for layer in layers for inner in all_layers(layer)}
    model.trainable = True  # a frozen parent hides the trainable weights of its children
    for layer in all_layers(model)[1:]:  # parents first, because setting a parent overwrites its children
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


def _pixels_only(whole: TransferModel) -> keras.Model:
    """The preprocessing alone, as a model of pixels."""
    pixels = entry(whole.base.kind, whole.base.image_size)
    return keras.Model(pixels, preprocess(pixels, whole.base.preprocessing), name="frozen")


def _with_head(whole: TransferModel, part: keras.Model | None) -> keras.Model:
    """The head on the pooled features, or on top of a part of the base."""
    inputs, _, values = _behind(whole, part)
    return keras.Model(inputs, values, name="trained")


def _behind(whole: TransferModel, part: keras.Model | None) -> tuple[Any, Any, Any]:
    """New input, head's input and output of a part of the base with the head, or of the head alone."""
    layers = {layer.name: layer for layer in whole.model.layers}
    if part is None:
        values = inputs = keras.Input(layers[whole.head[0]].input.shape[1:], dtype=whole.base.model.compute_dtype)
    else:
        inputs = keras.Input(part.input_shape[1:], dtype=part.inputs[0].dtype)
        values = pooled(part(inputs))
    features = values
    for name in whole.head:
        features = values if name == DROPOUT else features
        values = layers[name](values)
    return inputs, features, values


@contextmanager
def quiet_frozen(parts: Parts) -> Iterator[None]:
    """Turn off the randomness of the frozen layers that no cut separates from the trained ones."""
    original: list[tuple[Any, str, Any]] = []
    for layer in parts.quieted:
        for name in _NOISE_SETTINGS:
            if getattr(layer, name, 0):
                original.append((layer, name, getattr(layer, name)))
                setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for layer, name, value in original:
            setattr(layer, name, value)


@contextmanager
def matrix_products(model: keras.Model) -> Iterator[None]:
    """Compute 1x1 convolutions as matrix products while a model is trained on a CPU.

    The forward pass gives the same numbers; on a CPU TensorFlow's gradient of a convolution takes longer than that of
    the product.
    """
    layers = [] if tf.config.list_physical_devices("GPU") else [x for x in all_layers(model) if _is_pointwise(x)]
    for layer in layers:
        layer.convolution_op = partial(_pointwise, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.convolution_op


def _is_pointwise(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


def _pointwise(layer: keras.layers.Layer, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A 1x1 convolution as a matrix product: (batch, h, w, in) and (1, 1, in, out) to (batch, h', w', out)."""
    down, across = layer.strides
    sampled = inputs[:, ::down, ::across] if (down, across) != (1, 1) else inputs
    shape = tf.shape(sampled)
    product = tf.matmul(tf.reshape(sampled, (-1, kernel.shape[2])), tf.reshape(kernel, kernel.shape[2:]))
    return tf.reshape(product, tf.concat([shape[:3], [kernel.shape[3]]], 0))


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The (seed, counter) states of all random generators in a model, in the order of its layers."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]
