"""From one number per seed to an interval and a verdict. Pure NumPy and SciPy.

SciPy is imported inside the functions: it takes a third of a second, and most commands never need it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bstudy.errors import InvalidInput

CONFIDENCE = 0.95


def confidence_interval(values: ArrayLike, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over an axis of seeds and the half-width of its 95 % interval, by Student's t distribution.

    Args:
        values: one number per seed along `axis`.
        axis: the axis of the seeds.

    Returns:
        (mean, half-width). The half-width is NaN if there is only one seed. Both are NaN if a value is not finite,
        because a run diverged.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    count = values.shape[axis]
    mean = values.mean(axis)
    if count == 1:
        return mean, np.full(mean.shape, np.nan)[()]
    standard_error = values.std(axis, ddof=1) / math.sqrt(count)
    return mean, stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * standard_error


def linear_fit(x: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Fit a straight line in `x` (n,) to each row of `values` (seeds, n) by least squares.

    Returns:
        (slope, intercept), each (seeds,).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = x - np.mean(x)
        slope = (deviation * values).sum(axis=1) / (deviation**2).sum()
        return slope, np.mean(values, axis=1) - slope * np.mean(x)


def power_law_exponent(sizes: ArrayLike, values: ArrayLike) -> np.ndarray:
    """Fit a power law in `sizes` (n,) to each row of `values` (seeds, n) by logarithms, and return the exponents."""
    return linear_fit(np.log(sizes), np.log(values))[0]


def parabola_fit(x: ArrayLike, values: ArrayLike, at: ArrayLike) -> np.ndarray:
    """Fit a parabola in `x` (n,) to each row of `values` (seeds, n) by least squares, and evaluate it at `at` (m,).

    Columns with a value that is not finite, because a run diverged, are left out.

    Returns:
        (seeds, m) the values of the parabolas; NaN if no column is left.
    """
    values = np.asarray(values)
    used = np.isfinite(values).all(axis=0)
    if not used.any():
        return np.full((len(values), len(at)), np.nan)
    terms = np.vander(np.asarray(x)[used], 3)
    coefficients = np.linalg.lstsq(terms, values[:, used].T, rcond=None)[0]
    return (np.vander(at, 3) @ coefficients).T


def fraction_unexplained(values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return 1 - R² (seeds,): the fraction of the variance of `values` that `fitted`, both (seeds, n), leaves.

    A row with NaN, because a run diverged, is NaN.
    """
    mean = np.mean(values, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return ((values - fitted) ** 2).sum(axis=1) / ((values - mean) ** 2).sum(axis=1)


def value_at_minimum(values: ArrayLike, criterion: ArrayLike) -> np.ndarray:
    """Return the entry (seeds,) of each row of `values` at which the row of `criterion`, both (seeds, n), is smallest.

    NaN in `criterion` is ignored; if a row has no number, its result is NaN.
    """
    criterion = np.asarray(criterion, np.float64)
    index = np.argmin(np.where(np.isnan(criterion), np.inf, criterion), axis=1)[:, None]
    chosen = np.take_along_axis(np.asarray(values, np.float64), index, axis=1)[:, 0]
    return np.where(np.isnan(criterion).all(axis=1), np.nan, chosen)


def ratio_to_minimum(values: ArrayLike) -> np.ndarray:
    """Return each entry of `values` (seeds, n) over the smallest of its row.

    A row is NaN if an entry is not finite: a run diverged or did not reach its target, so the smallest is unknown.
    """
    known = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)
    return known / np.min(known, axis=1, keepdims=True)


def mask_diverged(values: ArrayLike, diverged: ArrayLike) -> np.ndarray:
    """Return `values` as floats, with NaN where `diverged`, of the same leading axes, is true.

    Counts need this: they are integers, so that nothing in them shows that a run diverged.
    """
    values = np.array(values, np.float64)
    values[np.asarray(diverged, bool)] = np.nan
    return values


