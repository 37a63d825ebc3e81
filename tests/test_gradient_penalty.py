"""Descent with a penalty on the norm of the gradient, compared with differences of NumPy's gradients."""

import numpy as np
import pytest

from bstudy import GradientPenalty, Recipe
from bstudy.errors import InvalidInput
from bstudy.experiments.gradient_penalty import dense_gradients, dense_layers, gradients_part_by_part
from bstudy.models import find_model
from bstudy.trainer import epoch_permutation, train_subset, wrong_labels

SGD = GradientPenalty(8, 0.1, 6, 2, 48)


def descend(weights, x, y, gradients, steps, rate, penalty):
    """Return the weights after steps on x and y (parts, batch size, ...), in NumPy."""

    def mean_gradient(at):
        each = [gradients(at, *part)[1] for part in zip(x, y, strict=True)]
        return [np.mean(parts, axis=0) for parts in zip(*each, strict=True)]

    for _ in range(steps):
        change = mean_gradient(weights)
        for part in zip(x, y, strict=True):
            slope = gradients(weights, *part)[1]
            ahead, behind = (
                gradients([w + step * g for w, g in zip(weights, slope, strict=True)], *part)[1]
                for step in (1e-4, -1e-4)
            )  # their difference is the Hessian times the gradient
            change = [c + penalty / 2 * (a - b) / 2e-4 / len(x) for c, a, b in zip(change, ahead, behind, strict=True)]
        weights = [w - rate * c for w, c in zip(weights, change, strict=True)]
    return weights


@pytest.mark.parametrize(("batch_size", "parts"), [(8, 6), (48, 1)])
def test_steps_go_down_the_gradient_of_the_penalized_loss(
    tiny, small_model, get_trainer, measure_small, numpy_gradients, batch_size, parts
):
    trainer = get_trainer(tiny, find_model(small_model))
    x, y = (array.numpy() for array in trainer.cached(train_subset, 48))
    y = wrong_labels(y, 3, 0.25, 0)
    rows = epoch_permutation(48, 0, 0)
    x, y = (array[rows].reshape(parts, batch_size, *array.shape[1:]) for array in (x, y))
    start = [weight.astype(float) for weight in trainer.initial_weights(0)]
    expected = descend(start, x, y, numpy_gradients, 6, 0.1, 0.8)
    result = measure_small(GradientPenalty(batch_size, 0.1, 3, 2, 48, 0.8, parts, label_noise=0.25))
    plain = measure_small(GradientPenalty(batch_size, 0.1, 3, 2, 48, 0.0, parts, label_noise=0.25))
    for i, weight in enumerate(expected):
        np.testing.assert_allclose(result.state[f"weight_{i}"], weight, atol=2e-5)
        assert np.abs(plain.state[f"weight_{i}"] - weight).max() > 1e-3
    loss, _ = numpy_gradients(expected, x.reshape(48, 4, 4), y.reshape(48))
    assert result.columns["train_loss"][-1] == pytest.approx(loss, rel=1e-4)
    loss, _ = numpy_gradients(expected, tiny.x_test, tiny.y_test)
    assert result.columns["test_loss"][-1] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("penalty", [None, 0.8])
def test_a_network_with_other_layers_takes_its_parts_one_by_one(tiny, small_model, get_trainer, penalty):
    model = get_trainer(tiny, find_model(small_model)).model
    assert len(dense_layers(model)) == 3
    batch = tiny.x_train[:48], tiny.y_train[:48]
    at_once, one_by_one = (way(model, batch, 6, penalty) for way in (dense_gradients, gradients_part_by_part))
    for expected, found in zip(at_once, one_by_one, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not dense_layers(get_trainer(tiny, find_model("cnn")).model)


def test_without_penalty_and_parts_it_is_the_sgd_of_a_recipe(measure_small, tiny):
    """On all samples; those of a Recipe come in another order, which a single batch does not have."""
    ours = measure_small(GradientPenalty(50, 0.1, 5, 1, 50))
    recipe = measure_small(Recipe.sgd(50, 0.1, 5))
    for name, weight in ours.state.items():
        np.testing.assert_allclose(weight, recipe.state[name], atol=1e-6)
    assert ours.columns["test_loss"][-1] == pytest.approx(recipe.columns["test_loss"][-1], rel=1e-5)


def test_an_epoch_of_small_batches_has_every_sample_once_and_full_batches_have_one_order():
    rows = [SGD.rows(0, step) for step in range(12)]
    assert sorted(np.concatenate(rows[:6])) == sorted(np.concatenate(rows[6:])) == list(range(48))
    assert (rows[0] != rows[6]).any()
    full = GradientPenalty(8, 0.1, 6, 2, 48, parts=6)
    np.testing.assert_array_equal(full.rows(0, 0), full.rows(0, 1))
    assert (full.rows(0, 0) != full.rows(1, 0)).any()


@pytest.mark.parametrize("experiment", [SGD, GradientPenalty(8, 0.1, 3, 2, 48, 0.8, 6, 0.25)], ids=str)
def test_more_evaluations_extend_fewer_to_the_same_bits(measure_small, assert_same_bits, experiment):
    ((_, prefix),) = experiment.prefixes()
    extended = measure_small(experiment, resume_from=measure_small(prefix))
    assert_same_bits(extended, measure_small(experiment))


def test_the_bits_do_not_depend_on_the_steps_of_a_call(
    monkeypatch, measure, small_model, measure_small, assert_same_bits
):
    monkeypatch.setattr("bstudy.trainer.Trainer.steps_per_call", 4)
    assert_same_bits(measure(SGD, model=small_model), measure_small(SGD))


def test_a_run_that_diverges_says_so(measure_small):
    result = measure_small(GradientPenalty(8, 1e12, 6, 3, 48))
    assert result.diverged
    assert np.isfinite(result.columns["test_loss"][0])
    assert np.isnan(result.columns["test_loss"][1:]).all()


def test_the_clock_is_the_learning_rate_times_the_steps():
    np.testing.assert_allclose(SGD.clock, [0, 0.6, 1.2])


def test_what_does_not_fit_is_refused(tiny):
    with pytest.raises(InvalidInput, match="samples must be a multiple of 24"):
        GradientPenalty(8, 0.1, 1, 1, 50, parts=3)
    with pytest.raises(InvalidInput, match="samples 56 is larger than the training set of tiny, which has 50 samples"):
        GradientPenalty(8, 0.1, 1, 1, 56).validate(tiny)
