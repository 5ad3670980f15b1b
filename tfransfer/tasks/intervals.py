"""Confidence intervals for metrics on finite samples."""

from collections.abc import Callable

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's confidence interval of a share.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).

    Args:
        successes: Number of successes.
        trials: Number of trials; 0 returns the whole range.
        confidence: Confidence level, in (0, 1).

    Returns:
        (lower, upper), both in [0, 1].
    """
    if trials == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap(
    examples: int,
    figure: Callable[[np.ndarray], float | None],
    rounds: int = 200,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Bootstrap confidence interval of any metric: percentiles over resampled examples.

    Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7 (1979).

    Args:
        examples: Number of examples.
        figure: Computes the metric from the positions of a resample, int64 (examples,); None where it is undefined.
        rounds: Number of resamples.
        confidence: As in `wilson`.
        seed: Of the resampling.

    Returns:
        (lower, upper); None if the metric is undefined in more than half of the resamples.
    """
    random = np.random.default_rng(seed)
    values = [figure(random.integers(0, examples, examples)) for _ in range(rounds)] if examples else []
    defined = [value for value in values if value is not None and np.isfinite(value)]
    if len(defined) < rounds / 2:
        return None
    lower, upper = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)
