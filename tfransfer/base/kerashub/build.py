"""Build bases from KerasHub presets, for pictures (ViT, DINOv2, ResNet ...) and texts (BERT, RoBERTa ...)."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from tfransfer.base.blocks import Block, blocks_of
from tfransfer.base.build import BuiltBase
from tfransfer.base.kerashub.text import PresetTokens
from tfransfer.base.names import PREFIX
from tfransfer.base.preprocessing import RESCALING, entry
from tfransfer.base.records import DEFAULT_SIZE
from tfransfer.base.tokens import BOTH, CLASS_TOKEN
from tfransfer.base.untrusted import require_known_config, require_plain_weights
from tfransfer.display.progress import Say, silent
from tfransfer.errors import BaseModelError, SettingError, WeightsNotFoundError, did_you_mean
from tfransfer.hyperrules import ENCODER
from tfransfer.system.interface import option

_REMOTE = ("kaggle://", "hf://")
# Tokens of a text that are read at most, whatever the preset allows: the time of attention grows with their square.
_MOST_TOKENS = 512
# Backbones whose first token is the class token although no attribute says so.
_CLASS_TOKEN_FIRST = ("DeiTBackbone", "DINOV2Backbone", "DINOV3Backbone")
# Encoders that are a single KerasHub layer, with the attributes that they call in order.
_STACKS = {
    "ViTEncoder": ("dropout", "encoder_layers", "layer_norm"),
    "DINOV2Encoder": ("layers",),
}
# Names of a block's layers in KerasHub; the group identifies the block.
_BLOCK_NAMES = (
    r"(transformer_block_\d+|transformer_layer_\d+|f_net_layer_\d+|disentangled_attention_encoder_layer_\d+)$",
    r".*(encoder_block_\d+)$",
    r"(layers_\d+|encoder_layer_\d+|hierarchical_encoder_\d+_\d+|group_\d+_inner_layer_\d+|stage_\d+)$",
    r"(block_\d+_\d+)$",
    r"(stack\d+_block\d+)_",
    r"(block\d+[a-z]?)_",
)


@keras.saving.register_keras_serializable(package="tfransfer")
class PresetModel(keras.Model):
    """A backbone of KerasHub up to its features, as one flat graph.

    It is saved as the backbone's constructor arguments, from which the graph is rebuilt: some inner layers (of ViT,
    DeiT, Swin) cannot be restored from their configs, so a plain Functional model could not be loaded.
    """

    def __init__(self, backbone: Any, pooling: str = CLASS_TOKEN, **options: Any) -> None:
        """Build the graph.

        Args:
            backbone: A keras_hub Backbone, or its Keras serialization.
            pooling: What tokens are reduced to: "both" for the class token and the mean side by side, or "class" for
                the class token, as files of tfransfer 0.1 have it; the mean where there is no class token.
            **options: As for keras.Model.
        """
        if isinstance(backbone, dict):
            import keras_hub  # noqa: F401  an optional extra; importing it registers its classes with Keras

            backbone = keras.saving.deserialize_keras_object(backbone)
        features = _unrolled(backbone, _features(backbone))
        super().__init__(_inputs(backbone), _vector(features, backbone, pooling), **options)
        self._pooling = pooling
        self._serialized_backbone = json.dumps(keras.saving.serialize_keras_object(backbone))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        backbone = json.loads(self._serialized_backbone)
        return {"name": self.name, "trainable": self.trainable, "backbone": backbone, "pooling": self._pooling}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "PresetModel":
        """Rebuild the graph."""
        return cls(**config)


def _inputs(backbone: Any) -> Any:
    """A backbone's input; a dictionary if it takes several."""
    return backbone.inputs[0] if len(backbone.inputs) == 1 else backbone.input


def _features(backbone: Any) -> Any:
    """The backbone's main output: a map, a vector or a sequence of tokens."""
    output = backbone.output
    if isinstance(output, dict):
        output = output.get("sequence_output", next(iter(output.values())) if len(output) == 1 else output)
    if isinstance(output, dict | list | tuple):
        names = ", ".join(output) if isinstance(output, dict) else "a list"
        raise BaseModelError(
            f"a base must have one output; {type(backbone).__name__} has {len(backbone.outputs)}: {names}."
        )
    if len(output.shape) not in (2, 3, 4):
        raise BaseModelError(
            f"a base must return a map, a vector or a sequence of vectors; {type(backbone).__name__} returns "
            f"{tuple(output.shape)}."
        )
    return output


