"""Step norms, compared with NumPy's gradients."""

import numpy as np
import pytest

from bstudy import Recipe, StepNorms
from bstudy.errors import InvalidInput
from bstudy.experiments.step_norms import mean_in_bins
from bstudy.trainer import epoch_permutation

START = Recipe.sgd(16, 0.1, 1)
SIZES = (2, 5, 50)


def test_frozen_norms_equal_numpy_and_obey_the_triangle_inequality(tiny, measure_small, numpy_gradients):
    columns, state = measure_small(StepNorms(START, SIZES)).columns, measure_small(START).state
    weights, order = [state[f"weight_{i}"] for i in range(6)], epoch_permutation(50, 0, 0)

    def norms(size):
        batches = [order[first : first + size] for first in range(0, 50, size)]
        gradients = (numpy_gradients(weights, tiny.x_train[batch], tiny.y_train[batch])[1] for batch in batches)
        return np.array([np.sqrt(sum((g**2).sum() for g in each)) for each in gradients])

    expected = {size: norms(size) for size in SIZES}
    for i, size in enumerate(SIZES):
        assert columns["mean_norm"][i] == pytest.approx(expected[size].mean(), rel=1e-3)
        assert columns["quantiles"][i, -1] == pytest.approx(expected[size].max(), rel=1e-3)
    twentieths = [expected[2][:2].mean(), expected[2][13]]  # of 25 steps
    np.testing.assert_allclose(columns["mean_norm_over_time"][0, [0, 10]], twentieths, rtol=1e-4)
    slack = expected[5].mean() / expected[50][0] - 1
    assert slack >= 0
    np.testing.assert_allclose(columns["triangle_slack"], [np.nan, slack], rtol=1e-3)  # 5 is no multiple of 2


def test_moving_weights_change_all_norms_but_the_first(measure_small):
    frozen, moving = (measure_small(StepNorms(START, (2, 50), frozen=frozen)) for frozen in (True, False))
    assert moving.columns["mean_norm"][0] != frozen.columns["mean_norm"][0]
    assert moving.columns["mean_norm"][1] == frozen.columns["mean_norm"][1]


def test_resuming_gives_the_same_bits(measure_small, steps_of, small_model, assert_same_bits):
    experiment = StepNorms(START, SIZES, frozen=False)
    steps = list(steps_of(experiment, model=small_model))
    checkpoint = next(result for _, result in steps if 0 < result.progress < 1)
    assert_same_bits(measure_small(experiment, resume_from=checkpoint), steps[-1][1])


def test_the_mean_of_a_part_without_values_is_nan():
    np.testing.assert_array_equal(mean_in_bins(np.array([1.0, 2.0, 4.0, 6.0]), 2), [1.5, 5])
    np.testing.assert_array_equal(mean_in_bins(np.array([1.0, 2.0]), 4), [1, np.nan, 2, np.nan])


def test_a_batch_larger_than_the_training_set_is_refused(tiny):
    with pytest.raises(InvalidInput, match="64 is larger than the training set"):
        StepNorms(START, (64,)).validate(tiny)
