"""All settings of a training run as frozen, validated dataclasses, read from and written to TOML and JSON."""

import dataclasses
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w

from tfransfer.errors import DataNotFoundError, SettingError, did_you_mean
from tfransfer.system.files import regular, user_path, write_text

Section = TypeVar("Section")
LINEAR_PROBE = "linear-probe"


def _require(holds: bool, setting: str, expected: str, came: object) -> None:
    if not holds:
        raise SettingError(f"{setting} must be {expected}; it is {came!r}.")


def _in(value: float | None, low: float, high: float, setting: str) -> None:
    _require(value is None or low <= value <= high, setting, f"between {low:g} and {high:g}", value)


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images, with a seed for each image and epoch.

    Attributes:
        flip: Mirror left and right with probability one half.
        rotate: Largest rotation in degrees, in either direction.
        zoom: Largest change of scale and aspect ratio, as a fraction of the image, in [0, 0.9].
        shift: Largest shift as a fraction of the side, in [0, 0.5].
        brightness: Largest change of brightness as a fraction of the range, in [0, 1].
        contrast: Largest change of contrast as a fraction, in [0, 1].
    """

    flip: bool = True
    rotate: float = 10.0
    zoom: float = 0.15
    shift: float = 0.05
    brightness: float = 0.1
    contrast: float = 0.15

    def __post_init__(self) -> None:
        _in(self.rotate, 0, 180, "augment.rotate")
        _in(self.zoom, 0, 0.9, "augment.zoom")
        _in(self.shift, 0, 0.5, "augment.shift")
        _in(self.brightness, 0, 1, "augment.brightness")
        _in(self.contrast, 0, 1, "augment.contrast")

    @property
    def moves(self) -> bool:
        """Whether any setting changes images."""
        return self.flip or any((self.rotate, self.zoom, self.shift, self.brightness, self.contrast))


@dataclass(frozen=True)
class HeadPhase:
    """The first phase: train a new head on the frozen base.

    Attributes:
        epochs: Passes over the training split; None lets `hyperrules` decide.
        learning_rate: Adam's learning rate; None lets `hyperrules` decide.
        dropout: Dropout rate before the Dense layer, in [0, 0.95].
        patience: Epochs without improvement on validation before the phase stops early; 0 never stops.
        method: "adam" trains by gradient steps; "linear-probe" solves a logistic regression on the pooled features
            (L-BFGS) with a penalty selected on validation, and ignores epochs, dropout and label smoothing.
        mixup: Blend the base's features and the targets of two images of a batch, with shares from a Beta distribution
            with this parameter; see `methods.mixing`. 0 turns it off.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    dropout: float = 0.2
    patience: int = 5
    method: Literal["adam", "linear-probe"] = "adam"
    mixup: float = 0.0

    def __post_init__(self) -> None:
        _require(self.epochs is None or self.epochs >= 1, "head.epochs", "at least 1", self.epochs)
        _in(self.learning_rate, 1e-12, 1e3, "head.learning_rate")
        _in(self.dropout, 0, 0.95, "head.dropout")
        _require(self.patience >= 0, "head.patience", "0 or more", self.patience)
        _in(self.mixup, 0, 10, "head.mixup")


