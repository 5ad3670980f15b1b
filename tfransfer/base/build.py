"""A base, built: its network with weights, what its input wants, its blocks."""

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from tfransfer.base import weights as base_weights
from tfransfer.base.blocks import Block, blocks_of
from tfransfer.base.hub.layer import HubLayer
from tfransfer.base.records import BUILT_IN, DEFAULT, DEFAULT_SIZE, find_base, require_size
from tfransfer.display.progress import Say, silent
from tfransfer.errors import BaseModelError, SettingError, WeightsNotFoundError
from tfransfer.hyperrules import FULL, SMALL

RANDOM, BUILT_IN_WEIGHTS = "random", "built-in"
# What the name of a base in a recipe begins with where it is a model of the user's own.
OWN_MODEL = "keras.Model"


@dataclass(frozen=True)
class BuiltBase:
    """A base ready for a head.

    Attributes:
        name: For messages and the manifest.
        model: From preprocessed pixels, float32 (batch, size, size, 3), to a feature map or a feature vector.
        preprocessing: As `preprocessing.preprocess` takes it.
        image_size: Side of the input in pixels.
        blocks: From input to output.
        weights: Where the weights came from: "imagenet", "built-in", "random", "user" or a file's name.
        instead_of: The base that this one stands in for; empty where it is the one asked for.
        pretraining: How much it has learned before: "full", "small" or "untrained"; see `hyperrules`.
        module: The layer, where the base is a TF-Hub module, whose blocks are told apart by its variables' names.
        kind: "image", or "text" for a base that takes strings (batch,) and gives vectors; its image size is 0.
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


def build_base(
    name: str, image_size: int | None = None, weights: str | None = None, seed: int | None = None
) -> BuiltBase:
    """Build one of the bases that `tfransfer bases` lists.

    Args:
        name: Its name.
        image_size: Side of the input in pixels; None takes the base's own.
        weights: A file; None takes Keras's ImageNet weights, or those that come with tfransfer; "random" none.
        seed: Of random weights; None leaves them to chance.

    Raises:
        SettingError: No such base, or the image size is below its smallest.
        WeightsNotFoundError: The weights are neither here nor to be had.
        BaseModelError: The file holds other weights.
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
        model, source = base_weights.build_with_file(record, size, Path(weights)), Path(weights).name
        if record.family.module == "efficientnet":
            preprocessing = "efficientnet_file"
    blocks = blocks_of(model, record.family.block)
    pretraining = SMALL if source == BUILT_IN_WEIGHTS else FULL
    return BuiltBase(name, model, preprocessing, size, blocks, source, pretraining=pretraining)


def build_default_base(
    image_size: int | None = None, weights: str | None = None, seed: int | None = None, say: Say = silent
) -> BuiltBase:
    """The base for whoever names none: MobileNetV2, or the built-in one where MobileNetV2's weights cannot be had.

    Args:
        image_size: As for `build_base`.
        weights: As for `build_base`, of MobileNetV2.
        seed: As for `build_base`.
        say: Warned when the built-in base steps in.

    Raises:
        SettingError: The image size is below the smallest.
        BaseModelError: The file holds other weights.
    """
    try:
        return build_base(DEFAULT, image_size, weights, seed)
    except WeightsNotFoundError as error:
        reason = str(error).splitlines()[0]
        say(
            f"warning: {reason}. The built-in base {BUILT_IN} steps in, which is smaller and less accurate. "
            f"Name it with --base {BUILT_IN} if you mean it, or give {DEFAULT} its weights with --weights FILE."
        )
        return replace(build_base(BUILT_IN, image_size), instead_of=DEFAULT)


def base_from_model(model: Any, preprocessing: str | None, image_size: int | None = None) -> BuiltBase:
    """Take a user's own keras.Model as base.

    Args:
        model: From float32 pictures (batch, size, size, 3) to a feature map (batch, h, w, c) or vector (batch, c).
        preprocessing: What its input wants for [0, 255] pixels: "none", "tf", "torch" or "caffe".
        image_size: Side of the input in pixels; needed only where the model leaves it open.

    Raises:
        SettingError: The preprocessing is not named, or the size contradicts the model.
        BaseModelError: The model has another kind of input or output.

    The model is not copied: training changes its weights and its layers' `trainable`.
    """
    if preprocessing is None:
        raise SettingError(
            "a keras.Model as base needs its preprocessing named: preprocessing='none' (it takes [0, 255] pixels), "
            "'tf' ([-1, 1]), 'torch' (ImageNet mean and deviation) or 'caffe' (BGR, mean removed). A wrong one costs "
            "accuracy silently."
        )
    require_model(model)
    if not getattr(model, "inputs", None):
        raise BaseModelError(
            "a base must be a Functional or Sequential model, so that it can be split; wrap this one: "
            "keras.Model(inputs, model(inputs)) with inputs = keras.Input((size, size, 3))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BaseModelError(
            f"a base has one input and one output; this model has {len(model.inputs)} and {len(model.outputs)}."
        )
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)  # the same layers, as a graph
    shape = tuple(model.input_shape)
    if len(shape) != 4 or shape[3] not in (3, None) or shape[1] != shape[2]:
        raise BaseModelError(f"a base takes square RGB pictures, (batch, size, size, 3); this model takes {shape}.")
    if len(model.output_shape) not in (2, 4):
        raise BaseModelError(
            f"a base gives a feature map (batch, h, w, c) or vector (batch, c); this model gives {model.output_shape}."
        )
    size = shape[1] or image_size or DEFAULT_SIZE
    if image_size not in (None, size):
        raise SettingError(f"image size {image_size} contradicts the base, whose input is {size} pixels.")
    return BuiltBase(model.name, model, preprocessing, size, blocks_of(model), "user")


def require_model(model: Any) -> keras.Model:
    """What was given as a base, which has to be a keras.Model.

    Raises:
        SettingError: It is something else.
    """
    if not isinstance(model, keras.Model):
        raise SettingError(f"base is a name or a keras.Model; it is {type(model).__name__}.")
    return model
