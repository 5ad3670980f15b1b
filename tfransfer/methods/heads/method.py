"""The interface of head methods: solve a Dense layer from features and targets, or train it by gradient steps."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class HeadData:
    """A split to solve a head on.

    Attributes:
        features: Pooled features, float32, shape (n, d).
        targets: float32, shape (n, classes).
        weights: float32, shape (n,).
    """

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class SolvedHead:
    """The Dense layer of a head.

    Attributes:
        kernel: float32, shape (d, classes).
        bias: float32, shape (classes,).
        facts: Named numbers on the solution, for the history.
    """

    kernel: np.ndarray
    bias: np.ndarray
    facts: dict[str, float] = field(default_factory=dict)


class HeadMethod:
    """A method to fit a head; `recipe.head.method` selects it by name.

    Attributes:
        name: Its name in recipes.
        by_steps: Whether the loop trains the head by gradient steps; otherwise `solve` computes it.
        single_label: Whether it works for single-label tasks only.
    """

    name: str
    by_steps: bool = False
    single_label: bool = False

    def in_words(self, epochs: int) -> str:
        """The head phase in words, for the plan.

        Args:
            epochs: Number of epochs of the head phase.
        """
        raise NotImplementedError

    def solve(self, training: HeadData, validation: HeadData) -> SolvedHead:
        """Compute the head without gradient steps.

        Args:
            training: All cached views of the training split.
            validation: The validation split, to select hyperparameters of the method.
        """
        raise NotImplementedError
