"""One phase of a training: its settings as one value, handed down whole, and what it did."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfransfer.recipe import FineTunePhase, HeadPhase, Recipe
from tfransfer.training.plan import Plan

HEAD, FINE_TUNE = "head", "fine_tune"
# Enters the seeds, so that the two phases differ in order, augmentation and dropout.
PHASE_NUMBERS = {HEAD: 1, FINE_TUNE: 2}


@dataclass(frozen=True)
class Phase:
    """The settings of one phase. A new setting is a field of the recipe that is read from `section` where it acts.

    Attributes:
        name: HEAD or FINE_TUNE.
        recipe: The user's settings.
        plan: What was decided where the recipe leaves it open.
    """

    name: str
    recipe: Recipe
    plan: Plan

    @property
    def section(self) -> HeadPhase | FineTunePhase:
        """This phase's section of the recipe."""
        return self.recipe.head if self.name == HEAD else self.recipe.fine_tune

    @property
    def title(self) -> str:
        """As progress displays and messages name it."""
        return self.name.replace("_", "-")

    @property
    def epochs(self) -> int:
        """How many there are at most."""
        return self.plan.head_epochs if self.name == HEAD else self.plan.fine_tune_epochs

    @property
    def patience(self) -> int:
        """Epochs without a better one before the phase stops; 0 never stops."""
        return self.recipe.head.patience if self.name == HEAD else self.plan.fine_tune_patience

    @property
    def seed(self) -> tuple[int, int]:
        """The run's seed and the phase's number: of order, augmentation, dropout and mixup."""
        return self.recipe.seed, PHASE_NUMBERS[self.name]

    @property
    def average(self) -> float:
        """Momentum of `Averaging`, whose weights are validated and selected; 0 for none."""
        return 0.0 if self.name == HEAD else self.recipe.fine_tune.average


@dataclass(kw_only=True)
class PhaseResult:
    """What a phase did.

    Attributes:
        name: HEAD or FINE_TUNE.
        history: A row per epoch.
        kept_epoch: Whose weights were put back, from 1; 0 where no epoch was finished.
        validation: The selected epoch's `val_` metrics, without the prefix.
        weights: What the variables of the phase's trained part hold after it.
        batch: Pictures per step, after a retry for want of memory.
        diverged: The message when the loss stopped being a number; empty otherwise.
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
