"""The plan of a training: every setting decided. The manifest holds it, and a run is read without TensorFlow."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was decided. Written to the manifest before the first step.

    Attributes:
        base: Name of the base.
        weights: Where its weights came from.
        image_size: Side of the input in pixels.
        batch_size: Pictures per step.
        head_epochs: Of the head phase.
        fine_tune_epochs: Of the fine-tune phase; 0 leaves it out.
        fine_tune_learning_rate: Peak.
        fine_tune_patience: Epochs without a better one before the phase stops; 0 never stops.
        unfreeze: A number of top blocks, a block's name, "all" or "none".
        unfrozen: Names of the blocks that will be unfrozen.
        precision: The dtype policy of the base.
        steps_per_call: Training steps in one call of the compiled function.
        instead_of: The base whose weights could not be had, where the built-in one stands in for it.
        head_learning_rate: Of the head phase.
        devices: What trains.
        replicas: How many devices share a step.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