def _unrolled(backbone: Any, features: Any) -> Any:
    """Replace an encoder that is a single layer by the layers inside it, so that the model can be cut between them."""
    operations = keras.Model(_inputs(backbone), features).operations
    stack = next((operation for operation in operations if type(operation).__name__ in _STACKS), None)
    if stack is None:
        return features
    values = stack.input
    for name in _STACKS[type(stack).__name__]:
        part = getattr(stack, name)
        for layer in part if isinstance(part, list | tuple) else [part]:
            values = layer(values)
            values = values[0] if isinstance(values, tuple) else values  # DeiT's blocks also return attention scores
    for layer in operations[operations.index(stack) + 1 :]:
        copy = type(layer).from_config(layer.get_config())  # cuts need each layer to be called once
        values = copy(values)
        copy.set_weights(layer.get_weights())
    return values


def _class_token(backbone: Any) -> int | None:
    """Position of the class token; None if the backbone has none."""
    for name in ("cls_token_index", "start_token_index"):
        if getattr(backbone, name, None) is not None:
            return int(getattr(backbone, name))
    first = {base.__name__ for base in type(backbone).__mro__} & set(_CLASS_TOKEN_FIRST)
    return 0 if first or getattr(backbone, "use_class_token", False) else None


def _vector(tokens: Any, backbone: Any, pooling: str) -> Any:
    """Reduce tokens, shape (batch, tokens, d), to one vector; return other features unchanged."""
    if len(tokens.shape) != 3:
        return tokens
    position = _class_token(backbone)
    mask = backbone.input.get("padding_mask") if isinstance(backbone.input, dict) else None
    mean = keras.layers.GlobalAveragePooling1D(name="mean_of_tokens")
    if position is None:
        return mean(tokens, mask=mask)
    first = keras.ops.take(tokens, position, axis=1)
    if pooling == CLASS_TOKEN:
        return first
    if mask is None:  # of pictures: the patches stand behind the class token and what registers there are
        tokens = tokens[:, position + 1 + getattr(backbone, "num_register_tokens", 0) :]
    return keras.layers.Concatenate(name="class_and_mean")([first, mean(tokens, mask=mask)])


def _gives_both(backbone: Any) -> bool:
    """Whether a backbone gives tokens of which one is the class token."""
    return len(_features(backbone).shape) == 3 and _class_token(backbone) is not None


def build_kerashub(preset: str, image_size: int | None = None, say: Say = silent) -> BuiltBase:
    """Build a base from a preset of KerasHub.

    The output for an example is one vector or map. If the backbone has a class token (ViT, DeiT, DINOv2 and 3, BERT,
    RoBERTa, DistilBERT, ALBERT, DeBERTa, FNet), tokens are reduced to it and the mean, side by side: of texts the mean
    of all tokens without padding, of pictures that of the patches. Else they are reduced to their mean. Feature maps
    stay maps (ResNet, EfficientNet, MobileNet). Of a pair of encoders for pictures and texts (SigLIP), the picture
    encoder is the base.

    Args:
        preset: A preset's name, `kaggle://...`, `hf://...` or the folder of one.
        image_size: Side of the input in pixels, if the backbone does not fix it.
        say: Gets a line if the preset does not say how pixels are scaled.

    Raises:
        SettingError: No such preset, the image size is not the backbone's, or keras_hub is not installed.
        WeightsNotFoundError: The preset is not on this machine and cannot be downloaded.
        BaseModelError: It is damaged, or its input or output is not supported.
    """
    hub = _keras_hub(preset)
    name, preset = PREFIX + preset, _resolve(hub, preset)
    backbone = _load(preset, lambda: hub.models.Backbone.from_preset(preset))
    backbone = getattr(backbone, "vision_encoder", None) or backbone  # SigLIP also has a text encoder
    if not getattr(backbone, "inputs", None):
        raise BaseModelError(f"the backbone of {preset} is not a Functional model, so it cannot be split; use another.")
    _features(backbone)  # fails early if the output is not supported
    names = list(backbone.input) if isinstance(backbone.input, dict) else []
    if "token_ids" in names:
        model, blocks = _text_model(hub, preset, backbone)
        return BuiltBase(
            name, model, "none", 0, blocks, "preset", kind="text", pretraining=ENCODER,
            both_tokens=_gives_both(backbone), tokens=model.layers[-2],
        )  # fmt: skip
    if len(backbone.inputs) != 1 or len(backbone.inputs[0].shape) != 4:
        taken = ", ".join(names) or str([tuple(tensor.shape) for tensor in backbone.inputs])
        raise BaseModelError(f"a base takes pictures or texts; {type(backbone).__name__} of {preset} takes {taken}.")
    model, size, preprocessing = _image_model(hub, preset, backbone, image_size, say)
    blocks = blocks_of(model, _block_names(model))
    return BuiltBase(name, model, preprocessing, size, blocks, "preset", both_tokens=_gives_both(backbone))


