"""Which classes a model confuses."""

from collections.abc import Sequence

import numpy as np


def confused_pairs(matrix: np.ndarray, classes: Sequence[str], limit: int = 20) -> list[tuple[str, str, int]]:
    """(true class, predicted class, count), the most frequent confusion first.

    Args:
        matrix: Rows are true classes, columns predicted ones.
        classes: Class names.
        limit: Maximum number of pairs.
    """
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    ranked = np.argsort(-off, axis=None, kind="stable")[:limit]
    pairs = [(*np.unravel_index(cell, off.shape), int(off.flat[cell])) for cell in ranked]
    return [(classes[true], classes[predicted], count) for true, predicted, count in pairs if count]
