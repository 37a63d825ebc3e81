"""Intervals and fits, against SciPy and known truths."""

import math

import numpy as np
import pytest
import scipy.stats

from bstudy import (
    critical_batch_size,
    fit_step_time,
    fraction_unexplained,
    linear_fit,
    noise_scale,
    noise_scale_interval,
    power_law_exponent,
    rank_correlation,
)
from bstudy.stats import (
    confidence_interval,
    fraction_beyond,
    mask_diverged,
    median_size,
    ratio_to_minimum,
    share,
    value_at_minimum,
)

VALUES = np.random.default_rng(0).normal(3, 1, size=(5, 4))
X = np.array([1.0, 2, 4, 8])
DIVERGED = np.where(np.arange(5)[:, None] == 2, np.nan, VALUES)


def test_the_interval_is_students():
    mean, half = confidence_interval(VALUES)
    low, high = scipy.stats.t.interval(0.95, 4, loc=VALUES.mean(0), scale=scipy.stats.sem(VALUES))
    np.testing.assert_allclose(mean - half, low)
    np.testing.assert_allclose(mean + half, high)


def test_the_interval_misses_as_often_as_it_says():
    mean, half = confidence_interval(np.random.default_rng(2).normal(size=(3, 20_000)))
    assert np.mean(np.abs(mean) > half) == pytest.approx(0.05, abs=0.005)


def test_one_seed_and_a_diverged_seed_have_no_interval():
    assert confidence_interval([5.0])[0] == 5
    assert np.isnan(confidence_interval([5.0])[1])
    assert np.isnan(confidence_interval([5.0, math.inf])).all()


def test_fits_of_lines_and_powers_are_those_of_numpy():
    np.testing.assert_allclose(linear_fit(X, VALUES), np.polyfit(X, VALUES.T, 1))
    np.testing.assert_allclose(power_law_exponent(X, VALUES), np.polyfit(np.log(X), np.log(VALUES).T, 1)[0])


def test_rank_correlation_and_unexplained_fraction_are_those_of_scipy():
    other = X**2 - 5 * X
    expected = [scipy.stats.spearmanr(row, other).statistic for row in VALUES]
    np.testing.assert_allclose(rank_correlation(VALUES, np.tile(other, (5, 1))), expected)
    slope, intercept = linear_fit(X, VALUES)
    found = fraction_unexplained(VALUES, intercept[:, None] + slope[:, None] * X)
    np.testing.assert_allclose(found, [1 - scipy.stats.linregress(X, row).rvalue ** 2 for row in VALUES])


def test_fits_of_diverged_runs_are_nan_and_no_error():
    fits = power_law_exponent(X, DIVERGED), rank_correlation(DIVERGED, VALUES), fraction_unexplained(DIVERGED, VALUES)
    for found in fits:
        assert np.isnan(found).tolist() == [False, False, True, False, False]


def test_the_value_at_a_minimum_ignores_nan():
    criterion = [[3, 1, 2], [np.nan, 5, 4], [np.nan] * 3]
    np.testing.assert_array_equal(value_at_minimum([[1, 2, 3], [4, 5, 6], [7, 8, 9]], criterion), [2, 6, np.nan])


def test_counts_of_diverged_runs_become_nan():
    masked = mask_diverged(np.ones((2, 3), int), [False, True])
    np.testing.assert_array_equal(masked, [[1, 1, 1], [np.nan] * 3])


def test_the_critical_batch_size_is_found_again():
    sizes = np.array([16, 64, 256, 1024])
    steps = np.stack([100 * (1 + 200 / sizes), 50 * (1 + 30 / sizes)])
    minimum, critical = critical_batch_size(sizes, steps)
    np.testing.assert_allclose(minimum, [100, 50], rtol=1e-5)
    np.testing.assert_allclose(critical, [200, 30], rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "expected"), [([9, 8, 7, math.inf], math.inf), ([math.nan, 9, 8, math.inf], math.nan), ([9, 8], math.nan)]
)
def test_the_critical_batch_size_is_unknown_if_a_target_was_not_reached_or_with_two_batch_sizes(steps, expected):
    found = critical_batch_size([16, 64, 256, 1024][: len(steps)], [steps])
    np.testing.assert_array_equal(np.ravel(found), [expected, expected])


def test_the_ratio_to_the_smallest_is_unknown_if_one_entry_is():
    ratios = ratio_to_minimum([[4, 2, 8], [1, 2, math.inf], [1, math.nan, 2]])
    np.testing.assert_array_equal(ratios, [[2, 1, 4], [math.inf] * 3, [math.nan] * 3])


def test_the_seconds_of_a_step_are_found_again_and_never_negative():
    sizes = np.array([16, 64, 256, 1024])
    seconds = np.stack([2e-3 + 5e-5 * sizes, 1e-3 * sizes])
    np.testing.assert_allclose(fit_step_time(sizes, seconds), [[2e-3, 0], [5e-5, 1e-3]], atol=1e-9)


def test_a_share_of_nothing_is_infinite_and_one_of_a_run_that_diverged_is_unknown():
    shares = share([1.0, 1.0, 0.0, math.nan, 1.0], [4.0, 0.0, 0.0, 0.0, math.nan])
    np.testing.assert_array_equal(shares, [0.25, math.inf, math.inf, math.nan, math.nan])


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


def test_a_histogram_gives_back_the_tail_and_the_median():
    entries = np.random.default_rng(0).normal(size=(2, 100_000)) * [[0.01], [3]]
    sizes = np.logspace(-4, 2, 121)
    edges = np.concatenate([-sizes[::-1], sizes])
    counts = [np.histogram(row, [-np.inf, *edges, np.inf])[0] for row in entries]
    thresholds = np.array([0.02, 5])
    expected = (np.abs(entries) > thresholds[:, None]).mean(axis=1)
    np.testing.assert_allclose(fraction_beyond(edges, counts, thresholds), expected, rtol=0.05)
    np.testing.assert_allclose(median_size(edges, counts), np.median(np.abs(entries), axis=1), rtol=0.02)
    assert fraction_beyond(edges, counts, 1e3).tolist() == [0, 0]
    assert np.isnan(fraction_beyond(edges, counts, np.nan)).all()
