"""Metrics of regression, in the targets' own units."""

from typing import Any

import numpy as np
from sklearn import metrics as sk


def score(targets: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """All metrics of one split.

    Args:
        targets: Shape (n, 1).
        values: What the model said, shape (n, 1).

    Returns:
        Plain values: n; r2, 1 for a perfect model and 0 for one that always says the mean (None below two examples);
        rmse and mae in the target's unit; bias, the mean of what was said minus what was right.
    """
    right, said = targets.ravel().astype(np.float64), values.ravel().astype(np.float64)
    return {
        "n": len(right),
        "r2": float(sk.r2_score(right, said)) if len(right) > 1 else None,
        "rmse": float(sk.root_mean_squared_error(right, said)),
        "mae": float(sk.mean_absolute_error(right, said)),
        "bias": float((said - right).mean()),
    }
