"""Numbers per seed -> interval -> verdict. Knows nothing of where the numbers come from."""

import math
from dataclasses import dataclass

import numpy as np

from bstudy.errors import InvalidInput

CONFIDENCE = 0.95


def interval(values, axis=0):
    """Mean and half-width of the 95 % interval of Student's t over an axis of seeds.

    The half-width is NaN where there is but one seed, and both are where a value is not finite (a run that diverged).
    """
    from scipy.special import stdtrit  # here, since it takes a third of a second and a listing of chapters needs none

    values = np.asarray(values, np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    count = values.shape[axis]
    if count == 1:
        return values.mean(axis), np.full(values.mean(axis).shape, np.nan)[()]
    error = values.std(axis, ddof=1) / math.sqrt(count)
    return values.mean(axis), stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * error


def linear_fit(x, values):
    """(slope, intercept), each (seeds,), of the straight line in `x` (n,) that fits `values` (seeds, n) best."""
    with np.errstate(invalid="ignore", divide="ignore"):
        away = x - np.mean(x)
        slope = (away * values).sum(axis=1) / (away**2).sum()
        return slope, np.mean(values, axis=1) - slope * np.mean(x)


def exponent(sizes, values):
    """(seeds,) the exponent of the power law in `sizes` (n,) that fits the logarithms of `values` (seeds, n) best."""
    return linear_fit(np.log(sizes), np.log(values))[0]


def unexplained(values, fitted):
    """(seeds,) the share of the variance of `values` (seeds, n), NaN left out, that `fitted`, alike, leaves: 1 - R²."""
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values, axis=1, keepdims=True) / np.isfinite(values).sum(axis=1, keepdims=True)
        return np.nansum((values - fitted) ** 2, axis=1) / np.nansum((values - mean) ** 2, axis=1)


def critical_batch_size(sizes, steps):
    """(S_min, B_crit), each (seeds,), of S(B) = S_min (1 + B_crit / B), the steps to a target at batch size B.

    Fitted to the logarithms of `steps` (seeds, n), where finite; `sizes` (n,). NaN where fewer than three are.
    The law is that of McCandlish et al. (2018), (S / S_min - 1) (E / E_min - 1) = 1 with E = B S samples.
    """
    from scipy.optimize import least_squares

    def fit(steps):
        there = np.isfinite(steps)
        if there.sum() < 3:
            return np.nan, np.nan
        b, log_steps = np.asarray(sizes)[there], np.log(steps[there])
        start = log_steps.min(), np.log(np.median(b))
        found = least_squares(lambda p: p[0] + np.log1p(np.exp(p[1]) / b) - log_steps, start)
        return np.exp(found.x)

    return np.transpose([fit(row) for row in np.asarray(steps, float)])


def step_seconds(sizes, seconds):
    """(t_0, t_1), each (seeds,), of t_0 + t_1 B, the `seconds` (seeds, n) of a step at batch sizes (n,).

    Neither is negative, and the relative errors are fitted, so that the shortest steps count as much as the longest.
    """
    from scipy.optimize import nnls

    terms = np.stack([np.ones(len(sizes)), sizes], axis=1)
    return np.transpose([nnls(terms / row[:, None], np.ones(len(sizes)))[0] for row in np.asarray(seconds, float)])


def noise_scale(noise_trace, squared_gradient_norm, axis=-1):
    """tr Σ / |G|² from estimates of both along an axis: the ratio of means; infinite where |G|² is not above 0."""
    trace, square = np.mean(noise_trace, axis, np.float64), np.mean(squared_gradient_norm, axis, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(square <= 0, np.inf, trace / square)


def noise_scale_interval(noise_trace, squared_gradient_norm, resamples=2000):
    """(low, high) 95 % interval of the noise scale of estimates (batches,), by the percentile bootstrap.

    What is drawn again is whole batches with their parts, which are not independent of each other (a block bootstrap).
    """
    count = len(noise_trace)
    drawn = np.random.default_rng(0).integers(count, size=(resamples, count))
    scales = noise_scale(noise_trace[drawn], squared_gradient_norm[drawn])
    return np.quantile(scales, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")


def rank_correlation(a, b):
    """(seeds,) Spearman's rank correlation of `a` and `b` (seeds, n)."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1, nan_policy="propagate") for values in (a, b))
    away = [ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b)]
    return (away[0] * away[1]).sum(axis=1) / np.sqrt((away[0] ** 2).sum(axis=1) * (away[1] ** 2).sum(axis=1))


@dataclass(frozen=True)
class Claim:
    """A statement, and what the numbers say of it."""

    claim: str
    outcome: str  # "held", "did not hold" or "undecided"
    estimate: float
    interval: tuple[float, float]
    above: float | None
    below: float | None
    published: float | None
    unit: str
    why: str  # where undecided


def claim(text, values, above=None, below=None, published=None, unit=""):
    """The verdict on a claim that a quantity lies within bounds, which were named before it was measured.

    `values` has one number a seed. The claim held where their 95 % interval lies within (above, below), did not hold
    where it lies outside, and is undecided between, or where there is no interval. `published` is the source's number.
    """
    if above is None and below is None:
        raise InvalidInput("a claim needs a bound, above= or below=")
    values = np.asarray(values, np.float64)
    estimate, half = (float(number) for number in interval(values))
    low, high = estimate - half, estimate + half
    lowest, highest = (-math.inf if above is None else above), (math.inf if below is None else below)
    why = ""
    if not np.isfinite(values).all():
        outcome, why = "undecided", f"{np.sum(~np.isfinite(values))} of {len(values)} runs have no number"
    elif math.isnan(half):
        outcome, why = "undecided", "one seed has no interval"
    elif lowest < low and high < highest:
        outcome = "held"
    elif high < lowest or low > highest:
        outcome = "did not hold"
    else:
        outcome, why = "undecided", "the interval crosses the bound"
    return Claim(text, outcome, estimate, (low, high), above, below, published, unit, why)
