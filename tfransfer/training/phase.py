"""A phase of a training: its settings as one value, and its result."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfransfer.recipe import FineTunePhase, HeadPhase, Recipe
from tfransfer.training.plan import Plan

HEAD, FINE_TUNE = "head", "fine_tune"
# Part of the seeds, so that the two phases differ in order, augmentation and dropout.
PHASE_NUMBERS = {HEAD: 1, FINE_TUNE: 2}


@dataclass(frozen=True)
class Phase:
    """The settings of a phase. A new setting is a recipe field, read from `section` where it takes effect.

    Attributes:
        name: HEAD or FINE_TUNE.
        recipe: The user's settings.
        plan: Decisions on what the recipe leaves open.
        first_epoch: Epochs of earlier phases: callbacks see epochs counted over all phases.
    """

    name: str
    recipe: Recipe
    plan: Plan
    first_epoch: int = 0

    @property
    def section(self) -> HeadPhase | FineTunePhase:
        """This phase's section of the recipe."""
        return self.recipe.head if self.name == HEAD else self.recipe.fine_tune

    @property
    def title(self) -> str:
        """The name in progress displays and messages."""
        return self.name.replace("_", "-")

    @property
    def epochs(self) -> int:
        """Maximum number of epochs."""
        return self.plan.head_epochs if self.name == HEAD else self.plan.fine_tune_epochs

    @property
    def patience(self) -> int:
        """Epochs without improvement before the phase stops; 0 never stops."""
        return self.recipe.head.patience if self.name == HEAD else self.plan.fine_tune_patience

    @property
    def seed(self) -> tuple[int, int]:
        """The run's seed and the phase's number: for order, augmentation, dropout and mixup."""
        return self.recipe.seed, PHASE_NUMBERS[self.name]

    @property
    def average(self) -> float:
        """Momentum of `Averaging`, whose averages are validated and selected; 0 for none."""
        return 0.0 if self.name == HEAD else self.recipe.fine_tune.average


@dataclass(kw_only=True)
class PhaseResult:
    """The result of a phase.

    Attributes:
        name: HEAD or FINE_TUNE.
        history: A row per epoch.
        kept_epoch: The selected epoch, whose weights were restored, from 1; 0 if no epoch was finished.
        validation: The selected epoch's `val_` metrics, without the prefix.
        weights: Final values of the variables in the phase's trained part.
        batch: Images per step, halved if memory ran out.
        diverged: The message if the loss became NaN or infinite; empty otherwise.
    """

    name: str
    history: list[dict[str, float]] = field(default_factory=list)
    kept_epoch: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    weights: list[np.ndarray] = field(default_factory=list)
    batch: int = 0
    diverged: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {
            "epochs": len(self.history),
            "kept_epoch": self.kept_epoch,
            "batch_size": self.batch,
            "validation": self.validation,
            "seconds": round(sum(row["seconds"] for row in self.history), 1),
            "diverged": self.diverged,
        }