def _keras_hub(preset: str) -> Any:
    try:
        import keras_hub  # an optional extra
    except ImportError as error:
        raise SettingError(
            f'{PREFIX}{preset} needs keras_hub, which cannot be imported ({error}): pip install "tfransfer[kerashub]"'
        ) from error
    return keras_hub


def _resolve(hub: Any, preset: str) -> str:
    """Check a preset and return it in KerasHub's form: a known name, an address, or a preset's folder."""
    known = hub.models.Backbone.presets
    if preset.startswith(_REMOTE) or preset in known:
        return preset
    folder = Path(preset).expanduser()
    if not folder.is_dir():
        raise SettingError(
            f"KerasHub has no preset {preset!r}, and there is no such folder; a preset is a name from "
            f"https://keras.io/keras_hub/presets, {' or '.join(start + '...' for start in _REMOTE)}, or a folder "
            f"written by save_to_preset.{did_you_mean(preset, known)}"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"{folder} is no preset of KerasHub, or a damaged one: its config.json cannot be read ({error}). Pass a "
            "folder written by save_to_preset, or download the preset again."
        ) from error
    if not isinstance(config, dict) or not {"registered_name", "model_type", "architecture"} & set(config):
        raise BaseModelError(f"{folder} is no preset of KerasHub: its config.json describes no backbone.")
    if "registered_name" in config:  # else KerasHub converts it from another library's settings
        _load(str(folder), lambda: _require_data(folder))
    return str(folder)


def _require_data(folder: Path) -> None:
    """Check that the files of a preset's folder hold no program."""
    for file in sorted(folder.glob("*.json")):
        require_known_config(json.loads(file.read_text(encoding="utf-8")), str(file))
    for file in sorted(folder.glob("*.h5")):
        require_plain_weights(file)


def _load(preset: str, read: Callable[[], Any]) -> Any:
    """Load a part of a preset; distinguish one that cannot be downloaded from a damaged one."""
    try:
        return read()
    except BaseModelError:
        raise
    except Exception as error:  # KerasHub, Keras, h5py, kagglehub and huggingface_hub raise many types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        here = Path(preset).expanduser().is_dir()
        if here or isinstance(error, TypeError | KeyError) or "truncated" in reason:
            raise BaseModelError(
                f"the preset {preset} cannot be loaded, it is damaged or no backbone: {reason} "
                f"{'Download or write it again.' if here else 'Delete its cached files to download it again.'}"
            ) from error
        raise WeightsNotFoundError(
            f"the preset {preset} is not on this machine and could not be downloaded: {reason} Download it "
            "with keras_hub.models.Backbone.from_preset on a machine with network access, copy the folder here, and "
            f"give {option('base', stand_in=f'{PREFIX}FOLDER')}."
        ) from error


def _image_model(hub: Any, preset: str, backbone: Any, requested: int | None, say: Say) -> tuple[keras.Model, int, str]:
    """The model, the side of its input, and its preprocessing."""
    taken = backbone.inputs[0]
    shape = tuple(taken.shape[1:])
    if shape[2] != 3 or shape[0] != shape[1] or not taken.dtype.startswith(("float", "bfloat")):
        raise BaseModelError(f"a base must take square RGB pictures as floats; {preset} takes {shape}, {taken.dtype}.")
    converter = _converter(hub, preset)
    usual = getattr(converter, "image_size", None) or (None, None)
    size = shape[0] or requested or (usual[0] if usual[0] == usual[1] else None) or DEFAULT_SIZE
    if requested not in (None, size):
        raise SettingError(f"image size {requested} contradicts the preset {preset}, whose input is {size} pixels.")
    if converter is None:
        say(f"base: the preset {preset} does not say how pixels are scaled: the backbone gets [0, 255].")
    if shape[0] is None:
        backbone = _resized(backbone, size)
    return PresetModel(backbone, BOTH, name="preset"), size, "none" if converter is None else rescaling_kind(converter)


