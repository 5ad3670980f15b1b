"""A manifest as a run's folder holds it, for tests that need a run but no training."""

from typing import Any

from tfransfer.features.plan import CachePlan
from tfransfer.runs.manifest import DataRecord, Manifest
from tfransfer.training.plan import Plan


def manifest_of(classes=("a", "b"), base="tiny", image_size=16, **changes: Any) -> Manifest:
    """Of a finished run whose data is gone."""
    plan = Plan(
        base=base, weights="built-in", image_size=image_size, batch_size=8, head_epochs=2, fine_tune_epochs=0,
        fine_tune_learning_rate=1e-4, fine_tune_patience=0, unfreeze="none", unfrozen=(), precision="float32",
        steps_per_call=4,
    )  # fmt: skip
    given = {"data": DataRecord(root="/nowhere"), "plan": plan, "features": CachePlan()}
    return Manifest(classes=tuple(classes), **given | changes)
