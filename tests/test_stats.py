import math

import numpy as np
import pytest
import scipy.stats

from bstudy import (
    claim,
    exponent,
    linear_fit,
    noise_scale,
    noise_scale_interval,
    rank_correlation,
    step_seconds,
    unexplained,
)
from bstudy.errors import InvalidInput
from bstudy.stats import interval

VALUES = np.random.default_rng(0).normal(3, 1, size=(5, 4))


def test_the_interval_is_students():
    mean, half = interval(VALUES)
    low, high = scipy.stats.t.interval(0.95, 4, loc=VALUES.mean(0), scale=scipy.stats.sem(VALUES))
    np.testing.assert_allclose(mean - half, low)
    np.testing.assert_allclose(mean + half, high)


@pytest.mark.parametrize(
    ("values", "bounds", "outcome"),
    [
        ([1.0, 1.1, 0.9], {"above": 0}, "held"),
        ([1.0, 1.1, 0.9], {"below": 0}, "did not hold"),
        ([1.0, 1.1, 0.9], {"above": 1}, "undecided"),
        ([1.0, 1.1, 0.9], {"above": 0.5, "below": 1.5}, "held"),
        ([1.0, 1.1, 0.9], {"above": 2, "below": 3}, "did not hold"),
        ([-1.0, 3.0, 1.0], {"above": 0}, "undecided"),
    ],
)
def test_a_claim_is_decided_by_its_interval(values, bounds, outcome):
    found = claim("c", values, **bounds)
    assert found.outcome == outcome
    assert found.estimate == pytest.approx(np.mean(values))
    assert bool(found.why) == (outcome == "undecided")


def test_no_interval_no_verdict():
    assert claim("c", [5.0], above=0).outcome == "undecided"
    assert claim("c", [5.0], above=0).why == "one seed has no interval"
    assert claim("c", [5.0, math.nan, 5.0], above=0).why == "1 of 3 runs have no number"
    assert claim("c", [5.0, math.inf, 5.0], above=0).outcome == "undecided"
    with pytest.raises(InvalidInput, match="needs a bound"):
        claim("c", [1, 2])


def test_intervals_miss_as_often_as_they_say():
    random = np.random.default_rng(2)
    mean, half = interval(random.normal(size=(3, 20_000)))
    assert np.mean(np.abs(mean) > half) == pytest.approx(0.05, abs=0.005)


def test_fits_are_those_of_numpy_and_scipy():
    x = np.array([1.0, 2, 4, 8])
    slope, intercept = linear_fit(x, VALUES)
    np.testing.assert_allclose([slope, intercept], np.polyfit(x, VALUES.T, 1))
    np.testing.assert_allclose(exponent(x, VALUES), np.polyfit(np.log(x), np.log(VALUES).T, 1)[0])
    ranks = [scipy.stats.spearmanr(row, x**2 - 5 * x).statistic for row in VALUES]
    np.testing.assert_allclose(rank_correlation(VALUES, np.tile(x**2 - 5 * x, (5, 1))), ranks)
    left = unexplained(VALUES, intercept[:, None] + slope[:, None] * x)
    np.testing.assert_allclose(left, [1 - scipy.stats.linregress(x, row).rvalue ** 2 for row in VALUES])


def test_fits_of_what_diverged_are_nan_and_no_error():
    diverged = np.where(np.arange(5)[:, None] == 2, np.nan, VALUES)
    for found in (exponent(np.arange(1, 5), diverged), rank_correlation(diverged, VALUES)):
        assert np.isnan(found).tolist() == [False, False, True, False, False]


def test_step_seconds_are_found_again_and_never_negative():
    sizes = np.array([16, 64, 256, 1024])
    seconds = np.stack([2e-3 + 5e-5 * sizes, 1e-3 * sizes])
    np.testing.assert_allclose(step_seconds(sizes, seconds), [[2e-3, 0], [5e-5, 1e-3]], atol=1e-9)


def test_the_noise_scale_is_a_ratio_of_means():
    assert noise_scale([1.0, 3.0], [2.0, -1.0]) == 4
    assert noise_scale([1.0, 3.0], [1.0, -1.0]) == np.inf
    assert noise_scale([[1.0, 3.0], [2.0, 2.0]], [[1.0, 1.0], [4.0, 4.0]]).tolist() == [2, 0.5]


def test_the_interval_of_the_noise_scale_holds_the_truth_19_times_in_20():
    random, held = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = noise_scale_interval(random.normal(30, 5, 40), random.normal(1, 0.5, 40), 400)
        held += low < 30 < high
    assert 178 <= held <= 199
