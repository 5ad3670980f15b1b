"""Which examples stand for a split where all of them would be too many: pure functions on positions."""

import numpy as np


def spread_over(examples: int, limit: int) -> np.ndarray:
    """Positions of at most `limit` examples, evenly spread over a split of `examples`: int64, rising."""
    return np.unique(np.linspace(0, max(0, examples - 1), min(examples, limit)).astype(np.int64))


def evenly_by_class(classes: np.ndarray, limit: int) -> np.ndarray:
    """Positions of at most `limit` examples, as many of each class as of any other, as far as a class has them.

    Args:
        classes: Whole numbers, shape (n,): each example's class.
        limit: At least 1.

    Returns:
        int64, at most (limit,), drawn at random by a fixed seed: the classes take turns.
    """
    order = np.random.default_rng(0).permutation(len(classes))
    classes = classes[order]
    turns = np.zeros(len(order), int)
    for name in np.unique(classes):
        turns[classes == name] = np.arange((classes == name).sum())
    return order[np.argsort(turns, kind="stable")[:limit]]
