"""From one number per seed to an interval, and fits of laws. Pure NumPy and SciPy.

SciPy is imported inside the functions: it takes a third of a second, and most commands never need it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

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


def fraction_unexplained(values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return 1 - R² (seeds,): the fraction of the variance of `values` that `fitted`, both (seeds, n), leaves.

    A row with NaN, because a run diverged, is NaN.
    """
    with np.errstate(invalid="ignore"):
        return ((values - fitted) ** 2).sum(axis=1) / ((values - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)


def value_at_minimum(values: ArrayLike, criterion: ArrayLike) -> np.ndarray:
    """Return the entry (seeds,) of each row of `values` at which the row of `criterion`, both (seeds, n), is smallest.

    NaN in `criterion` is ignored; if a row has no number, its result is NaN.
    """
    criterion = np.asarray(criterion, np.float64)
    index = np.argmin(np.where(np.isnan(criterion), np.inf, criterion), axis=1)[:, None]
    chosen = np.take_along_axis(np.asarray(values, np.float64), index, axis=1)[:, 0]
    return np.where(np.isnan(criterion).all(axis=1), np.nan, chosen)


def ratio(values: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Return values / reference, of positive numbers: NaN if a run diverged, infinite if a target was not reached."""
    unknown = np.add(values, reference)  # NaN or infinite, like the worse of the two
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(unknown), np.divide(values, reference), unknown)


def share(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """Return part / whole: NaN if a run diverged, infinite if the whole is zero."""
    nothing = np.equal(whole, 0)
    return np.where(nothing & np.isfinite(part), np.inf, np.divide(part, np.where(nothing, np.nan, whole)))


def ratio_to_minimum(values: ArrayLike) -> np.ndarray:
    """Return each entry of `values` (seeds, n) over the smallest of its row.

    A row is NaN if a run diverged, and infinite if one did not reach its target: the smallest is unknown then.
    """
    unknown = np.sum(values, axis=1, keepdims=True)  # NaN or infinite, like the worst entry
    return np.where(np.isfinite(unknown), values / np.min(values, axis=1, keepdims=True), unknown)


def mask_diverged(values: ArrayLike, diverged: ArrayLike) -> np.ndarray:
    """Return `values` as floats, with NaN where `diverged`, of the same leading axes, is true.

    Counts need this: they are integers, so that nothing in them shows that a run diverged.
    """
    values = np.array(values, np.float64)
    values[np.asarray(diverged, bool)] = np.nan
    return values


def fraction_beyond(edges: ArrayLike, counts: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Return the fraction of entries whose absolute value is above each threshold (...), from their histogram.

    Within a bin it is interpolated.

    Args:
        edges: (n,) ascending and symmetric about zero.
        counts: (..., n + 1) of the entries below the first edge, between two edges, above the last.
        thresholds: (...) positive.
    """
    sizes, fractions = _size_distribution(edges, counts)
    return _interpolate(np.log(thresholds), sizes, fractions)


def median_size(edges: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """Return the median absolute value (...) of entries, from their histogram as in `fraction_beyond`."""
    sizes, fractions = _size_distribution(edges, counts)
    return np.exp(_interpolate(-0.5, -fractions, sizes))


def _size_distribution(edges, counts):
    """Return the logarithms of the positive edges, and the fraction of entries beyond ± each."""
    middle = len(edges) // 2
    below = np.cumsum(counts, axis=-1)[..., :-1] / np.sum(counts, axis=-1, keepdims=True)
    return np.log(edges[middle:]), below[..., :middle][..., ::-1] + 1 - below[..., middle:]


_interpolate = np.vectorize(np.interp, signature="(),(n),(n)->()")


def critical_batch_size(sizes: ArrayLike, steps: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Fit S(B) = S_min (1 + B_crit / B) to the steps that training takes to a target at batch size B.

    The law is that of McCandlish et al. (2018), (S / S_min - 1) (E / E_min - 1) = 1 with E = B S samples. It is fitted
    to the logarithms.

    Args:
        sizes: (n,) the batch sizes.
        steps: (seeds, n) the steps to the target; not finite if it was not reached.

    Returns:
        (S_min, B_crit), each (seeds,): NaN if a run diverged or there are fewer than three, infinite if a run did not
        reach the target.
    """
    from scipy.optimize import least_squares

    b = np.asarray(sizes)

    def fit(row):
        unknown = np.nan if len(b) < 3 else row.sum()  # NaN or infinite, like the worst entry
        if not np.isfinite(unknown):
            return unknown, unknown
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
