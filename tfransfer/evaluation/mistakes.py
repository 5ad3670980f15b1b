"""Which classes a model confuses."""

from collections.abc import Sequence

import numpy as np


def confused_pairs(matrix: np.ndarray, classes: Sequence[str], limit: int = 20) -> list[tuple[str, str, int]]:
    """(true class, predicted class, how often), the most frequent confusion first.

    Args:
        matrix: Rows are true classes, columns predicted ones.
        classes: Class names.
        limit: How many to give.
    """
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    ranked = np.argsort(-off, axis=None, kind="stable")[:limit]
    found = [(*np.unravel_index(place, off.shape), int(off.flat[place])) for place in ranked]
    return [(classes[true], classes[said], times) for true, said, times in found if times]
