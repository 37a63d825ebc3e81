"""The gradient noise scale, compared with the gradient of every sample in NumPy."""

import numpy as np
import pytest

from bstudy import NoiseScale, Recipe, noise_scale, noise_scale_interval
from bstudy.errors import InvalidInput

START = Recipe.sgd(16, 0.1, 1)


def test_the_estimates_are_unbiased(tiny, measure_small, numpy_gradients):
    state = measure_small(START).state
    weights = [state[f"weight_{i}"] for i in range(6)]
    single = [numpy_gradients(weights, tiny.x_train[i : i + 1], tiny.y_train[i : i + 1])[1] for i in range(50)]
    single = np.array([np.concatenate([part.ravel() for part in gradient]) for gradient in single])
    mean = single.mean(0)
    trace, square = ((single - mean) ** 2).sum(1).mean(), (mean**2).sum()
    columns = measure_small(NoiseScale(START, 8, 64, batches=200)).columns
    for estimates, exact in ((columns["noise_trace"], trace), (columns["squared_gradient_norm"], square)):
        error = estimates.std() / 200**0.5
        assert abs(estimates.mean() - exact) < 4 * error
        assert 4 * error < 0.1 * exact
    scale = noise_scale(columns["noise_trace"], columns["squared_gradient_norm"])
    low, high = noise_scale_interval(columns["noise_trace"], columns["squared_gradient_norm"])
    assert low < scale < high
    assert low < trace / square < high


def test_more_batches_extend_fewer_to_the_same_bits(measure_small, assert_same_bits):
    few = measure_small(NoiseScale(START, 8, 64, 2))
    assert_same_bits(
        measure_small(NoiseScale(START, 8, 64, 5), resume_from=few), measure_small(NoiseScale(START, 8, 64, 5))
    )


@pytest.mark.parametrize("large", [100, 32, 16])
def test_a_large_batch_that_cannot_be_cut_is_refused(large):
    with pytest.raises(InvalidInput, match=f"large_batch_size must be a multiple of small_batch_size, 32, not {large}"):
        NoiseScale(START, large_batch_size=large)
