"""Confidence intervals for metrics on finite samples."""

from collections.abc import Callable

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval that holds the true share, from how often something happened.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).

    Args:
        successes: How often it happened.
        trials: Of how many; 0 gives the whole range.
        confidence: In how many of such cases the true share is inside, in (0, 1).

    Returns:
        (lower, upper), both in [0, 1].
    """
    if trials == 0:
        return 0.0, 1.0
    found = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(
    examples: int,
    figure: Callable[[np.ndarray], float | None],
    rounds: int = 200,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The interval of any figure, by computing it again on examples that are drawn with replacement.

    Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7 (1979); percentiles.

    Args:
        examples: How many there are.
        figure: From the positions of the drawn examples, int64 (examples,), to the figure; None where it has none.
        rounds: How many times to draw.
        confidence: As for `wilson`.
        seed: Of the draws.

    Returns:
        (lower, upper); None where the figure could hardly ever be computed.
    """
    random = np.random.default_rng(seed)
    drawn = [figure(random.integers(0, examples, examples)) for _ in range(rounds)] if examples else []
    known = [value for value in drawn if value is not None and np.isfinite(value)]
    if len(known) < rounds / 2:
        return None
    lower, upper = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)
