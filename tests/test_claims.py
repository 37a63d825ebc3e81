"""Claims: their outcomes, their sentences, and how often they are wrong."""

import math

import numpy as np
import pytest
import scipy.stats

from bstudy import claim
from bstudy.errors import InvalidInput


@pytest.mark.parametrize(
    ("values", "bounds", "outcome"),
    [
        ([1.0, 1.1, 0.9], {"above": 0}, "held"),
        ([1.0, 1.1, 0.9], {"below": 0}, "did not hold"),
        ([1.0, 1.1, 0.9], {"above": 1}, "undecided"),
        ([1.0, 1.1, 0.9], {"above": 0.5, "below": 1.5}, "held"),
        ([1.0, 1.1, 0.9], {"above": 2, "below": 3}, "did not hold"),
        ([-1.0, 3.0, 1.0], {"above": 0}, "undecided"),
        ([5.0], {"above": 0}, "undecided"),
        ([5.0, math.inf, 5.0], {"above": 0}, "undecided"),
        ([5.0, math.nan, math.inf], {"above": 0}, "diverged"),
    ],
)
def test_a_claim_is_decided_by_its_interval(values, bounds, outcome):
    found = claim("A is above B.", values, otherwise="A is below B.", **bounds)
    assert found.outcome == outcome
    assert bool(found.why) == (outcome in ("undecided", "diverged"))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([5.0], "one seed has no interval"),
        ([5.0, math.nan, math.nan], "Diverged in 2 of 3 seeds"),
        ([math.inf, 5.0, 5.0], "1 of 3 seeds did not reach the target"),
        ([1.0, 3.0], "the interval crosses the bound"),
    ],
)
def test_a_claim_that_is_not_decided_says_why(values, why):
    assert claim("c", values, above=0).why == why


def test_a_claim_says_what_an_infinite_number_means():
    assert claim("c", [math.inf, 5.0], above=0, if_infinite="had no gradient").why == "1 of 2 seeds had no gradient"


@pytest.mark.parametrize(
    ("values", "finding", "with_numbers", "advice"),
    [
        ([2.0, 2.1, 1.9], "A is longer.", "A is longer (2.00 [1.75, 2.25] m).", "Take A."),
        ([-2.0, -2.1, -1.9], "A is shorter.", "A is shorter (-2.00 [-2.25, -1.75] m).", "Take B."),
        ([1.0, -1.0], "Undecided: A is longer.", "Undecided: A is longer (0 [-13, 13] m).", ""),
        ([1.0, math.nan], "Diverged in 1 of 2 seeds: A is longer.", None, ""),
    ],
)
def test_the_finding_is_true_of_the_data(values, finding, with_numbers, advice):
    found = claim("A is longer.", values, above=0, otherwise="A is shorter.", unit="m", advice=("Take A.", "Take B."))
    assert found.finding == finding
    assert found.advice == advice
    if with_numbers:
        assert found.finding_with_numbers == with_numbers


def test_a_check_is_marked_as_one():
    assert claim("c", [1, 1.1], above=0, check=True).mark == "✓ check passed"
    assert claim("c", [-1, -1.1], above=0, check=True).mark == "✗ check failed"
    assert claim("c", [-1, -1.1], above=0).mark == "✗ did not hold"


def test_the_evidence_names_bounds_source_and_published_number():
    found = claim("c", [2.0, 2.1, 1.9], above=0, below=5, unit="m", published=3.0, source="Shen")
    assert found.evidence == "2.00 [1.75, 2.25] m; held if above 0 and below 5; published 3; claimed by Shen"


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [({}, "needs a bound, above= or below="), ({"above": 0, "answer": True}, "needs otherwise=, a sentence")],
)
def test_an_incomplete_claim_is_refused(bounds, reason):
    with pytest.raises(InvalidInput, match=reason):
        claim("c", [1, 2], **bounds)


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ([1.0, 2.0, 3.0], "2.0 [-0.5, 4.5]"),
        ([1.1e-8, 1.2e-8, 1.3e-8], "1.2e-08 [9.5e-09, 1.4e-08]"),
        ([5.0, 5.0], "5.00 [5.00, 5.00]"),
        ([-0.05555725097656, -0.05555725097657], "-0.06 [-0.06, -0.06]"),
        ([5.0], "5.00"),
        ([np.nan], "no estimate"),
    ],
)
def test_numbers_have_the_digits_that_the_interval_supports(values, numbers):
    assert claim("c", values, above=0).numbers == numbers


def test_a_ratio_is_judged_on_logarithms():
    values = [0.5, 2.0, 8.0]
    found = claim("c", values, above=0, scale="log")
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.log(2), scale=scipy.stats.sem(np.log(values)))
    np.testing.assert_allclose((found.estimate, *found.interval), (2, np.exp(low), np.exp(high)))
    assert found.outcome == "held"
    assert found.unit == "times"


def test_a_correlation_has_no_interval_beyond_one():
    found = claim("c", [1.0, 0.983, 0.983], above=0.5, scale="correlation")
    low, high = found.interval
    assert 0.9 < low < found.estimate < high < 1
    assert found.outcome == "held"


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("scale", "null"), [("linear", 0.0), ("log", 1.0), ("correlation", 0.0)])
def test_a_true_null_is_decided_wrongly_in_one_of_twenty(scale, null, seeds):
    """The truth lies on the bound, so that every decision is wrong: one in forty on each side."""
    inverse = {"linear": np.asarray, "log": np.exp, "correlation": np.tanh}[scale]
    draws = inverse(np.random.default_rng(1).normal(0, 0.3, size=(4000, seeds)))
    outcomes = [claim("c", values, above=null, scale=scale).outcome for values in draws]
    for outcome in ("held", "did not hold"):
        assert outcomes.count(outcome) / len(draws) == pytest.approx(0.025, abs=0.0075)  # three standard errors
