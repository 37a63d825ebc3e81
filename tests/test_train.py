"""The training loop against independent references: NumPy, and a plain Python loop over tf.GradientTape."""

import itertools

import numpy as np
import pytest

from bstudy import Recipe
from bstudy.measure.model import initial_weights, mlp
from bstudy.measure.train import epoch_order, measure


def answer(recipe, data, seed=0, begun=None):
    *_, (share, result) = measure(recipe, data, seed, begun)
    assert share == 1 and result.complete
    return result


def weights(result):
    return [result.state[f"weight_{i}"] for i in range(6)]


def numpy_run(numpy_gradients, data, seed, batch_size, epochs, update):
    """Weights and losses of `epochs` epochs; `update(step, weight index, gradient)` gives what is subtracted."""
    now, losses = [w.astype(np.float64) for w in initial_weights(data.architecture, seed)], []
    for epoch in range(epochs):
        order = epoch_order(len(data.x_train), seed, epoch)
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            loss, gradients = numpy_gradients(now, data.x_train[batch], data.y_train[batch])
            losses.append(loss)
            now = [w - update(len(losses), i, g) for i, (w, g) in enumerate(zip(now, gradients, strict=True))]
    return now, losses


def close(ours, reference, moved):
    """Equal to rounding, measured by how far the weights moved."""
    for a, b in zip(ours, reference, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * moved)


def test_sgd_steps_are_the_mathematics_and_the_last_smaller_batch_is_trained_on(tiny, numpy_gradients):
    result = answer(Recipe.sgd(16, 0.1, 2), tiny)
    reference, losses = numpy_run(numpy_gradients, tiny, 0, 16, 2, lambda step, i, g: 0.1 * g)
    assert len(losses) == 2 * 4  # 50 samples are three batches of 16, and one of 2
    np.testing.assert_allclose(result.columns["loss"], losses, rtol=1e-4)
    close(weights(result), reference, moved=0.1)


def test_adam_steps_are_the_mathematics(tiny, numpy_gradients):
    first, second = [0.0] * 6, [0.0] * 6

    def update(step, i, g):  # Kingma and Ba 2015, in the form that ends section 2, as Keras has it
        first[i] = 0.9 * first[i] + 0.1 * g
        second[i] = 0.999 * second[i] + 0.001 * g**2
        rate = 0.001 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        return rate * first[i] / (np.sqrt(second[i]) + 1e-7)

    result = answer(Recipe.adam(50, 0.001, 2), tiny)
    reference, losses = numpy_run(numpy_gradients, tiny, 0, 50, 2, update)
    np.testing.assert_allclose(result.columns["loss"], losses, rtol=1e-3)
    for ours, theirs in zip(weights(result), reference, strict=True):
        assert np.mean(np.abs(ours - theirs)) < 2e-5  # entries whose gradient is rounding alone step either way


def test_the_compiled_loop_is_the_plain_loop(tiny):
    import keras
    import tensorflow as tf

    model = mlp(tiny.x_train.shape[1:], tiny.classes)
    model.set_weights(initial_weights(tiny.architecture, 3))
    loss_of, optimizer = keras.losses.SparseCategoricalCrossentropy(from_logits=True), keras.optimizers.SGD(0.05)
    order = epoch_order(50, 3, 0)
    for first in range(0, 50, 20):
        x, y = tiny.x_train[order[first : first + 20]], tiny.y_train[order[first : first + 20]]
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
    for ours, plain in zip(weights(answer(Recipe.sgd(20, 0.05, 1), tiny, 3)), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-6)


def test_columns_say_what_the_weights_are(tiny, numpy_gradients):
    result, start = answer(Recipe.sgd(16, 0.1, 2, norms=True), tiny), initial_weights(tiny.architecture, 0)
    end, columns = weights(result), result.columns
    kernels = [(end[i].astype(float), start[i].astype(float)) for i in (0, 2, 4)]
    assert columns["weight_distance"][-1] == pytest.approx(
        np.sqrt(sum(((a - b) ** 2).sum() for a, b in kernels)), rel=1e-5
    )
    assert columns["bias_norm"][-1] == pytest.approx(np.sqrt(sum((end[i].astype(float) ** 2).sum() for i in (1, 3, 5))))
    cosines = [(a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b) for a, b in kernels]
    np.testing.assert_allclose(columns["cosines"][-1], cosines, rtol=1e-6)
    assert columns["weight_distance"][0] == 0 and columns["cosines"][0] == pytest.approx(1)
    loss, _ = numpy_gradients(end, tiny.x_test, tiny.y_test)
    assert columns["test_loss"][-1] == pytest.approx(loss, rel=1e-4)
    loss, _ = numpy_gradients(end, tiny.x_train, tiny.y_train)
    assert columns["final_train_loss"] == columns["train_loss"][-1] == pytest.approx(loss, rel=1e-4)
    _, gradients = numpy_gradients(start, *(part[epoch_order(50, 0, 0)[:16]] for part in (tiny.x_train, tiny.y_train)))
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    assert columns["gradient_norm"][0] == pytest.approx(norm, rel=1e-4)
    np.testing.assert_allclose(columns["update_norm"], 0.1 * columns["gradient_norm"], rtol=1e-2)
    assert {name: column.shape for name, column in columns.items() if name in ("loss", "seconds", "cosines")} == {
        "loss": (8,), "seconds": (2,), "cosines": (3, 3)
    }  # fmt: skip


