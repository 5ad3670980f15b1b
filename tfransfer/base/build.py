"""A base, built: its network with weights, what its input wants, its blocks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tfransfer.base import weights as base_weights
from tfransfer.base.blocks import Block, blocks_of
from tfransfer.base.records import find_base, require_size
from tfransfer.errors import BaseModelError, SettingError

RANDOM = "random"
_DEFAULT_SIZE = 224


@dataclass(frozen=True)
class BuiltBase:
    """A base ready for a head.

    Attributes:
        name: For messages and the manifest.
        model: From preprocessed pixels, float32 (batch, size, size, 3), to a feature map or a feature vector.
        preprocessing: As `preprocessing.preprocess` takes it.
        image_size: Side of the input in pixels.
        blocks: From input to output.
        weights: Where the weights came from: "imagenet", "random", "user" or a file's name.
    """

    name: str
    model: keras.Model
    preprocessing: str
    image_size: int
    blocks: tuple[Block, ...]
    weights: str


def build_base(name: str, image_size: int | None = None, weights: str | None = None) -> BuiltBase:
    """Build one of the bases that `tfransfer bases` lists.

    Args:
        name: Its name.
        image_size: Side of the input in pixels; None takes the base's own.
        weights: A file; None takes Keras's ImageNet weights, "random" none.

    Raises:
        SettingError: No such base, or the image size is below its smallest.
        WeightsNotFoundError: The weights are neither here nor to be had.
        BaseModelError: The file holds other weights.
    """
    record = find_base(name)
    size = image_size or record.image_size
    require_size(record, size)
    preprocessing: str = record.family.preprocessing
    if weights is None:
        model, source = base_weights.build_with_download(record, size), "imagenet"
    elif weights == RANDOM:
        model, source = base_weights.build_random(record, size), RANDOM
    else:
        model, source = base_weights.build_with_file(record, size, Path(weights)), Path(weights).name
        if record.family.module == "efficientnet":
            preprocessing = "efficientnet_file"
    return BuiltBase(name, model, preprocessing, size, blocks_of(model, record.family.block), source)


def base_from_model(model: Any, preprocessing: str | None, image_size: int | None = None) -> BuiltBase:
    """Take a user's own keras.Model as base.

    Args:
        model: From float32 pictures (batch, size, size, 3) to a feature map (batch, h, w, c) or vector (batch, c).
        preprocessing: What its input wants for [0, 255] pixels: "none", "tf", "torch" or "caffe".
        image_size: Side of the input in pixels; needed only where the model leaves it open.

    Raises:
        SettingError: The preprocessing is not named, or the size contradicts the model.
        BaseModelError: The model has another kind of input or output.
    """
    if preprocessing is None:
        raise SettingError(
            "a keras.Model as base needs its preprocessing named: preprocessing='none' (it takes [0, 255] pixels), "
            "'tf' ([-1, 1]), 'torch' (ImageNet mean and deviation) or 'caffe' (BGR, mean removed). A wrong one costs "
            "accuracy silently."
        )
    shape = tuple(getattr(model, "input_shape", None) or ())
    if len(shape) != 4 or shape[3] not in (3, None) or shape[1] != shape[2]:
        raise BaseModelError(f"a base takes square RGB pictures, (batch, size, size, 3); this model takes {shape}.")
    if len(model.output_shape) not in (2, 4):
        raise BaseModelError(
            f"a base gives a feature map (batch, h, w, c) or vector (batch, c); this model gives {model.output_shape}."
        )
    size = shape[1] or image_size or _DEFAULT_SIZE
    if image_size not in (None, size):
        raise SettingError(f"image size {image_size} contradicts the base, whose input is {size} pixels.")
    return BuiltBase(model.name, model, preprocessing, size, blocks_of(model), "user")
