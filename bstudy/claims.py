"""A claim: a statement with bounds that are chosen before the measurement, and the finding that follows from it."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from bstudy.errors import InvalidInput
from bstudy.rendering import show_cell
from bstudy.stats import confidence_interval

# How the seeds are averaged: (transform, inverse). Ratios and times on logarithms, correlations by Fisher's z
SCALES = {
    "linear": (np.asarray, np.asarray),
    "log": (np.log, np.exp),
    "correlation": (lambda values: np.arctanh(np.clip(values, -MAX_CORRELATION, MAX_CORRELATION)), np.tanh),
}
MAX_CORRELATION = 0.995  # Fisher's z of 1 is infinite
MARKS = {"held": "✓", "did not hold": "✗", "undecided": "?", "diverged": "×"}  # of each outcome


@dataclass(frozen=True)
class Claim:
    """A statement, the result of testing it, and the sentence that is true of the data."""

    claim: str
    finding: str
    outcome: str  # one of MARKS
    estimate: float
    interval: tuple[float, float]
    above: float | None
    below: float | None
    published: float | None
    unit: str
    why: str  # the reason, if it is neither held nor not
    answer: bool  # whether it answers the title of the chapter
    check: bool  # whether only a fault of bstudy could refute it
    source: str  # who states it; "" for our own interpretation
    advice: str  # what to do, given this outcome

    @property
    def mark(self) -> str:
        """The outcome as a sign and in words."""
        words = (
            {"held": "passed", "did not hold": "failed"}.get(self.outcome, self.outcome) if self.check else self.outcome
        )
        return f"{MARKS[self.outcome]} {'check ' * self.check}{words}"

    @property
    def number(self) -> str:
        """The estimate, with as many digits as its interval justifies."""
        return format(self.estimate, self._digits) if math.isfinite(self.estimate) else "no estimate"

    @property
    def numbers(self) -> str:
        """The estimate with its interval and unit."""
        low, high = self.interval
        if not math.isfinite(self.estimate):
            return self.number
        interval = f" [{low:{self._digits}}, {high:{self._digits}}]" if math.isfinite(high - low) else ""
        return f"{self.number}{interval} {self.unit}".strip()

    @property
    def _digits(self):
        """The format of all its numbers."""
        spread = (self.interval[1] - self.interval[0]) / 2
        is_exact = spread <= 1e-9 * abs(self.estimate)  # all seeds agree, to the rounding of a mean
        decimals = 2 if is_exact else count_decimals(spread, 2) if spread > 0 else count_decimals(self.estimate)
        return f".{decimals}f" if decimals < 7 and abs(self.estimate) < 1e6 else ".1e"

    @property
    def finding_with_numbers(self) -> str:
        """The finding, with the numbers before its full stop."""
        return f"{self.finding.rstrip('.')} ({self.numbers})."

    @property
    def evidence(self) -> str:
        """The numbers, the bounds and the source, as a line."""
        bounds = {"above": self.above, "below": self.below}
        held = " and ".join(f"{side} {bound:g}" for side, bound in bounds.items() if bound is not None)
        parts = [self.numbers, f"held if {held}"]
        if self.published is not None:
            parts.append(f"published {self.published:.3g}")
        parts += [f"claimed by {self.source}"] * bool(self.source)
        return "; ".join(parts + [self.why] * bool(self.why))

    def _repr_html_(self) -> str:
        return show_cell(claims=[self])


class Claims(list):
    """A list of claims. A notebook shows each with its outcome and its numbers.

    Args:
        found: The claims, as `verdicts(runs)` of a chapter yields them.
        published: Whether their published numbers belong to the setting that was measured.
    """

    def __init__(self, found: Iterable[Claim] = (), published: bool = True):
        with warnings.catch_warnings(action="ignore"):  # of numbers that are not finite
            super().__init__(each if published else replace(each, published=None) for each in found)

    def _repr_html_(self) -> str:
        return show_cell(claims=self)


def claim(
    text: str,
    values: ArrayLike,
    *,
    above: float | None = None,
    below: float | None = None,
    otherwise: str = "",
    answer: bool = False,
    check: bool = False,
    scale: str = "linear",
    unit: str = "",
    published: float | None = None,
    source: str = "",
    advice: tuple[str, str] = ("", ""),
    if_infinite: str = "did not reach the target",
) -> Claim:
    """Test the claim that a quantity lies between two bounds, which were chosen before it was measured.

    The claim held if the 95 % interval of the mean lies inside the bounds, and did not hold if it lies outside. It is
    undecided if the interval crosses a bound, if there is only one seed, or if the number of a seed is infinite.

    Args:
        text: The claim, as a sentence. If it held, this is the finding.
        values: One number per seed; NaN if a run diverged, infinite as `if_infinite` says.
        above, below: The bounds; one of them may be missing.
        otherwise: The sentence that is true if the claim did not hold.
        answer, check: Whether it answers the title; whether only a fault of bstudy could refute it.
        scale: One of SCALES; "log" for ratios and times.
        unit: The unit of all these numbers.
        published: The number that the source reports.
        source: Who states the claim; "" for this book's own.
        advice: What to do if it held, and if it did not.
        if_infinite: What happened to a seed whose number is infinite.

    Raises:
        InvalidInput: there is no bound, or an answer without `otherwise`.
    """
    if above is None and below is None:
        raise InvalidInput("a claim needs a bound, above= or below=")
    if answer and not otherwise:
        raise InvalidInput(f"the answer {text!r} needs otherwise=, a sentence that is true if it does not hold")
    values = np.asarray(values, np.float64)
    transform, inverse = SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, half = confidence_interval(transform(values))
    estimate, low, high = (float(inverse(number)) for number in (mean, mean - half, mean + half))
    outcome, why = judge(values, low, high, above, below, if_infinite)
    advised = {"held": advice[0], "did not hold": advice[1]}.get(outcome, "")
    numbers = (estimate, (low, high), above, below, published, unit or ("times" if scale == "log" else ""))
    return Claim(text, find(text, otherwise, outcome, why), outcome, *numbers, why, answer, check, source, advised)


def find(text: str, otherwise: str, outcome: str, why: str) -> str:
    """Return the sentence that is true of the data."""
    if outcome == "held":
        return text
    if outcome == "did not hold":
        return otherwise or f"Not so: {text}"
    return f"{why if outcome == 'diverged' else 'Undecided'}: {text}"


def judge(
    values: np.ndarray, low: float, high: float, above: float | None, below: float | None, if_infinite: str
) -> tuple[str, str]:
    """Return the outcome of a claim, and the reason if it is neither held nor not."""
    lower_bound = -math.inf if above is None else above
    upper_bound = math.inf if below is None else below
    of = f"of {len(values)} seed{'s' * (len(values) > 1)}"
    if diverged := np.isnan(values).sum():
        return "diverged", f"Diverged in {diverged} {of}"
    if infinite := np.isinf(values).sum():
        return "undecided", f"{infinite} {of} {if_infinite}"
    if len(values) == 1:
        return "undecided", "one seed has no interval"
    if lower_bound < low and high < upper_bound:
        return "held", ""
    if high < lower_bound or low > upper_bound:
        return "did not hold", ""
    return "undecided", "the interval crosses the bound"


def count_decimals(value: float, significant: int = 3) -> int:
    """Return the number of decimals that show this number of significant digits."""
    if not math.isfinite(value) or not value:
        return significant
    return max(0, significant - 1 - math.floor(math.log10(abs(value))))
