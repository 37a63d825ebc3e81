"""Evaluation in batches of several sizes."""

import numpy as np

from bstudy import Evaluation, Recipe


def test_the_batch_size_does_not_change_the_evaluation(measure_small):
    recipe = Recipe.sgd(16, 0.1, 2)
    experiment = Evaluation(recipe, (20, 1, 7))
    assert experiment.batch_sizes == (1, 7, 20)
    columns, trained = measure_small(experiment).columns, measure_small(recipe).columns
    np.testing.assert_array_equal(columns["accuracy"], 3 * [trained["test_accuracy"][-1]])
    np.testing.assert_allclose(columns["loss"], trained["test_loss"][-1], rtol=1e-6)
    assert columns["loss"].dtype == np.float64
