"""A fingerprint of a model: equal for the same layers and weights, connected in the same way."""

import hashlib
import inspect
import json
from types import CodeType, FunctionType
from typing import Any

import keras
import numpy as np

# These do not change what a layer computes in inference mode, or are covered elsewhere.
_IGNORED = {"trainable", "build_config", "compile_config", "registered_name", "seed"}
# Keys under which a config refers to layers. Elsewhere a string such as "relu" may be a setting that happens to equal
# a layer's name.
_NAME_KEYS = {"name", "keras_history", "input_layers", "output_layers"}


def fingerprint(model: keras.Model) -> str:
    """Hash a model's structure, its weights, and the code of layers that are not part of Keras.

    Layer names are ignored because Keras numbers them differently in each process; so is `trainable`.

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


def _plain(value: Any, numbers: dict[str, str], is_name: bool = False) -> Any:
    """A config without the ignored keys, with layer names replaced by numbers."""
    if isinstance(value, dict):
        return {key: _plain(inner, numbers, key in _NAME_KEYS) for key, inner in value.items() if key not in _IGNORED}
    if isinstance(value, list | tuple):
        return [_plain(inner, numbers, is_name) for inner in value]
    return numbers.get(value, value) if is_name and isinstance(value, str) else value


def _code(kind: type) -> bytes:
    """Bytecode of the methods of a class and of its bases outside Keras."""
    methods = []
    for part in kind.__mro__:
        if part is not object and not part.__module__.startswith("keras."):
            for name, value in sorted(vars(part).items()):
                function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
                if isinstance(function, FunctionType):
                    methods.append(f"{name}:{_listing(function.__code__)}")
    return "\n".join(methods).encode()


def _listing(code: CodeType) -> str:
    constants = [_listing(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
