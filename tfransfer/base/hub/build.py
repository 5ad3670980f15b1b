"""Build bases from TF-Hub modules."""

import math
import re

import keras

from tfransfer.base.blocks import ALL, Block, top_blocks
from tfransfer.base.build import BuiltBase
from tfransfer.base.hub.layer import HubLayer
from tfransfer.base.preprocessing import entry
from tfransfer.base.records import DEFAULT_SIZE
from tfransfer.display.progress import Say, silent
from tfransfer.errors import SettingError


def build_hub(handle: str, image_size: int | None = None, say: Say = silent) -> BuiltBase:
    """Build a base from a TF-Hub module.

    Args:
        handle: A URL of tfhub.dev or Kaggle models, a SavedModel's folder, or a `.tar.gz` with one.
        image_size: Side of the input in pixels, if the module does not fix it.
        say: Gets a line if the module cannot be trained.

    Raises:
        SettingError: The image size is not the module's.
        WeightsNotFoundError: The module is not on this machine and cannot be downloaded.
        BaseModelError: It is damaged, or its input or output is not supported.
    """
    layer = HubLayer(handle, name="module")
    size = _size(layer, image_size)
    inputs = entry(layer.input_kind, size)
    model = keras.Model(inputs, layer(inputs), name="hub_module")
    blocks = tuple(Block(name, 0, 0, (), _parameters(layer, pattern), None) for name, pattern in layer.block_patterns())
    if not layer.can_train:
        say(f"base: {layer.why_frozen} It is used as a frozen base.")
    preprocessing = "none" if layer.reads_text else "unit"  # TF-Hub's image modules take [0, 1]
    return BuiltBase(handle, model, preprocessing, size, blocks, "module", kind=layer.input_kind, module=layer)


def _size(layer: HubLayer, requested: int | None) -> int:
    if layer.reads_text:
        return 0
    if layer.image_size and requested not in (None, layer.image_size):
        raise SettingError(f"image size {requested} contradicts the module, whose input is {layer.image_size} pixels.")
    return layer.image_size or requested or DEFAULT_SIZE


def _parameters(layer: HubLayer, pattern: str) -> int:
    variables = zip(layer.variable_names, layer.variables, strict=True)
    return sum(math.prod(variable.shape) for name, variable in variables if re.search(pattern, name))


def pattern_of(base: BuiltBase, setting: int | str) -> str | None:
    """Regular expression for the names of the variables that a setting unfreezes; None for all.

    Args:
        base: A hub base.
        setting: How many top blocks, the name of the lowest one, "all", or a regular expression.

    Raises:
        SettingError: There are fewer blocks.
    """
    layer = base.module
    if layer is None or setting == ALL:
        return None
    names = [block.name for block in base.blocks]
    if isinstance(setting, str) and setting not in names:
        return setting
    if not base.blocks:
        raise SettingError(
            "the names of this module's variables carry no block numbers, so blocks cannot be counted: unfreeze all, "
            f"or select variables by a regular expression; they are called {', '.join(layer.variable_names[:5])}, ..."
        )
    return layer.top_pattern(len(top_blocks(base.blocks, setting)))
