"""A TF-Hub module's facts, known without loading it: shapes, signature, variables, which of them can be trained."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from tfransfer.errors import BaseModelError

FROZEN, TRAINED = "frozen", "trained"
_OUTPUTS = ("default", "pooled_output")


@dataclass(frozen=True)
class VariableFacts:
    """One variable of a module; `created` is its position in the order in which loading creates them."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    created: int


@dataclass(frozen=True, kw_only=True)
class ModuleFacts:
    """A module's facts, stored with the layer so that it need not be loaded.

    Attributes:
        hash: Its `module_hash`.
        signature: The signature to call; empty if the module itself is callable.
        argument: Name of the signature's argument.
        input_shape: Without the batch axis.
        output_shape: Without the batch axis.
        output: Key of the output; empty if the only output has no name.
        training: The values of `training` that it accepts; empty if it does not take the argument.
        variables: Trainable ones first, otherwise in the module's order.
    """

    hash: str
    signature: str
    argument: str
    input_shape: tuple[int | None, ...]
    input_dtype: str
    output_shape: tuple[int | None, ...]
    output: str
    training: tuple[bool, ...]
    variables: tuple[VariableFacts, ...]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The facts from a layer's JSON config."""
        shapes = {key: tuple(config[key]) for key in ("input_shape", "output_shape", "training")}
        variables = tuple(VariableFacts(**{**v, "shape": tuple(v["shape"])}) for v in config["variables"])
        return cls(**{**config, **shapes, "variables": variables})

    @property
    def has_statistics(self) -> bool:
        """Whether a variable not marked as trainable may change when the module is called for training."""
        return any(not v.trainable and v.dtype.startswith(("float", "bfloat")) for v in self.variables)

    def trained(self, statistics: str) -> list[bool]:
        """Whether each variable can be trained; with frozen statistics, BatchNorm's gamma and beta cannot."""
        names = [v.name for v in self.variables]
        return [v.trainable and not (statistics == FROZEN and _is_batch_norm(v.name, names)) for v in self.variables]


def _is_batch_norm(name: str, names: Sequence[str]) -> bool:
    scope = re.fullmatch(r"(.*?)(?:gamma|beta|scale|offset)", name)
    return scope is not None and any(other.startswith(scope[1] + "moving_") for other in names)


def output_key(outputs: Any) -> str:
    """Key of the output that holds the features; empty if the only output has no name.

    Raises:
        BaseModelError: There are several outputs and none has TF-Hub's name for the features.
    """
    if isinstance(outputs, dict):
        key = next((k for k in _OUTPUTS if k in outputs), next(iter(outputs)) if len(outputs) == 1 else "")
        if not key:
            raise BaseModelError(
                f"the module returns several outputs, {', '.join(sorted(outputs))}, none of them called "
                f"{' or '.join(_OUTPUTS)}: use a module that returns a feature vector."
            )
        return key
    if isinstance(outputs, list | tuple) and len(outputs) != 1:
        raise BaseModelError("the module returns several outputs without names: use one that returns a feature vector.")
    return ""
