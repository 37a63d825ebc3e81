"""Numbers per seed -> interval -> verdict. Knows nothing of where the numbers come from."""

import math
from dataclasses import dataclass

import numpy as np

from bstudy.errors import InvalidInput

CONFIDENCE = 0.95


def interval(values, axis=0):
    """Mean and half-width of the 95 % interval of Student's t over an axis of seeds.

    The half-width is NaN where there is but one seed, and both are where a value is NaN (a run that diverged).
    """
    from scipy.special import stdtrit  # here, since it takes a third of a second and a listing of chapters needs none

    values = np.asarray(values, np.float64)
    count = values.shape[axis]
    if count == 1:
        return values.mean(axis), np.full(values.mean(axis).shape, np.nan)[()]
    error = values.std(axis, ddof=1) / math.sqrt(count)
    return values.mean(axis), stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * error


def exponent(sizes, values):
    """(seeds,) the exponent of the power law in `sizes` (n,) that fits the logarithms of `values` (seeds, n) best."""
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.log(sizes) - np.log(sizes).mean()
        return (away * np.log(values)).sum(axis=1) / (away**2).sum()


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
    values = np.where(np.isfinite(values), values, np.nan)
    estimate, half = (float(number) for number in interval(values))
    low, high = estimate - half, estimate + half
    lowest, highest = (-math.inf if above is None else above), (math.inf if below is None else below)
    why = ""
    if np.isnan(values).any():
        outcome, why = "undecided", f"{np.isnan(values).sum()} of {len(values)} runs diverged"
    elif math.isnan(half):
        outcome, why = "undecided", "one seed has no interval"
    elif lowest < low and high < highest:
        outcome = "held"
    elif high < lowest or low > highest:
        outcome = "did not hold"
    else:
        outcome, why = "undecided", "the interval crosses the bound"
    return Claim(text, outcome, estimate, (low, high), above, below, published, unit, why)