def critical_batch_size(sizes: ArrayLike, steps: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Fit S(B) = S_min (1 + B_crit / B) to the steps that training takes to a target at batch size B.

    The law is that of McCandlish et al. (2018), (S / S_min - 1) (E / E_min - 1) = 1 with E = B S samples. It is fitted
    to the logarithms.

    Args:
        sizes: (n,) the batch sizes.
        steps: (seeds, n) the steps to the target; not finite if it was not reached.

    Returns:
        (S_min, B_crit), each (seeds,); NaN if a value of a seed is not finite, or if there are fewer than three.
    """
    from scipy.optimize import least_squares

    b = np.asarray(sizes)

    def fit(row):
        if not np.isfinite(row).all() or len(b) < 3:
            return np.nan, np.nan
        log_steps = np.log(row)
        start = log_steps.min(), np.log(np.median(b))
        return np.exp(least_squares(lambda p: p[0] + np.log1p(np.exp(p[1]) / b) - log_steps, start).x)

    return np.transpose([fit(row) for row in np.asarray(steps, float)])


def fit_step_time(sizes: Sequence[int] | np.ndarray, seconds: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Fit t_0 + t_1 B to the seconds of a step at batch size B.

    Neither coefficient is negative. The relative errors are minimized, so that short steps count as much as long ones.

    Args:
        sizes: (n,) the batch sizes.
        seconds: (seeds, n) the seconds of a step.

    Returns:
        (t_0, t_1), each (seeds,).
    """
    from scipy.optimize import nnls

    terms = np.stack([np.ones(len(sizes)), sizes], axis=1)
    return np.transpose([nnls(terms / row[:, None], np.ones(len(sizes)))[0] for row in np.asarray(seconds, float)])


def noise_scale(noise_trace: ArrayLike, squared_gradient_norm: ArrayLike, axis: int = -1) -> np.ndarray:
    """Return the noise scale tr Σ / |G|² (McCandlish et al. 2018) from estimates of both along an axis.

    It is the ratio of the means, because the mean of ratios is biased. It is infinite if the mean |G|² is not positive.
    """
    trace = np.mean(noise_trace, axis, np.float64)
    square = np.mean(squared_gradient_norm, axis, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(square <= 0, np.inf, trace / square)


def noise_scale_interval(
    noise_trace: np.ndarray, squared_gradient_norm: np.ndarray, resamples: int = 2000
) -> np.ndarray:
    """Return the 95 % interval (low, high) of the noise scale of estimates (batches,), by the percentile bootstrap.

    Whole batches are resampled, because the parts of a batch are not independent of each other (a block bootstrap).
    """
    count = len(noise_trace)
    resampled = np.random.default_rng(0).integers(count, size=(resamples, count))
    scales = noise_scale(noise_trace[resampled], squared_gradient_norm[resampled])
    return np.quantile(scales, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")


def rank_correlation(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return Spearman's rank correlation (seeds,) of the rows of `a` and `b`, both (seeds, n)."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1, nan_policy="propagate") for values in (a, b))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


@dataclass(frozen=True)
class Claim:
    """A statement, and the result of testing it."""

    claim: str
    outcome: str  # "held", "did not hold" or "undecided"
    estimate: float
    interval: tuple[float, float]
    above: float | None
    below: float | None
    published: float | None
    unit: str
    why: str  # the reason, if undecided


def claim(
    text: str,
    values: ArrayLike,
    above: float | None = None,
    below: float | None = None,
    published: float | None = None,
    unit: str = "",
) -> Claim:
    """Test the claim that a quantity lies between two bounds, which were chosen before it was measured.

    The claim held if the 95 % interval of the mean lies inside the bounds, and did not hold if it lies outside. It is
    undecided if the interval crosses a bound, or if there is no interval.

    Args:
        text: the claim, as a sentence.
        values: one number per seed.
        above: the lower bound, if there is one.
        below: the upper bound, if there is one.
        published: the number that the source reports.
        unit: the unit of all these numbers.

    Raises:
        InvalidInput: if there is no bound.
    """
    if above is None and below is None:
        raise InvalidInput("a claim needs a bound, above= or below=")
    values = np.asarray(values, np.float64)
    estimate, half = (float(number) for number in confidence_interval(values))
    low, high = estimate - half, estimate + half
    lower_bound = -math.inf if above is None else above
    upper_bound = math.inf if below is None else below
    why = ""
    if not np.isfinite(values).all():
        count = f"{np.sum(~np.isfinite(values))} of {len(values)} seeds"
        outcome = "undecided"
        why = f"no finite number for {count}: runs diverged, for example, or did not reach their target"
    elif math.isnan(half):
        outcome, why = "undecided", "one seed has no interval"
    elif lower_bound < low and high < upper_bound:
        outcome = "held"
    elif high < lower_bound or low > upper_bound:
        outcome = "did not hold"
    else:
        outcome, why = "undecided", "the interval crosses the bound"
    return Claim(text, outcome, estimate, (low, high), above, below, published, unit, why)
