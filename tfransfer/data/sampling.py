"""Choose a representative sample of a split: pure functions on positions."""

import numpy as np


def spread_over(examples: int, limit: int) -> np.ndarray:
    """Positions of at most `limit` examples, evenly spread over a split of `examples`: int64, ascending."""
    return np.unique(np.linspace(0, max(0, examples - 1), min(examples, limit)).astype(np.int64))


def evenly_by_class(classes: np.ndarray, limit: int) -> np.ndarray:
    """Positions of at most `limit` examples, with the classes balanced as far as each has enough.

    Args:
        classes: Each example's class, integers, shape (n,).
        limit: At least 1.

    Returns:
        int64, at most (limit,), drawn with a fixed seed, taking the classes in turn.
    """
    order = np.random.default_rng(0).permutation(len(classes))
    classes = classes[order]
    turns = np.zeros(len(order), int)
    for name in np.unique(classes):
        turns[classes == name] = np.arange((classes == name).sum())
    return order[np.argsort(turns, kind="stable")[:limit]]