def _resized(backbone: Any, size: int) -> Any:
    """The same backbone for one image size, so that its cuts have known shapes."""
    config = backbone.get_config()
    key = next((key for key in ("image_shape", "input_shape") if key in config), None)
    if key is None:
        return backbone
    sized = type(backbone).from_config(config | {key: (size, size, 3)})
    sized.set_weights(backbone.get_weights())
    return sized


def _converter(hub: Any, preset: str) -> Any:
    """The preset's image preprocessing; None if it does not specify one."""

    def read() -> Any:
        try:
            return hub.layers.ImageConverter.from_preset(preset)
        except (FileNotFoundError, NotImplementedError):
            return None
        except ValueError as error:
            if "Unable to find a subclass" in str(error):  # KerasHub has no image preprocessing for this backbone
                return None
            raise

    converter = _load(preset, read)
    if converter is None:
        return None
    plain = hub.layers.ImageConverter
    if any(getattr(type(converter), name, None) is not getattr(plain, name, None) for name in ("call", "_call_python")):
        raise BaseModelError(
            f"the preset {preset} preprocesses pictures with more than a scale and an offset "
            f"({type(converter).__name__}), which a base does not support."
        )
    return converter


def rescaling_kind(converter: Any) -> str:
    """The scale and offset of a keras_hub ImageConverter as a base's `preprocessing`."""
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    if (scale, offset) == (1.0, 0.0):
        return "none"
    return RESCALING + json.dumps({"scale": scale, "offset": offset})


def _text_model(hub: Any, preset: str, backbone: Any) -> tuple[keras.Model, tuple[Block, ...]]:
    try:
        import tensorflow_text  # noqa: F401  part of the optional extra; KerasHub tokenizes with it in a graph
    except ImportError as error:
        raise SettingError(
            f'texts need tensorflow-text for {PREFIX}{preset}: pip install "tfransfer[kerashub]"'
        ) from error
    length = min(_MOST_TOKENS, getattr(backbone, "max_sequence_length", None) or _MOST_TOKENS)
    reader = hub.models.TextClassifierPreprocessor
    if not any(kind.backbone_cls is type(backbone) for kind in _subclasses(reader)):
        raise BaseModelError(
            f"KerasHub classifies no texts with {type(backbone).__name__} ({preset}); use an encoder such as BERT, "
            "RoBERTa, DistilBERT, ALBERT or DeBERTa."
        )
    preprocessor = _load(preset, lambda: reader.from_preset(preset, sequence_length=length))
    text = entry("text", 0)
    tokens = PresetTokens(preprocessor, tuple(backbone.input), name="tokens")(text)
    backbone_model = PresetModel(backbone, BOTH, name="preset_backbone")
    return keras.Model(text, backbone_model(tokens), name="preset"), _text_blocks(backbone_model)


def with_sequence_length(base: BuiltBase, length: int) -> BuiltBase:
    """A text base that cuts texts after so many tokens, and pads shorter ones to them; the weights are shared.

    Args:
        base: From `build_kerashub`, not called yet: its tokenizer is changed.
        length: Tokens, with those that mark a text's start and end.
    """
    tokens, encoder = base.model.layers[-2:]
    tokens.preprocessor.sequence_length = length
    text = entry("text", 0)
    values = PresetTokens(tokens.preprocessor, tokens.outputs, name="tokens")(text)
    model = keras.Model(text, encoder(values), name=base.model.name)
    return replace(base, model=model, tokens=model.layers[-2])


def _subclasses(kind: type) -> list[Any]:
    children: list[type] = kind.__subclasses__()
    return [inner for child in children for inner in (child, *_subclasses(child))]


def _block_names(model: keras.Model) -> str | None:
    names = [operation.name for operation in model.operations]
    return next((pattern for pattern in _BLOCK_NAMES if any(re.match(pattern, name) for name in names)), None)


def _text_blocks(model: keras.Model) -> tuple[Block, ...]:
    """Blocks without the embeddings, which no cut separates: the padding mask crosses everywhere."""
    blocks, pattern = blocks_of(model, _block_names(model)), _block_names(model)
    first = next((i for i, op in enumerate(model.operations) if pattern and re.match(pattern, op.name)), 1)
    layers = tuple(op for op in model.operations[first : blocks[0].stop] if isinstance(op, keras.layers.Layer))
    parameters = sum(layer.count_params() for layer in layers)
    return (replace(blocks[0], start=first, layers=layers, parameters=parameters), *blocks[1:])
