"""Checks of a stranger's model file before Keras reads it: a config names parts of Keras only, weights are numbers.

Keras builds whatever a config names. Each version closed one more way to make that a program: lambdas
(CVE-2024-3660), any function as a class (CVE-2025-1550), Keras's own `get_file` and `load_model` (CVE-2025-8747),
unsafe mode switched on from a config (CVE-2025-9906), vocabularies read from anywhere (CVE-2025-12058), SavedModels
(CVE-2026-1462), HDF5 links to other files and shapes without data (CVE-2026-1669, CVE-2026-0897). An allow-list does
not depend on the version, and needs none of them to be known.
"""

import importlib
import io
import json
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import h5py
import keras

from tfransfer.errors import BaseModelError
from tfransfer.system.interface import option

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# No model of Keras Applications or KerasHub has a config of more than 1 MB.
_LARGEST_CONFIG = 64_000_000
# Keras stores without compression: a part above the floor that grows by more than this was made to fill the memory.
_BOMB_FLOOR, _MOST_GROWTH = 64_000_000, 100
# Plain values in a config, which Keras builds itself.
_VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__")
# Parts of Keras whose classes may be named, as `keras.PART` or as `keras.src.PART`.
_PARTS = (
    "activations", "applications", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics",
    "models", "ops", "optimizers", "quantizers", "random", "regularizers",
)  # fmt: skip
_FUNCTION_PARTS = ("activations", "losses", "metrics")
_NO_FUNCTIONS = ("get", "serialize", "deserialize")
_KINDS = (
    keras.Operation, keras.layers.Layer, keras.initializers.Initializer, keras.regularizers.Regularizer,
    keras.constraints.Constraint, keras.dtype_policies.DTypePolicy, keras.losses.Loss, keras.metrics.Metric,
    keras.optimizers.Optimizer, keras.optimizers.schedules.LearningRateSchedule, keras.Quantizer,
    keras.random.SeedGenerator,
)  # fmt: skip
# Layers that hold a program, or load one.
_PROGRAMS = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
# Constructor arguments that name a file to be read, from a disk or an address; saved models hold the content instead.
_FILE_ARGUMENTS = ("vocabulary", "merges", "proto", "filepath")
_TEXT_LAYER = "tfransfer>PresetTokens"  # its `vocabulary` is a hash


def require_known_parts(file: Path) -> None:
    """Check that the config of a `.keras` file names nothing but parts of Keras and registered classes.

    Raises:
        BaseModelError: It names something else, which could be a program.
        ValueError: It is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo(_CONFIG).file_size > _LARGEST_CONFIG:
            raise ValueError(f"its {_CONFIG} is larger than any model's")
        require_known_config(json.loads(archive.read(_CONFIG)), str(file))


def require_known_config(config: Any, name: str) -> None:
    """Check that a Keras config names nothing but parts of Keras and registered classes.

    Args:
        config: Plain values, as Keras serializes a model or a layer.
        name: The file's name, for the message.

    Raises:
        BaseModelError: It names something else, which could be a program.
    """
    for part in _dicts(config):
        if "class_name" in part:
            reason = _objection(part)
            if reason:
                _refuse(name, reason)


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _refuse(name: str, reason: str) -> NoReturn:
    raise BaseModelError(
        f"{name} {reason}. It could run a program that does anything on this machine. If you trust its author, load it "
        f"with {option('trust', True)}; a layer of your own must be registered first "
        "(@keras.saving.register_keras_serializable)."
    )


def _objection(part: dict[str, Any]) -> str:
    """What is wrong with one object of a config; empty if nothing is."""
    name, module, registered = part["class_name"], part.get("module"), part.get("registered_name")
    if name in _VALUES:
        return ""
    if not all(isinstance(text, str) for text in (name, module or "", registered or "")) or "module" not in part:
        return f"names a class, {str(name)[:80]!r}, in a form that Keras does not write"
    if name == "function":
        target = part.get("config")
        return "" if _is_known_function(target, module) else f"names the function {f'{module}.{target}'[:120]!r}"
    title = f"{module}.{name}"[:120]
    if name.startswith("__") or name in _PROGRAMS:
        return f"holds a program ({title})"
    found = keras.saving.get_registered_object(registered or name) or _keras_class(module or "", name)
    if found is None:
        return f"names {title!r}, which is no layer or setting of Keras"
    if getattr(found, "__name__", "") in _PROGRAMS:
        return f"holds a program ({title})"
    config = part.get("config")
    arguments = config if isinstance(config, dict) and registered != _TEXT_LAYER else {}
    files = [key for key in _FILE_ARGUMENTS if isinstance(arguments.get(key), str) and arguments[key]]
    return f"has {title} read the file {str(arguments[files[0]])[:80]!r}" if files else ""


def _is_known_function(name: Any, module: str | None) -> bool:
    """Whether a config's function is a registered one, or an activation, loss or metric of Keras."""
    if not isinstance(name, str) or name in _NO_FUNCTIONS:
        return False
    if keras.saving.get_registered_object(name) is not None:
        return True
    parts = [part for part in _FUNCTION_PARTS if module in ("builtins", f"keras.{part}")]
    found = [getattr(importlib.import_module(f"keras.{part}"), name, None) for part in parts]
    return any(isinstance(one, types.FunctionType) for one in found)


def _keras_class(module: str, name: str) -> Any:
    """A class of Keras or KerasHub that a config may name; None if it may not."""
    first, second, third = (*module.split("."), "", "")[:3]
    inside = (third if second == "src" else second) in _PARTS or module == "keras"
    if not (first == "keras_hub" or (first == "keras" and inside)):
        return None
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, _KINDS) else None


def require_plain_weights(file: Path) -> None:
    """Check that weights are arrays of numbers inside the file itself, no larger than it suggests.

    Args:
        file: A `.keras` file, or an HDF5 file.

    Raises:
        ValueError: They are something else.
        OSError: The file is damaged.
    """
    if not zipfile.is_zipfile(file):
        _require_numbers(file)
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.file_size > max(_BOMB_FLOOR, _MOST_GROWTH * member.compress_size):
                raise ValueError(f"{member.filename} unpacks to {_MOST_GROWTH} times its size")
        _require_numbers(io.BytesIO(archive.read(_WEIGHTS)))


def _require_numbers(source: Any) -> None:
    with h5py.File(source, "r") as opened:
        groups, seen = [opened["/"]], set()
        while groups:
            group = groups.pop()
            for name in group:
                where = f"{group.name}/{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"its weights are a link to something else ({where})")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if isinstance(item, h5py.Group) and address not in seen:  # groups may contain each other
                    seen.add(address)
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    _require_own_numbers(item, where)


def _require_own_numbers(item: h5py.Dataset, where: str) -> None:
    if item.external or item.is_virtual:
        raise ValueError(f"its weights are in another file ({where})")
    if item.dtype.hasobject:
        raise ValueError(f"its weights are not numbers ({where})")
    if item.nbytes > max(_BOMB_FLOOR, _MOST_GROWTH * item.id.get_storage_size()):
        raise ValueError(f"it declares weights that it does not hold ({where})")
