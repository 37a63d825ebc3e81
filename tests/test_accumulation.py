"""Gradient accumulation, compared with NumPy, with a Recipe, and with Keras's own."""

import numpy as np
import pytest

from bstudy import Accumulation, AccumulationCost, Recipe
from bstudy.backend import keras, tf
from bstudy.errors import InvalidInput
from bstudy.experiments.accumulation import make_accumulating_trainer
from bstudy.trainer import epoch_permutation


@pytest.mark.parametrize("micro_batch_size", [4, 5, 20])
def test_its_steps_are_those_of_one_large_batch(micro_batch_size, measure_small):
    """Also if the last micro-batch is smaller (5), in the smaller last batch of an epoch, and with only one (20)."""
    found = measure_small(Accumulation(16, micro_batch_size, 0.1, 3)).columns
    expected = measure_small(Recipe.sgd(16, 0.1, 3)).columns
    assert found["loss"].shape == (12,)
    for name in ("loss", "test_loss", "test_accuracy"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


def test_each_sample_of_a_batch_counts_the_same(tiny, small_model, get_trainer, measure_small, numpy_gradients):
    """The reference adds up gradients of single samples in double precision."""
    from bstudy.models import find_model

    columns = measure_small(Accumulation(16, 5, 0.1, 1)).columns
    weights = get_trainer(tiny, find_model(small_model)).initial_weights(0)
    order = epoch_permutation(50, 0, 0)
    for step, rows in enumerate(np.split(order, [16, 32, 48])):
        singles = [numpy_gradients(weights, tiny.x_train[[row]], tiny.y_train[[row]]) for row in rows]
        assert columns["loss"][step] == pytest.approx(np.mean([loss for loss, _ in singles]), rel=1e-5)
        mean = [np.mean(parts, axis=0) for parts in zip(*(gradients for _, gradients in singles), strict=True)]
        weights = [weight - 0.1 * gradient for weight, gradient in zip(weights, mean, strict=True)]


@pytest.mark.slow
def test_with_batch_normalization_they_are_not(tiny, measure):
    one, two, micro = (measure(Accumulation(16, size, 0.1, 2, "normalized")).columns for size in (16, 20, 4))
    np.testing.assert_array_equal(one["loss"], two["loss"])
    assert abs(micro["loss"][0] / one["loss"][0] - 1) > 1e-3


def test_the_first_loss_with_batch_normalization_is_that_of_micro_batches(tiny, measure, get_trainer):
    trainer = get_trainer(tiny).cached(make_accumulating_trainer, 4, "normalized")
    kernel, bias, gamma, beta, _, _, last, last_bias = trainer.initial_weights(0)
    rows, losses = epoch_permutation(50, 0, 0)[:16], []
    for micro in np.split(rows, 4):
        h = tiny.x_train[micro].reshape(4, -1) @ kernel + bias
        h = gamma * (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-3) + beta
        outputs = np.maximum(h, 0) @ last + last_bias
        losses += list(np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(4), tiny.y_train[micro]])
    found = measure(Accumulation(16, 4, 0.1, 2, "normalized")).columns["loss"][0]
    assert found == pytest.approx(np.mean(losses), rel=1e-4)


def test_it_is_what_keras_does_and_counts_real_steps(tiny, get_trainer, small_model):
    """Keras averages k gradients with equal weights; its schedules count micro-batches."""
    from bstudy.models import find_model

    trainer = get_trainer(tiny, find_model(small_model)).cached(make_accumulating_trainer, 4, "chosen")
    start, rates = trainer.initial_weights(0), []

    class Recorded(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            rates.append(int(step))
            return tf.constant(0.1)

    optimizer = keras.optimizers.Adam(Recorded(), gradient_accumulation_steps=4)
    x, y = (values[:16] for values in trainer.training_data)
    trainer.set_weights(start)
    gradients, sums = None, []
    for first in range(0, 16, 4):
        part = [tf.zeros_like(each) for each in (tf.constant(0.0), *trainer.model.trainable_variables)]
        _, *gradients = [each / 4 for each in trainer.add_micro_batch(part, x[first : first + 4], y[first : first + 4])]
        sums.append(gradients)
        optimizer.apply(gradients, trainer.model.trainable_variables)
    assert int(optimizer.iterations) == 1
    assert rates[-1] == 3
    accumulated = trainer.get_weights()
    trainer.set_weights(start)
    once = keras.optimizers.Adam(0.1)
    mean = [tf.reduce_mean(tf.stack(parts), axis=0) for parts in zip(*sums, strict=True)]
    once.apply(mean, trainer.model.trainable_variables)
    for found, expected in zip(accumulated, trainer.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_more_epochs_extend_fewer_to_the_same_bits(measure_small, assert_same_bits):
    few = measure_small(Accumulation(16, 5, 0.1, 1))
    assert_same_bits(measure_small(Accumulation(16, 5, 0.1, 3), few), measure_small(Accumulation(16, 5, 0.1, 3)))


def test_a_run_that_diverges_has_no_numbers_after_it(measure_small):
    result = measure_small(Accumulation(16, 4, 1e20, 3))
    assert result.diverged
    assert result.columns["loss"].shape == (12,)
    assert result.columns["test_loss"].shape == (4,)
    assert np.isfinite(result.columns["loss"][0])
    assert np.isnan(result.columns["loss"][-1])
    assert np.isnan(result.columns["test_accuracy"][1:]).all()


def test_the_cost_has_a_time_for_each_pass_and_the_bytes_of_the_model(tiny, measure_small):
    columns = measure_small(AccumulationCost(16, 4, passes=2)).columns
    for name in ("large_seconds", "accumulated_seconds", "small_seconds"):
        assert columns[name].shape == (2,)
        assert (columns[name] > 0).all()
    assert columns["weight_bytes"] == 4 * (16 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3)
    assert columns["output_bytes"] == 8 * (16 + 8 + 8 + 3)


def test_wrong_settings_are_refused():
    with pytest.raises(InvalidInput, match="network must be 'chosen' or 'normalized'"):
        Accumulation(16, 4, 0.1, 1, "other")
    with pytest.raises(InvalidInput, match="micro_batch_size must be a whole number"):
        AccumulationCost(16, 0)
