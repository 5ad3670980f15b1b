"""The plan of a training: every setting resolved. Part of the manifest, so importable without TensorFlow."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The resolved settings, written to the manifest before the first step.

    Attributes:
        base: Name of the base.
        weights: Source of its weights.
        image_size: Side of the input in pixels.
        batch_size: Images per step.
        head_epochs: Epochs of the head phase.
        fine_tune_epochs: Epochs of the fine-tune phase; 0 skips it.
        fine_tune_learning_rate: Peak learning rate of the fine-tune phase.
        fine_tune_patience: Epochs without improvement before the phase stops; 0 never stops.
        unfreeze: A number of top blocks, a block's name, "all" or "none".
        unfrozen: Names of the blocks to unfreeze.
        precision: The dtype policy of the base.
        steps_per_call: Training steps per call of the compiled function.
        instead_of: The base whose weights are not available and that the built-in one replaces; empty otherwise.
        head_learning_rate: Learning rate of the head phase.
        devices: The devices to train on.
        replicas: Number of devices that share a step.
        sequence_length: Tokens after which texts are cut; 0 for a base that cuts none.
        pooling: What the head takes of a base's tokens: "class", "mean" or "both"; empty for a base without tokens.
    """

    base: str
    weights: str
    image_size: int
    batch_size: int
    head_epochs: int
    fine_tune_epochs: int
    fine_tune_learning_rate: float
    fine_tune_patience: int
    unfreeze: int | str
    unfrozen: tuple[str, ...]
    precision: str
    steps_per_call: int
    instead_of: str = ""
    head_learning_rate: float = 1e-3
    devices: str = ""
    replicas: int = 1
    pooling: str = ""
    sequence_length: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