@dataclass(frozen=True)
class FineTunePhase:
    """The second phase: train the base's top blocks, too, at a low learning rate. BatchNormalization stays frozen.

    Attributes:
        epochs: Passes over the training split; 0 skips the phase; None lets `hyperrules` decide.
        learning_rate: AdamW's learning rate at the end of the warm-up; None lets `hyperrules` decide.
        schedule: "cosine": after the warm-up, the learning rate decays to 0; "constant": it stays the same.
        unfreeze: A number of top blocks, the name of the lowest block to unfreeze, "all" or "none"; None lets
            `hyperrules` decide.
        warmup: Fraction of the phase's steps in which the learning rate rises, in [0, 1].
        weight_decay: AdamW's weight decay, on kernels only.
        clip_norm: Largest global norm of the gradients; 0 does not clip.
        patience: As in the head phase; None lets `hyperrules` decide.
        mixup: As in the head phase, applied to the input of the trained blocks.
        layer_decay: Factor of the learning rate from each block to the next lower one, in (0, 1]; 1 for the same rate.
        average: Momentum of a moving average of the weights, which is validated and selected in their place, in [0, 1);
            0 for none.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    unfreeze: int | str | None = None
    warmup: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    patience: int | None = None
    mixup: float = 0.3
    layer_decay: float = 1.0
    average: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        _require(self.epochs is None or self.epochs >= 0, "fine_tune.epochs", "0 or more", self.epochs)
        _in(self.learning_rate, 1e-12, 1e3, "fine_tune.learning_rate")
        _in(self.warmup, 0, 1, "fine_tune.warmup")
        _in(self.weight_decay, 0, 10, "fine_tune.weight_decay")
        _require(self.clip_norm >= 0, "fine_tune.clip_norm", "0 or more", self.clip_norm)
        _require(self.patience is None or self.patience >= 0, "fine_tune.patience", "0 or more", self.patience)
        _in(self.mixup, 0, 10, "fine_tune.mixup")
        _in(self.layer_decay, 0.01, 1, "fine_tune.layer_decay")
        _in(self.average, 0, 0.99999, "fine_tune.average")
        if isinstance(self.unfreeze, str) and re.fullmatch(r"[+-]?[0-9]+", self.unfreeze):
            object.__setattr__(self, "unfreeze", int(self.unfreeze))
        if isinstance(self.unfreeze, int):
            _require(self.unfreeze >= 0, "fine_tune.unfreeze", "0 or more blocks", self.unfreeze)


@dataclass(frozen=True)
class FeatureCache:
    """How to run the frozen part, and whether to cache its outputs for later epochs and runs.

    Attributes:
        cache: Run the frozen part once and cache its outputs; false runs it in every step, on new augmentations.
        views: Number of cached views of each training image, the first one clean and the others augmented; epoch e uses
            view e mod views. None lets `hyperrules` decide.
        engine: Run the frozen part with "litert" or "keras"; "auto" measures both.
        dtype: Data type on disk.
        budget_gb: Size limit of the whole cache on disk, in 10^9 bytes; None takes a quarter of the free space.
    """

    cache: bool = True
    views: int | None = None
    engine: Literal["auto", "litert", "keras"] = "auto"
    dtype: Literal["float16", "float32"] = "float16"
    budget_gb: float | None = None

    def __post_init__(self) -> None:
        _require(self.views is None or self.views >= 1, "features.views", "1 or more", self.views)
        _in(self.budget_gb, 0, 1e6, "features.budget_gb")

    @property
    def budget(self) -> int | None:
        """The budget in bytes."""
        return None if self.budget_gb is None else int(self.budget_gb * 1e9)


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run. None means that `hyperrules` decides from the data and the base.

    Attributes:
        base: Name of the pretrained base, from `tfransfer bases`. None takes mobilenet_v2, or the built-in mini for the
            built-in digits and if the weights of mobilenet_v2 are not available.
        weights: File with the base's weights; None takes Keras's own ImageNet weights; "random" starts untrained.
        preprocessing: For a keras.Model as base: the preprocessing of its input ("none", "tf", "torch" or "caffe").
        image_size: Side of the square model input, in pixels.
        pooling: For a base that gives tokens with a class token (BERT, ViT, ...): the head takes the "class" token, the
            "mean" of all tokens without padding, or "both"; "auto" takes what a linear probe does best with,
            cross-validated on the training split.
        batch_size: Images per step, over all devices.
        accumulate: Number of pieces in which each device computes its part of a step, to save memory.
        seed: Of the order, augmentation, dropout and the head's initial weights.
        class_weights: "balanced" weights each class by its inverse frequency; "none" does not; or weights by class name
            or index, where classes that are left out have weight 1.
        label_smoothing: Share of each target that is spread over all classes, in [0, 0.9]; ignored by linear probes.
        calibrate: Divide the logits by a temperature fitted on validation, to calibrate the probabilities; the
            predicted class never changes.
        cross_validate: Where the test split has fewer than 200 examples, also give a cross-validated figure of a linear
            head on the frozen base's features, over all examples; it selects nothing.
        precision: "auto" is mixed float16 on GPUs that benefit from it, and float32 elsewhere.
        augment: Augmentation of training images.
        features: How to run the frozen part and cache its outputs.
        head: The first phase.
        fine_tune: The second phase.
    """

    base: str | None = None
    weights: str | None = None
    preprocessing: Literal["none", "tf", "torch", "caffe"] | None = None
    image_size: int | None = None
    pooling: Literal["auto", "class", "mean", "both"] = "auto"
    batch_size: int | None = None
    accumulate: int = 1
    seed: int = 0
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    label_smoothing: float = 0.1
    calibrate: bool = True
    cross_validate: bool = True
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    augment: Augmentation = field(default_factory=Augmentation)
    features: FeatureCache = field(default_factory=FeatureCache)
    head: HeadPhase = field(default_factory=HeadPhase)
    fine_tune: FineTunePhase = field(default_factory=FineTunePhase)

    def __post_init__(self) -> None:
        _require(self.image_size is None or self.image_size >= 8, "image_size", "8 pixels or more", self.image_size)
        _require(self.batch_size is None or self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)
        _require(self.accumulate >= 1, "accumulate", "1 or more", self.accumulate)
        _require(0 <= self.seed < 2**31, "seed", "between 0 and 2147483647", self.seed)
        if isinstance(self.class_weights, dict):
            weights = {str(key): float(value) for key, value in self.class_weights.items()}
            object.__setattr__(self, "class_weights", weights)
            right = all(0 <= weight < math.inf for weight in weights.values())
            _require(right, "class_weights", "numbers of 0 or more", weights)
        _in(self.label_smoothing, 0, 0.9, "label_smoothing")
        if self.head.method == LINEAR_PROBE:
            needed = {"head.mixup": (0, self.head.mixup), "features.cache": (True, self.features.cache)}
            for name, (value, came) in needed.items():
                _require(came == value, name, f"{str(value).lower()} with head.method = {LINEAR_PROBE!r}", came)

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested plain values, without None."""
        return _without_none(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """A recipe from nested plain values.

        Raises:
            SettingError: A key is unknown, or a value has the wrong type or range.
        """
        return read_section(cls, values, "")

    def with_settings(self, settings: dict[str, Any]) -> "Recipe":
        """A copy with new values for dotted keys, e.g. `{"head.epochs": 3}`.

        Raises:
            SettingError: A key is unknown, or a value has the wrong type or range.
        """
        values = self.to_dict()
        for key, value in settings.items():
            *sections, last = key.split(".")
            section = values
            for name in sections:
                section = section.setdefault(name, {})
                if not isinstance(section, dict):
                    raise SettingError(f"{key!r}: {name!r} is a single setting, not a section.")
            section[last] = value
        return Recipe.from_dict(values)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}


def read_section(kind: type[Section], values: dict[str, Any], prefix: str = "") -> Section:
    """Build a dataclass from plain values, as read from TOML or JSON.

    Args:
        kind: The dataclass.
        values: Values by field name.
        prefix: Prefix of field names in error messages.

    Raises:
        SettingError: A key is unknown, or a value has the wrong type or range.
    """
    hints = typing.get_type_hints(kind)
    converted = {}
    for key, value in values.items():
        if key not in hints:
            raise SettingError(
                f"unknown setting {prefix + key!r}; known here: {', '.join(hints)}.{did_you_mean(key, hints)}"
            )
        converted[key] = _value(hints[key], value, prefix + key)
    return kind(**converted)


def _value(hint: Any, value: Any, name: str) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, dict):
            raise SettingError(f"{name} must be a section of settings; it is {value!r}.")
        return read_section(hint, value, name + ".")
    if fits(hint, value):
        return tuple(value) if isinstance(value, list) else float(value) if hint is float else value
    raise SettingError(f"{name} must be {type_in_words(hint)}; it is {value!r}.")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def fits(hint: Any, value: Any) -> bool:
    """Whether a plain value has the type of an annotation."""
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return True
        elif kind is float:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return True
        elif typing.get_origin(kind) is tuple:
            if isinstance(value, list | tuple) and all(fits(typing.get_args(kind)[0], v) for v in value):
                return True
        elif typing.get_origin(kind) is dict:
            inner = typing.get_args(kind)[1]
            if isinstance(value, dict) and all(isinstance(k, str) and fits(inner, v) for k, v in value.items()):
                return True
        elif kind is int and isinstance(value, bool):
            continue
        elif isinstance(value, kind):
            return True
    return False


def type_in_words(hint: Any) -> str:
    """An annotation in words, for messages."""
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        type(None): "",
        dict: "an object",
    }
    words = []
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is tuple:
            words.append("a list")
            continue
        if typing.get_origin(kind) is dict:
            words.append(f"an object in which each value is {type_in_words(typing.get_args(kind)[1])}")
            continue
        words += (
            [repr(a) for a in typing.get_args(kind)]
            if typing.get_origin(kind) is Literal
            else [names.get(kind, "left out")]
        )
    return " or ".join(word for word in words if word)


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse `KEY=VALUE` from the command line's --set; the value is TOML, or else a text.

    Raises:
        SettingError: It has no `=`.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise SettingError(f"--set takes KEY=VALUE, for example head.epochs=3; it is {text!r}.")
    try:
        return key.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        DataNotFoundError: The file does not exist.
        SettingError: It is not valid TOML, or a setting is wrong.
    """
    try:
        values = tomllib.loads(regular(user_path(path)).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataNotFoundError(f"recipe file {path} does not exist.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"recipe file {path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise SettingError(f"recipe file {path} cannot be read: {error.strerror}.") from error
    return Recipe.from_dict(values)


def write_recipe(path: Path, recipe: Recipe, opening: str) -> None:
    """Write a recipe as TOML.

    Args:
        path: The file.
        recipe: The recipe.
        opening: Lines to write as comments at the top: the command, the accuracy to expect.
    """
    comment = "".join(f"# {line}\n" for line in opening.splitlines())
    write_text(path, comment + tomli_w.dumps(recipe.to_dict()))
