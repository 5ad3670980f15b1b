"""What is known of a TF-Hub module without loading it: shapes, signature, variables, which of them may be trained."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from tfransfer.errors import BaseModelError

FROZEN, TRAINED = "frozen", "trained"
_OUTPUTS = ("default", "pooled_output")


@dataclass(frozen=True)
class VariableFacts:
    """One variable of a module; `created` is its place in the order in which loading makes them."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    created: int


@dataclass(frozen=True, kw_only=True)
class ModuleFacts:
    """What is known of a module without loading it.

    Attributes:
        hash: `module_hash`.
        signature: The signature that is called; empty where the module itself can be called.
        argument: Name of the signature's argument.
        input_shape: Without the batch.
        output_shape: Without the batch.
        output: Key of the output; empty where there is one that has no name.
        training: The values of `training` that it was written for; empty where it takes none.
        variables: Those that the module calls trainable first, each part in the module's order.
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
        """The facts that JSON kept."""
        shapes = {key: tuple(config[key]) for key in ("input_shape", "output_shape", "training")}
        variables = tuple(VariableFacts(**{**v, "shape": tuple(v["shape"])}) for v in config["variables"])
        return cls(**{**config, **shapes, "variables": variables})

    @property
    def has_statistics(self) -> bool:
        """Whether something that the module does not call trainable could move when it is called for training."""
        return any(not v.trainable and v.dtype.startswith(("float", "bfloat")) for v in self.variables)

    def trained(self, statistics: str) -> list[bool]:
        """For each variable whether it may be trained; BatchNorm's gamma and beta stay with frozen statistics."""
        names = [v.name for v in self.variables]
        return [v.trainable and not (statistics == FROZEN and _is_batch_norm(v.name, names)) for v in self.variables]


def _is_batch_norm(name: str, names: Sequence[str]) -> bool:
    scope = re.fullmatch(r"(.*?)(?:gamma|beta|scale|offset)", name)
    return scope is not None and any(other.startswith(scope[1] + "moving_") for other in names)


def output_key(outputs: Any) -> str:
    """Which of a module's outputs is its features; empty where it gives one that has no name.

    Raises:
        BaseModelError: It gives several, of which none is called as TF-Hub calls the features.
    """
    if isinstance(outputs, dict):
        key = next((k for k in _OUTPUTS if k in outputs), next(iter(outputs)) if len(outputs) == 1 else "")
        if not key:
            raise BaseModelError(
                f"the module gives several outputs, {', '.join(sorted(outputs))}, none of them called "
                f"{' or '.join(_OUTPUTS)}: take one that gives a feature vector."
            )
        return key
    if isinstance(outputs, list | tuple) and len(outputs) != 1:
        raise BaseModelError("the module gives several outputs without names: take one that gives a feature vector.")
    return ""