def same_bits(a, b):
    for name in a.state:
        np.testing.assert_array_equal(a.state[name], b.state[name])
    for name in a.columns:
        if name != "seconds":
            np.testing.assert_array_equal(a.columns[name], b.columns[name])


@pytest.mark.parametrize("kind", [Recipe.sgd, Recipe.adam])
def test_the_same_question_has_the_same_bits_in_one_part_in_two_and_after_another(tiny, kind):
    whole = answer(kind(16, 0.01, 3).then(batch_size=10), tiny)
    answer(Recipe.adam(7, 0.1, 1), tiny, 5)  # leaves other weights and other Adam moments behind
    part = answer(kind(16, 0.01, 2), tiny)
    same_bits(answer(kind(16, 0.01, 3).then(batch_size=10), tiny, begun=part), whole)


@pytest.mark.parametrize("stop", [0, 1, 2, 5, 7, 9])
def test_taken_up_from_wherever_it_was_left_it_ends_on_the_same_bits(tiny, stop):
    recipe = Recipe.sgd(16, 0.1, 2).then(optimizer="adam", learning_rate=0.001).then(batch_size=50)
    share, partial = next(itertools.islice(measure(recipe, tiny, 0), stop, None))
    assert not partial.complete and partial.share <= share
    same_bits(answer(recipe, tiny, begun=partial), answer(recipe, tiny))


def test_the_first_epochs_of_a_long_run_are_those_of_a_short_one(tiny):
    short, long = answer(Recipe.sgd(16, 0.1, 2), tiny), answer(Recipe.sgd(16, 0.1, 4), tiny)
    for name in ("test_loss", "train_accuracy", "cosines", "loss"):
        np.testing.assert_array_equal(short.columns[name], long.columns[name][: len(short.columns[name])])


def test_seeds_decide_the_start_and_the_order(tiny):
    starts = [np.concatenate([w.ravel() for w in initial_weights(tiny.architecture, seed)]) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.mean(starts[0] == starts[2]) < 0.01
    orders = [epoch_order(50, seed, epoch) for seed, epoch in ((0, 1), (1, 0), (0, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert not any((a == b).all() for a, b in ((orders[0], orders[1]), (orders[0], orders[2]), (orders[1], orders[2])))


def test_a_run_that_diverges_is_a_result(tiny):
    result = answer(Recipe.sgd(16, 0.1, 1).then(learning_rate=1e20, epochs=2), tiny)
    assert result.about["diverged"]
    assert np.isfinite(result.columns["test_accuracy"]).tolist() == [True, True, False, False]
    assert (len(result.columns["loss"]), len(result.columns["seconds"])) == (3 * 4, 3)
    assert np.isnan(result.columns["final_train_loss"])
    further = answer(
        Recipe.sgd(16, 0.1, 1).then(learning_rate=1e20, epochs=2).then(learning_rate=0.1), tiny, begun=result
    )
    assert further.about["diverged"] and len(further.columns["test_accuracy"]) == 6


@pytest.mark.parametrize("batch_size", [1, 49, 50])
def test_the_extreme_batch_sizes_train(tiny, batch_size):
    result = answer(Recipe.sgd(batch_size, 0.01, 1), tiny)
    assert len(result.columns["loss"]) == -(-50 // batch_size)
    assert result.columns["train_loss"][1] < result.columns["train_loss"][0]


def test_nothing_is_traced_or_compiled_twice_for_a_batch_size(tiny):
    from bstudy.measure import model, train

    answer(Recipe.sgd(16, 0.1, 1), tiny)
    network = model.shared(tiny.architecture)
    steps = train.compiled_steps(network, train.optimizer_of(network, "sgd"), 16, False)
    before = steps.experimental_get_tracing_count()
    answer(Recipe.sgd(16, 0.3, 2), tiny, 7)
    assert steps.experimental_get_tracing_count() == before == 1
