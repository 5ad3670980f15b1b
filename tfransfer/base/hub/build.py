"""TF-Hub modules as bases."""

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
        image_size: Side of the input in pixels, where the module leaves it open.
        say: Told why a module cannot be trained.

    Raises:
        SettingError: The image size is not the module's.
        WeightsNotFoundError: The module is neither here nor to be had.
        BaseModelError: It is damaged, or takes or gives something else than pictures or texts and vectors.
    """
    layer = HubLayer(handle, name="module")
    size = _size(layer, image_size)
    given = entry(layer.input_kind, size)
    model = keras.Model(given, layer(given), name="hub_module")
    blocks = tuple(Block(name, 0, 0, (), _parameters(layer, pattern), None) for name, pattern in layer.block_patterns())
    if not layer.can_train:
        say(f"base: {layer.why_frozen} It serves as a frozen base.")
    preprocessing = "none" if layer.reads_text else "unit"  # TF-Hub's image modules take [0, 1]
    return BuiltBase(handle, model, preprocessing, size, blocks, "module", kind=layer.input_kind, module=layer)


def _size(layer: HubLayer, asked: int | None) -> int:
    if layer.reads_text:
        return 0
    if layer.image_size and asked not in (None, layer.image_size):
        raise SettingError(f"image size {asked} contradicts the module, whose input is {layer.image_size} pixels.")
    return layer.image_size or asked or DEFAULT_SIZE


def _parameters(layer: HubLayer, pattern: str) -> int:
    named = zip(layer.variable_names, layer.variables, strict=True)
    return sum(math.prod(variable.shape) for name, variable in named if re.search(pattern, name))


def pattern_of(base: BuiltBase, setting: int | str) -> str | None:
    """The regular expression for the names of the variables that a setting unfreezes; None for all.

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
            f"or name variables by a regular expression; they are called {', '.join(layer.variable_names[:5])}, ..."
        )
    return layer.top_pattern(len(top_blocks(base.blocks, setting)))
