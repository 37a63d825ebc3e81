"""The Trainer: one step, compiled functions that are made once, and states that can be restored."""

import random

import numpy as np
import pytest

from bstudy import Recipe
from bstudy.trainer import OptimizerSettings, Trainer, epoch_permutation, make_train_function, weights_of


def test_a_step_returns_the_loss_and_gradients_before_it(tiny, get_trainer, numpy_gradients):
    trainer = get_trainer(tiny)
    before = trainer.initial_weights(0)
    trainer.set_weights(before)
    trainer.set_optimizer(learning_rate=0.1)
    loss, gradients = trainer.train_step(tiny.x_train[:8], tiny.y_train[:8])
    expected_loss, expected = numpy_gradients(before, tiny.x_train[:8], tiny.y_train[:8])
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    for old, new, gradient, theirs in zip(before, trainer.get_weights(), gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, theirs, atol=1e-6)
        np.testing.assert_allclose(new, old - 0.1 * gradient.numpy(), atol=1e-7)


def test_evaluation_is_the_same_in_batches_of_any_size(tiny, get_trainer):
    trainer = get_trainer(tiny)
    trainer.set_weights(trainer.initial_weights(0))
    logits = trainer.model(tiny.x_test).numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected_loss = -np.log(probabilities[range(20), tiny.y_test]).mean()
    for batch_size in (20, 7):
        loss, accuracy = trainer.evaluate(*trainer.test_data, batch_size)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert accuracy == 100 * np.mean(logits.argmax(1) == tiny.y_test)


def test_each_batch_size_is_traced_once(tiny):
    trainer = Trainer(tiny)
    for seed, learning_rate in enumerate((0.1, 0.3)):
        trainer.set_optimizer(learning_rate=learning_rate)
        assert list(trainer.train_epoch(epoch_permutation(50, seed, 0), 16))
    functions = [trainer.cached(make_train_function, trainer.settings, size, False, False) for size in (16, 2)]
    assert [function.experimental_get_tracing_count() for function in functions] == [1, 1]


def test_a_segment_ends_after_the_given_step(tiny, get_trainer):
    trainer = get_trainer(tiny)
    trainer.set_optimizer(learning_rate=0.01)
    segments = list(trainer.train_epoch(epoch_permutation(50, 0, 0), 16, next_stop=lambda step: step + 2))
    assert [segment.values.shape for segment in segments] == [(1, 2), (1, 1), (1, 1)]
    assert [segment.progress for segment in segments] == pytest.approx([32 / 50, 48 / 50, 1])


def test_state_is_restored_to_the_bit(tiny, measure, get_trainer):
    state = measure(Recipe.adam(16, 0.01, 1)).state
    trainer = get_trainer(tiny)
    trainer.set_optimizer(OptimizerSettings("adam"))
    assert not any(variable.numpy().any() for variable in trainer.optimizer.variables[2:])
    trainer.set_state(state)
    restored = trainer.get_state()
    assert list(restored) == list(state)
    for name in state:
        np.testing.assert_array_equal(restored[name], state[name])
    assert len(weights_of(state)) == 6


def test_the_seed_decides_the_initial_weights(tiny, get_trainer):
    one, same, other = (
        np.concatenate([weight.ravel() for weight in get_trainer(tiny).initial_weights(seed)]) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.mean(one == other) < 0.01


def test_seed_and_epoch_decide_the_order():
    orders = [epoch_permutation(50, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert len({order.tobytes() for order in orders}) == 3
    np.testing.assert_array_equal(epoch_permutation(50, 0, 1), orders[1])


def test_initial_weights_leave_the_random_states_of_python_and_numpy(tiny, get_trainer):
    before = random.getstate(), np.random.get_state()
    get_trainer(tiny).initial_weights(5)
    assert random.getstate() == before[0]
    np.testing.assert_equal(np.random.get_state(), before[1])
