"""Evaluation in batches of several sizes."""

import numpy as np

from bstudy import Evaluation, NormalizedEvaluation, Recipe
from bstudy.experiments.evaluation import make_normalized_trainer


def test_the_batch_size_does_not_change_the_evaluation(measure_small):
    recipe = Recipe.sgd(16, 0.1, 2)
    experiment = Evaluation(recipe, (20, 1, 7))
    assert experiment.batch_sizes == (1, 7, 20)
    columns, trained = measure_small(experiment).columns, measure_small(recipe).columns
    np.testing.assert_array_equal(columns["accuracy"], 3 * [trained["test_accuracy"][-1]])
    np.testing.assert_allclose(columns["loss"], trained["test_loss"][-1], rtol=1e-6)
    assert columns["loss"].dtype == np.float64
    assert columns["seconds"].shape == (3,)
    assert (columns["seconds"] > 0).all()


def test_batch_normalization_depends_on_the_batch_in_training_mode_only(tiny, measure, get_trainer):
    experiment = NormalizedEvaluation(batch_sizes=(1, 4, 20), batch_size=16, epochs=40)
    columns = measure(experiment).columns
    trainer = get_trainer(tiny).cached(make_normalized_trainer)
    assert columns["evaluation_mode"].tolist() == 3 * [columns["evaluation_mode"][0]]
    assert columns["evaluation_mode"][0] > 80
    order = np.random.default_rng(0).permutation(20)
    kernel, bias, gamma, beta, *_, last, last_bias = trainer.get_weights()
    for size, accuracy in zip(experiment.batch_sizes, columns["training_mode"], strict=True):
        correct = 0
        for first in range(0, 20, size):
            rows = order[first : first + size]
            h = tiny.x_test[rows].reshape(len(rows), -1) @ kernel + bias
            h = gamma * (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-3) + beta
            correct += np.sum(np.argmax(np.maximum(h, 0) @ last + last_bias, axis=1) == tiny.y_test[rows])
        assert accuracy == 100 * correct / 20
