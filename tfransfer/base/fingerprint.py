"""A fingerprint of a model: equal where the same layers with the same weights are connected in the same way."""

import hashlib
import inspect
import json
from types import CodeType, FunctionType
from typing import Any

import keras
import numpy as np

# Do not change what a layer computes in inference mode, or are told otherwise.
_LEFT_OUT = {"trainable", "build_config", "compile_config", "registered_name", "seed"}
# Where a config names layers. Elsewhere a text such as "relu" may be a setting, though a layer is called so too.
_NAMING = {"name", "keras_history", "input_layers", "output_layers"}


def fingerprint(model: keras.Model) -> str:
    """A hash of a model's structure, of its weights, and of the code of layers that are not Keras's own.

    Names do not enter (Keras numbers them anew in each process), nor does what is frozen.

    Returns:
        128 bits in hexadecimal.
    """
    digest = hashlib.blake2b(digest_size=16)
    names = (part.name for layer in model._flatten_layers() for part in (layer, *getattr(layer, "operations", ())))
    numbers = {name: f"layer {number}" for number, name in enumerate(dict.fromkeys(names))}
    digest.update(json.dumps(_plain(model.get_config(), numbers), sort_keys=True, default=str).encode())
    for layer in model._flatten_layers():
        if not type(layer).__module__.startswith("keras."):
            digest.update(_code(type(layer)))
    for variable in model.weights:
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _plain(value: Any, numbers: dict[str, str], naming: bool = False) -> Any:
    """A config without what must not count, its layers' names replaced by their numbers."""
    if isinstance(value, dict):
        return {key: _plain(inner, numbers, key in _NAMING) for key, inner in value.items() if key not in _LEFT_OUT}
    if isinstance(value, list | tuple):
        return [_plain(inner, numbers, naming) for inner in value]
    return numbers.get(value, value) if naming and isinstance(value, str) else value


def _code(kind: type) -> bytes:
    """What the methods of a class, and of those it inherits from outside Keras, were compiled to."""
    found = []
    for part in kind.__mro__:
        if part is not object and not part.__module__.startswith("keras."):
            for name, value in sorted(vars(part).items()):
                function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
                if isinstance(function, FunctionType):
                    found.append(f"{name}:{_listing(function.__code__)}")
    return "\n".join(found).encode()


def _listing(code: CodeType) -> str:
    constants = [_listing(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
