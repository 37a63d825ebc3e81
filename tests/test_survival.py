"""Survival of short trainings, compared with Recipes and with a training in NumPy."""

import numpy as np
import pytest

from bstudy import Recipe, Survival
from bstudy.errors import InvalidInput
from bstudy.experiments.recipe import Phase
from bstudy.experiments.survival import sharpness
from bstudy.models import find_model
from bstudy.trainer import epoch_permutation, train_subset


def softmax_regression(tiny, order, rates, size, kernel):
    """Return the loss on the training set after these steps of a network of one layer without a bias, in NumPy."""
    x, labels = tiny.x_train.reshape(len(tiny.x_train), -1).astype(float), np.eye(3)[tiny.y_train]

    def probabilities(rows):
        exponentials = np.exp(x[rows] @ kernel)
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    for step, rate in enumerate(rates):
        rows = order[step * size :][:size]
        kernel = kernel - rate * x[rows].T @ (probabilities(rows) - labels[rows]) / size
    return -np.log((probabilities(slice(None)) * labels).sum(axis=1)).mean()


def test_a_cell_is_a_training_in_numpy(tiny, small_model, measure, get_trainer):
    model = small_model.replace(":small", ":one_layer")
    experiment = Survival(20, (0.1, 0.4), (0, 4), 10, kernel_scale=2.0)
    trainer = get_trainer(tiny, find_model(model))
    columns = measure(experiment, model=model).columns
    (kernel,) = trainer.initial_weights(0)
    order = np.concatenate([epoch_permutation(50, 0, epoch)[:40] for epoch in range(5)])
    for i, warmup in enumerate((0, 4)):
        for j, rate in enumerate((0.1, 0.4)):
            rates = [rate * min(1, (step + 1) / max(warmup, 1)) for step in range(10)]
            expected = softmax_regression(tiny, order, rates, 20, 2 * kernel)
            assert columns["final_loss"][i, j] == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def columns(measure_small):
    """Of an experiment in which the larger rate diverges."""
    return measure_small(Survival(10, (0.1, 1e6), (0, 5), 20)).columns


def test_divergence_is_an_outcome(columns):
    assert columns["survived"].tolist() == [[1, 0], [1, 0]]
    assert np.isnan(columns["final_loss"][:, 1]).all()
    assert columns["final_loss"][:, 0].max() < np.log(3) / 2
    assert np.isnan(columns["eigenvalue"]).tolist() == [False, True]


def test_a_warm_up_is_that_of_a_recipe(columns, tiny, measure_small, get_trainer, small_model):
    """50 samples are five batches of 10, so that the batches are the same too."""
    recipe = Recipe((Phase(10, 0.1, 4, warmup_epochs=1),))
    trainer = get_trainer(tiny, find_model(small_model))
    expected = measure_small(recipe)
    assert columns["final_loss"][1, 0] == pytest.approx(expected.columns["final_train_loss"], rel=1e-5)
    trainer.set_weights(trainer.initial_weights(0))
    assert columns["initial_eigenvalue"] == pytest.approx(sharpness(trainer, train_subset(trainer, 512)), rel=1e-4)


def test_a_network_that_guesses_does_not_survive(measure_small):
    columns = measure_small(Survival(50, (1e-6,), (0,), 1)).columns
    assert np.isfinite(columns["final_loss"]).all()
    assert columns["survived"].tolist() == [[0]]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((8, (0.0,), (0,), 10), "learning_rates must be a positive"),
        ((8, (), (0,), 10), "learning_rates must hold at least one number"),
        ((8, (0.1,), (-1,), 10), "warmup_steps must be a whole number"),
        ((8, (0.1,), (0, 10), 10), "warmup_steps must be below steps, 10, not 10"),
    ],
)
def test_wrong_settings_are_refused(arguments, reason):
    with pytest.raises(InvalidInput, match=reason):
        Survival(*arguments)
