"""Confidence intervals of what is counted over prompts."""

import math

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Interval", "bootstrap", "wilson"]

Interval = tuple[float, float]

_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(successes: int, trials: int) -> Interval:
    """95 % score interval of a share (E. B. Wilson, 1927).

    Args:
        successes: 0..trials.
        trials: 1 or more.
    """
    share = successes / trials
    spread = _Z * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    middle = share + _Z**2 / (2 * trials)
    scale = 1 + _Z**2 / trials
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def bootstrap(values: ArrayLike, resamples: int = 2000, seed: int = 0) -> Interval:
    """95 % percentile interval of the mean.

    Args:
        values: One number per prompt.
        resamples: Draws with replacement.
        seed: Of the draws.
    """
    x = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = [x[rng.integers(0, len(x), len(x))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
