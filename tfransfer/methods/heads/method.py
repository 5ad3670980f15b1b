"""The interface of the ways to make a head: features and targets to a Dense layer, or training by steps."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class HeadData:
    """What a head is solved on.

    Attributes:
        features: Pooled, float32, shape (n, d).
        targets: float32, shape (n, classes).
        weights: float32, shape (n,).
    """

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class SolvedHead:
    """A head's Dense layer.

    Attributes:
        kernel: float32, shape (d, classes).
        bias: float32, shape (classes,).
        facts: Numbers about the solution by name, for the history.
    """

    kernel: np.ndarray
    bias: np.ndarray
    facts: dict[str, float] = field(default_factory=dict)


class HeadMethod:
    """One way to make a head; `recipe.head.method` chooses it by its name.

    Attributes:
        name: As the recipe gives it.
        by_steps: Whether the loop trains the head by gradient steps; if not, `solve` makes it.
        single_label: Whether it is for single-label tasks alone.
    """

    name: str
    by_steps: bool = False
    single_label: bool = False

    def in_words(self, epochs: int) -> str:
        """What the head phase does, for the plan.

        Args:
            epochs: Of the head phase.
        """
        raise NotImplementedError

    def solve(self, training: HeadData, validation: HeadData) -> SolvedHead:
        """The head, without gradient steps.

        Args:
            training: All cached views of the training split.
            validation: The validation split, on which a setting of the method may be chosen.
        """
        raise NotImplementedError
