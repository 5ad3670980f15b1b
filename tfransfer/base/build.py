"""Build a base: network and weights, the preprocessing it expects, its blocks."""

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from tfransfer.base import weights as base_weights
from tfransfer.base.blocks import Block, blocks_of
from tfransfer.base.hub.layer import HubLayer
from tfransfer.base.kerashub.text import PresetTokens
from tfransfer.base.records import BUILT_IN, DEFAULT, DEFAULT_SIZE, find_base, require_size
from tfransfer.display.progress import Say, silent
from tfransfer.errors import BaseModelError, SettingError, WeightsNotFoundError
from tfransfer.hyperrules import FULL, SMALL
from tfransfer.system.files import user_path
from tfransfer.system.interface import option

RANDOM, BUILT_IN_WEIGHTS = "random", "built-in"
# Prefix of a base's name in a recipe when it is the user's own model.
OWN_MODEL = "keras.Model"


@dataclass(frozen=True)
class BuiltBase:
    """A base ready for a head.

    Attributes:
        name: Its name in messages and in the manifest.
        model: From preprocessed pixels, float32 (batch, size, size, 3), to a feature map or a feature vector.
        preprocessing: The kind that `preprocessing.preprocess` applies.
        image_size: Side of the input in pixels.
        blocks: Its blocks from input to output.
        weights: Where the weights came from: "imagenet", "built-in", "random", "user" or a file's name.
        instead_of: The base that this one replaces; empty if it is the requested one.
        pretraining: How much it was pretrained: "full", "small", "vectors", "encoder" or "untrained"; see `hyperrules`.
        module: The layer of a TF-Hub module, whose blocks follow from its variables' names; None for other bases.
        tokens: The layer that tokenizes texts and cuts them; None for a base without one.
        both_tokens: Whether its output is a class token and a mean of tokens side by side; see `tokens`.
        kind: "image", or "text" for a base from strings (batch,) to vectors, whose image size is 0.
    """

    name: str
    model: keras.Model
    preprocessing: str
    image_size: int
    blocks: tuple[Block, ...]
    weights: str
    _: KW_ONLY
    instead_of: str = ""
    kind: str = "image"
    pretraining: str = FULL
    module: HubLayer | None = None
    both_tokens: bool = False
    tokens: PresetTokens | None = None


def build_base(
    name: str, image_size: int | None = None, weights: str | None = None, seed: int | None = None
) -> BuiltBase:
    """Build one of the bases that `tfransfer bases` lists.

    Args:
        name: Its name.
        image_size: Side of the input in pixels; None takes the base's default.
        weights: A file, or "random"; None takes Keras's ImageNet weights, or those that come with tfransfer.
        seed: Seed of random weights; None draws them unseeded.

    Raises:
        SettingError: No such base, or the image size is below its smallest.
        WeightsNotFoundError: The weights are not on this machine and cannot be downloaded.
        BaseModelError: The file holds the weights of another base.
    """
    record = find_base(name)
    size = image_size or record.image_size
    require_size(record, size)
    preprocessing: str = record.family.preprocessing
    if weights is None and record.built_in:
        model, source = base_weights.build_with_asset(record, size), BUILT_IN_WEIGHTS
    elif weights is None:
        model, source = base_weights.build_with_download(record, size), "imagenet"
    elif weights == RANDOM:
        model, source = base_weights.build_random(record, size, seed), RANDOM
    else:
        model, source = base_weights.build_with_file(record, size, user_path(weights)), Path(weights).name
        if record.family.module == "efficientnet":
            preprocessing = "efficientnet_file"
    blocks = blocks_of(model, record.family.block)
    pretraining = SMALL if source == BUILT_IN_WEIGHTS else FULL
    return BuiltBase(name, model, preprocessing, size, blocks, source, pretraining=pretraining)


def build_default_base(
    image_size: int | None = None, weights: str | None = None, seed: int | None = None, say: Say = silent
) -> BuiltBase:
    """Build the default base: MobileNetV2, or the built-in base if MobileNetV2's weights are not available.

    Args:
        image_size: As for `build_base`.
        weights: As for `build_base`; they apply to MobileNetV2.
        seed: As for `build_base`.
        say: Gets a warning when the built-in base is used instead.

    Raises:
        SettingError: The image size is below the smallest.
        BaseModelError: The file holds the weights of another base.
    """
    try:
        return build_base(DEFAULT, image_size, weights, seed)
    except WeightsNotFoundError as error:
        reason = str(error).splitlines()[0]
        say(
            f"warning: {reason}. Using the built-in base {BUILT_IN} instead, which is smaller and less accurate. "
            f"Give {option('base', BUILT_IN)} to choose it explicitly, or "
            f"{option('weights', stand_in='FILE')} to load the weights of {DEFAULT}."
        )
        return replace(build_base(BUILT_IN, image_size), instead_of=DEFAULT)


def base_from_model(model: Any, preprocessing: str | None, image_size: int | None = None) -> BuiltBase:
    """Use a keras.Model of the user as a base.

    Args:
        model: From float32 pictures (batch, size, size, 3) to a feature map (batch, h, w, c) or vector (batch, c).
        preprocessing: How [0, 255] pixels are preprocessed for it: "none", "tf", "torch" or "caffe".
        image_size: Side of the input in pixels; needed only if the model does not fix it.

    Raises:
        SettingError: The preprocessing is missing, or the size contradicts the model.
        BaseModelError: The model's input or output is not supported.

    The model is not copied: training changes its weights and its layers' `trainable`.
    """
    if preprocessing is None:
        raise SettingError(
            "a keras.Model as base needs its preprocessing: pass preprocessing='none' (it takes [0, 255] pixels), "
            "'tf' ([-1, 1]), 'torch' (ImageNet mean and deviation) or 'caffe' (BGR, mean removed). A wrong choice "
            "silently costs accuracy."
        )
    require_model(model)
    if not getattr(model, "inputs", None):
        raise BaseModelError(
            "a base must be a Functional or Sequential model, so that it can be split; wrap this one: "
            "keras.Model(inputs, model(inputs)) with inputs = keras.Input((size, size, 3))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BaseModelError(
            f"a base must have one input and one output; this model has {len(model.inputs)} and {len(model.outputs)}."
        )
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)  # the same layers, as a graph
    shape = tuple(model.input_shape)
    if len(shape) != 4 or shape[3] not in (3, None) or shape[1] != shape[2]:
        raise BaseModelError(f"a base must take square RGB pictures, (batch, size, size, 3); this one takes {shape}.")
    if len(model.output_shape) not in (2, 4):
        raise BaseModelError(
            f"a base must return a feature map (batch, h, w, c) or vector (batch, c); this one: {model.output_shape}."
        )
    size = shape[1] or image_size or DEFAULT_SIZE
    if image_size not in (None, size):
        raise SettingError(f"image size {image_size} contradicts the base, whose input is {size} pixels.")
    return BuiltBase(model.name, model, preprocessing, size, blocks_of(model), "user")


def ends_in_classes(model: keras.Model) -> bool:
    """Whether a model's output is class probabilities: its last layer is, or applies, a softmax."""
    layer = model.outputs[0]._keras_history.operation
    if isinstance(layer, keras.Model):
        return ends_in_classes(layer)
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or getattr(activation, "__name__", "") == "softmax"


def require_model(model: Any) -> keras.Model:
    """Check that a value given as a base is a keras.Model, and return it.

    Raises:
        SettingError: It is something else.
    """
    if not isinstance(model, keras.Model):
        raise SettingError(f"base must be a name or a keras.Model, not {type(model).__name__}.")
    return model
