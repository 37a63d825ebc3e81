"""Training by phases, compared with NumPy and with a plain Keras loop."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from bstudy import Lab, Phase, Recipe
from bstudy.errors import InvalidInput
from bstudy.experiments.base import canonical
from bstudy.models import MLP
from bstudy.trainer import epoch_permutation, subset_rows, wrong_labels

START = Recipe.sgd(1024, 0.01, 30)
THREE_PHASES = Recipe.sgd(16, 0.1, 2).then(optimizer="adam", learning_rate=0.001).then(batch_size=50)
DIVERGING = Recipe.sgd(16, 0.1, 1).then(learning_rate=1e20, epochs=2)


def weights(result):
    return [result.state[f"weight_{i}"] for i in range(6)]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (START, "1024 at 0.01 for 30 epochs"),
        (START.then(batch_size=64), "1024 at 0.01 for 30, then 64 for 30 epochs"),
        (START.then(learning_rate=0.1, epochs=1), "1024 at 0.01 for 30, then at 0.1 for 1 epoch"),
        (Recipe.adam(64, 0.01, 2).then(optimizer="sgd"), "Adam 64 at 0.01 for 2, then SGD for 2 epochs"),
        (
            Recipe((Phase(64, 0.1, 2, momentum=0.9, warmup_epochs=1),)),
            "64 at 0.1 with momentum 0.9 and warmup epochs 1 for 2 epochs",
        ),
        (dataclasses.replace(START, replicas=2), "1024 at 0.01 for 30 epochs on 2 replicas"),
        (Recipe.sgd(8, 0.1, 1, label_noise=0.2), "8 at 0.1 for 1 epoch with 20 % wrong labels"),
        (Recipe.sgd(8, 0.1, 2, samples=40), "8 at 0.1 for 2 epochs on 40 samples"),
    ],
)
def test_a_recipe_has_a_label_and_a_repr_that_can_be_evaluated(recipe, words):
    assert str(recipe) == words
    assert eval(repr(recipe)) == recipe


def test_phases_that_do_not_differ_become_one():
    assert START.then() == Recipe.sgd(1024, 0.01, 60)
    assert START.then(epochs=10).epochs == 40
    assert len(START.then(batch_size=64).phases) == 2


def test_the_beginning_of_a_recipe_is_cut_at_an_epoch():
    longer = START.then(batch_size=64)
    assert longer.first(31) == START.then(batch_size=64, epochs=1)
    assert longer.first(30) == START
    assert longer.phase(29).batch_size == 1024
    assert longer.phase(30).batch_size == 64
    assert longer.batch_size == 64
    with pytest.raises(IndexError):
        longer.phase(60)


def test_steps_include_the_smaller_last_batch():
    assert Recipe.sgd(64, 0.1, 2).then(batch_size=100, epochs=1).steps(130).tolist() == [0, 3, 6, 8]


def test_a_learning_rate_is_rounded_to_twelve_digits():
    assert Phase(8, 0.1 * 3, 1) == Phase(8, 0.3, 1)
    assert Phase(8, 1e-30, 1).learning_rate == 1e-30


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        START.phases[0].batch_size = 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe.sgd(0, 0.01, 1), "batch_size must be a whole number from 1 to 2147483647, not 0"),
        (lambda: Recipe.sgd(2.5, 0.01, 1), "batch_size"),
        (lambda: Recipe.sgd(True, 0.01, 1), "batch_size"),
        (lambda: Recipe.sgd("64", 0.01, 1), "batch_size"),
        (lambda: Recipe.sgd(64, -0.1, 1), "learning_rate must be a positive, finite number, not -0.1"),
        (lambda: Recipe.sgd(64, math.nan, 1), "learning_rate"),
        (lambda: Recipe.sgd(64, math.inf, 1), "learning_rate"),
        (lambda: Recipe.sgd(64, "0.1", 1), "learning_rate"),
        (lambda: Recipe.sgd(64, 0.01, 0), "epochs"),
        (lambda: Recipe.sgd(64, 0.01, 10**9), "epochs must be a whole number from 1 to 100000"),
        (lambda: Phase(64, 0.01, 1, "rmsprop"), "optimizer must be 'sgd' or 'adam', not 'rmsprop'"),
        (lambda: Phase(64, 0.01, 1, momentum=1.0), "momentum must be a number from 0 to less than 1, not 1.0"),
        (lambda: Phase(64, 0.01, 1, weight_decay=-1.0), "weight_decay must be a positive, finite number, not -1.0"),
        (lambda: Phase(64, 0.01, 1, warmup_epochs=-1), "warmup_epochs must be a whole number from 1 to 100000, not -1"),
        (lambda: Phase(64, 0.01, 1, "adam", momentum=0.9), "momentum is no setting of adam"),
        (lambda: Phase(64, 0.01, 1, beta_2=0.9), "beta_2 is no setting of sgd"),
        (lambda: START.then(batchsize=64), "a phase has no 'batchsize'; it has batch_size"),
        (lambda: Recipe(()), "a recipe has 1 to 1000 phases, not 0"),
        (lambda: Recipe(START.phases, replicas=0), "replicas"),
        (lambda: Recipe.sgd(8, 0.1, 1, samples=0), "samples must be a whole number from 1 to 2147483647, not 0"),
        (lambda: Recipe.sgd(8, 0.1, 1, label_noise=1), "label_noise must be a number from 0 to less than 1, not 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


def test_a_batch_larger_than_the_training_set_is_refused(tiny):
    with pytest.raises(InvalidInput, match="1024 is larger than the training set of tiny, which has 50"):
        START.validate(tiny)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe.sgd(8, 0.1, 1, samples=51), "samples must be at most 50, the size of the training set of tiny, not 51"),
        (Recipe.sgd(8, 0.1, 1, samples=4), "batch_size 8 is larger than samples, 4"),
    ],
)
def test_more_samples_than_there_are_are_refused(tiny, recipe, message):
    with pytest.raises(InvalidInput, match=message):
        recipe.validate(tiny)


def test_the_samples_are_nested_and_all_of_them_are_the_training_set():
    assert set(subset_rows(50, 10)) < set(subset_rows(50, 20))
    assert subset_rows(50, 20).tolist() != list(range(20))
    np.testing.assert_array_equal(subset_rows(50, 50), np.arange(50))
    np.testing.assert_array_equal(subset_rows(50, None), np.arange(50))


def numpy_training(numpy_gradients, data, initial, batch_size, epochs, update):
    """Return the weights and the losses; `update(step, weight index, gradient, weight)` returns what is subtracted."""
    now, losses = [weight.astype(np.float64) for weight in initial], []
    for epoch in range(epochs):
        order = epoch_permutation(len(data.x_train), 0, epoch)
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            loss, gradients = numpy_gradients(now, data.x_train[batch], data.y_train[batch])
            losses.append(loss)
            now = [w - update(len(losses), i, g, w) for i, (w, g) in enumerate(zip(now, gradients, strict=True))]
    return now, losses


def test_sgd_equals_numpy_including_the_smaller_last_batch(tiny, measure, get_trainer, numpy_gradients):
    result, initial = measure(Recipe.sgd(16, 0.1, 2)), get_trainer(tiny).initial_weights(0)
    expected, losses = numpy_training(numpy_gradients, tiny, initial, 16, 2, lambda step, i, g, w: 0.1 * g)
    assert len(losses) == 2 * 4  # 50 samples are three batches of 16, and one of 2
    np.testing.assert_allclose(result.columns["loss"], losses, rtol=1e-4)
    for ours, theirs in zip(weights(result), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_adam_equals_numpy(tiny, measure, get_trainer, numpy_gradients):
    first, second = [0.0] * 6, [0.0] * 6

    def update(step, i, g, w):  # Kingma and Ba 2015, in the form at the end of section 2, as in Keras
        first[i] = 0.9 * first[i] + 0.1 * g
        second[i] = 0.999 * second[i] + 0.001 * g**2
        rate = 0.001 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        return rate * first[i] / (np.sqrt(second[i]) + 1e-7)

    measure(Recipe.sgd(50, 0.001, 1))  # leaves a compiled function of this batch size with another optimizer
    result, initial = measure(Recipe.adam(50, 0.001, 2)), get_trainer(tiny).initial_weights(0)
    expected, losses = numpy_training(numpy_gradients, tiny, initial, 50, 2, update)
    np.testing.assert_allclose(result.columns["loss"], losses, rtol=1e-3)
    for ours, theirs in zip(weights(result), expected, strict=True):
        # the sign of a gradient that is only rounding decides the direction of a step
        assert np.mean(np.abs(ours - theirs)) < 2e-5


def assert_equals_numpy(measure, get_trainer, numpy_gradients, tiny, phase, update):
    result, initial = measure(Recipe((phase,))), get_trainer(tiny).initial_weights(0)
    arguments = tiny, initial, phase.batch_size, phase.epochs, update
    expected, losses = numpy_training(numpy_gradients, *arguments)
    np.testing.assert_allclose(result.columns["loss"], losses, rtol=1e-3)
    for ours, theirs, start in zip(weights(result), expected, initial, strict=True):
        assert np.mean(np.abs(ours - theirs)) < 1e-2 * np.mean(np.abs(theirs - start))


def test_momentum_and_weight_decay_equal_numpy(tiny, measure, get_trainer, numpy_gradients):
    velocity = [0.0] * 6

    def update(step, i, g, w):
        velocity[i] = 0.9 * velocity[i] - 0.05 * g
        return 0.05 * 0.1 * w - velocity[i]

    phase = Phase(16, 0.05, 2, momentum=0.9, weight_decay=0.1)
    assert_equals_numpy(measure, get_trainer, numpy_gradients, tiny, phase, update)


def test_the_settings_of_adam_equal_numpy(tiny, measure, get_trainer, numpy_gradients):
    first, second = [0.0] * 6, [0.0] * 6

    def update(step, i, g, w):  # Loshchilov and Hutter (2019), algorithm 2
        first[i] = 0.5 * first[i] + 0.5 * g
        second[i] = 0.8 * second[i] + 0.2 * g**2
        rate = 0.001 * np.sqrt(1 - 0.8**step) / (1 - 0.5**step)
        return rate * first[i] / (np.sqrt(second[i]) + 0.01) + 0.001 * 0.1 * w

    phase = Phase(16, 0.001, 2, "adam", beta_1=0.5, beta_2=0.8, epsilon=0.01, weight_decay=0.1)
    assert_equals_numpy(measure, get_trainer, numpy_gradients, tiny, phase, update)


def test_a_warm_up_equals_numpy(tiny, measure, get_trainer, numpy_gradients):
    def update(step, i, g, w):  # four steps an epoch
        return 0.2 * min(1, step / 8) * g

    phase = Phase(16, 0.2, 3, warmup_epochs=2)
    assert_equals_numpy(measure, get_trainer, numpy_gradients, tiny, phase, update)


def test_a_run_with_a_warm_up_is_resumed_to_the_same_bits(measure, assert_same_bits):
    recipe = Recipe((Phase(16, 0.1, 4, momentum=0.5, warmup_epochs=3),)).then(batch_size=50, epochs=1)
    assert recipe.phases[1].warmup_epochs == 0
    assert recipe.phases[1].momentum == 0.5
    assert_same_bits(measure(recipe, resume_from=measure(recipe.first(2))), measure(recipe))


def test_a_setting_that_is_its_default_leaves_the_key_as_it_was(tiny):
    plain = Recipe.sgd(16, 0.1, 1)
    names = [set(phase) for phase in canonical(plain)["phases"]]
    assert names == [{"batch_size", "learning_rate", "epochs", "optimizer"}]
    changed = Recipe((Phase(16, 0.1, 1, momentum=0.9),))
    assert changed.key(tiny, MLP, 0) != plain.key(tiny, MLP, 0)


def test_wrong_labels_are_as_many_as_stated_and_uniform_over_the_other_classes():
    labels = np.arange(3000, dtype=np.int32) % 3
    noisy = wrong_labels(labels, 3, 0.3, seed=5)
    assert noisy.dtype == np.int32
    assert (noisy != labels).sum() == 900
    counts = np.histogram2d(labels, noisy, 3)[0] / 1000  # of each true and each other class
    np.testing.assert_allclose(counts, 0.7 * np.eye(3) + 0.15 * (1 - np.eye(3)), atol=0.05)
    np.testing.assert_array_equal(noisy, wrong_labels(labels, 3, 0.3, seed=5))
    assert 500 < (noisy != wrong_labels(labels, 3, 0.3, seed=6)).sum() < 2000
    assert np.mean(np.flatnonzero(noisy != labels)) == pytest.approx(1500, abs=100)


def test_training_on_wrong_labels_equals_numpy_and_is_evaluated_on_the_true_ones(
    tiny, measure, get_trainer, numpy_gradients
):
    recipe = Recipe.sgd(16, 0.1, 2, label_noise=0.4)
    result, initial = measure(recipe), get_trainer(tiny).initial_weights(0)
    noisy = dataclasses.replace(tiny, y_train=wrong_labels(tiny.y_train, 3, 0.4, seed=0))
    assert (noisy.y_train != tiny.y_train).sum() == 20
    expected, losses = numpy_training(numpy_gradients, noisy, initial, 16, 2, lambda step, i, g, w: 0.1 * g)
    np.testing.assert_allclose(result.columns["loss"], losses, rtol=1e-4)
    for ours, theirs in zip(weights(result), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    loss, _ = numpy_gradients(weights(result), tiny.x_train, tiny.y_train)
    for name in ("train_subset_loss", "final_train_loss"):
        assert np.ravel(result.columns[name])[-1] == pytest.approx(loss, rel=1e-4)


def test_training_on_some_samples_equals_numpy_on_a_smaller_data_set(tiny, measure, get_trainer, numpy_gradients):
    recipe = Recipe.sgd(16, 0.1, 3, samples=20)
    result, initial = measure(recipe), get_trainer(tiny).initial_weights(0)
    rows = subset_rows(50, 20)
    smaller = dataclasses.replace(tiny, x_train=tiny.x_train[rows], y_train=tiny.y_train[rows])
    expected, losses = numpy_training(numpy_gradients, smaller, initial, 16, 3, lambda step, i, g, w: 0.1 * g)
    assert recipe.steps(50).tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(recipe.clock(50), [0, 0.2, 0.4, 0.6])
    np.testing.assert_allclose(result.columns["loss"], losses, rtol=1e-4)
    for ours, theirs in zip(weights(result), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    loss, _ = numpy_gradients(weights(result), smaller.x_train, smaller.y_train)
    for name in ("train_subset_loss", "final_train_loss"):
        assert np.ravel(result.columns[name])[-1] == pytest.approx(loss, rel=1e-4)


def test_training_on_all_samples_by_number_has_the_same_bits(tiny, measure, assert_same_bits):
    recipe = Recipe.sgd(16, 0.1, 2)
    assert_same_bits(measure(dataclasses.replace(recipe, samples=50)), measure(recipe))


def test_the_fraction_of_wrong_labels_is_that_of_the_samples_used(tiny, measure, numpy_gradients, get_trainer):
    result = measure(Recipe.sgd(20, 0.1, 1, samples=20, label_noise=0.5))
    rows = subset_rows(50, 20)
    noisy = wrong_labels(tiny.y_train[rows], 3, 0.5, seed=0)
    assert (noisy != tiny.y_train[rows]).sum() == 10
    loss, _ = numpy_gradients(get_trainer(tiny).initial_weights(0), tiny.x_train[rows], noisy)
    assert result.columns["loss"][0] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("changes", [{}, {"label_noise": 0.2}, {"label_noise": 0.2, "samples": 50}, {"samples": 30}])
def test_labels_and_samples_belong_to_the_whole_run_and_not_to_the_next_one(tiny, measure, assert_same_bits, changes):
    recipe = dataclasses.replace(Recipe.sgd(16, 0.1, 1).then(batch_size=30), **changes)
    whole = measure(recipe)
    first = measure(recipe.first(1))
    measure(Recipe.sgd(16, 0.1, 1, label_noise=0.4))
    assert_same_bits(measure(recipe, resume_from=first), whole)


def test_the_compiled_loop_equals_a_plain_keras_loop(tiny, measure, get_trainer):
    import keras
    import tensorflow as tf

    model = get_trainer(tiny).build_model()
    model.set_weights(get_trainer(tiny).initial_weights(3))
    loss_function, optimizer = keras.losses.SparseCategoricalCrossentropy(from_logits=True), keras.optimizers.SGD(0.05)
    order = epoch_permutation(50, 3, 0)
    for first in range(0, 50, 20):
        x, y = tiny.x_train[order[first : first + 20]], tiny.y_train[order[first : first + 20]]
        with tf.GradientTape() as tape:
            loss = loss_function(y, model(x))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    result = measure(Recipe.sgd(20, 0.05, 1), seed=3)
    for ours, theirs in zip(weights(result), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.fixture(scope="module")
def two_epochs(measure):
    return measure(Recipe.sgd(16, 0.1, 2, record_norms=True))


def test_columns_have_their_shapes(two_epochs):
    shapes = {name: column.shape for name, column in two_epochs.columns.items()}
    epochs = ("test_accuracy", "test_loss", "train_subset_accuracy", "train_subset_loss")
    norms = ("weight_distance", "bias_distance", "weight_norm", "bias_norm")
    assert shapes == {
        **dict.fromkeys((*epochs, *norms), (3,)),
        **dict.fromkeys(("cosines", "layer_norms"), (3, 3)),
        **dict.fromkeys(("loss", "gradient_norm", "update_norm"), (8,)),
        "seconds": (2,),
        **dict.fromkeys(("final_train_loss", "final_train_accuracy"), ()),
    }


def test_distances_and_norms_are_those_of_the_weights(tiny, two_epochs, get_trainer):
    columns = two_epochs.columns
    end = [weight.astype(float) for weight in weights(two_epochs)]
    start = [weight.astype(float) for weight in get_trainer(tiny).initial_weights(0)]
    moved = np.sqrt(sum(((end[i] - start[i]) ** 2).sum() for i in (0, 2, 4)))
    assert columns["weight_distance"][-1] == pytest.approx(moved, rel=1e-5)
    assert columns["bias_norm"][-1] == pytest.approx(np.sqrt(sum((end[i] ** 2).sum() for i in (1, 3, 5))))
    np.testing.assert_allclose(columns["layer_norms"][-1], [np.linalg.norm(end[i]) for i in (0, 2, 4)], rtol=1e-6)
    cosines = [(end[i] * start[i]).sum() / np.linalg.norm(end[i]) / np.linalg.norm(start[i]) for i in (0, 2, 4)]
    np.testing.assert_allclose(columns["cosines"][-1], cosines, rtol=1e-6)
    assert columns["weight_distance"][0] == 0
    assert columns["cosines"][0] == pytest.approx(1)


def test_losses_and_accuracies_are_those_of_the_weights(tiny, two_epochs, numpy_gradients):
    end, columns = weights(two_epochs), two_epochs.columns
    for part, names in (("test", ["test_loss"]), ("train", ["final_train_loss", "train_subset_loss"])):
        loss, _ = numpy_gradients(end, getattr(tiny, f"x_{part}"), getattr(tiny, f"y_{part}"))
        for name in names:
            assert np.ravel(columns[name])[-1] == pytest.approx(loss, rel=1e-4)
    assert columns["test_accuracy"][-1] % 5 == 0  # percent of 20 samples
    assert 50 < columns["test_accuracy"][-1] <= 100


def test_the_norm_of_a_gradient_is_that_of_numpy(tiny, two_epochs, get_trainer, numpy_gradients):
    rows = epoch_permutation(50, 0, 0)[:16]
    _, gradients = numpy_gradients(get_trainer(tiny).initial_weights(0), tiny.x_train[rows], tiny.y_train[rows])
    columns, norm = two_epochs.columns, np.sqrt(sum((g**2).sum() for g in gradients))
    assert columns["gradient_norm"][0] == pytest.approx(norm, rel=1e-4)
    np.testing.assert_allclose(columns["update_norm"], 0.1 * columns["gradient_norm"], rtol=1e-2)


@pytest.fixture(scope="module")
def three_phases(measure):
    return measure(THREE_PHASES)


@pytest.mark.parametrize("stop", [0, 1, 2, 5, 7, 9])
def test_resuming_anywhere_gives_the_same_bits(measure, steps_of, three_phases, assert_same_bits, stop):
    progress, checkpoint = next(itertools.islice(steps_of(THREE_PHASES), stop, None))
    assert not checkpoint.complete
    assert checkpoint.progress <= progress
    assert_same_bits(measure(THREE_PHASES, resume_from=checkpoint), three_phases)


@pytest.mark.parametrize("kind", [Recipe.sgd, Recipe.adam])
def test_extending_a_shorter_run_gives_the_same_bits(measure, assert_same_bits, kind):
    recipe = kind(16, 0.01, 3).then(batch_size=50)
    whole = measure(recipe)
    shorter = measure(kind(16, 0.01, 2))
    measure(Recipe.adam(50, 0.1, 1), seed=5)  # leaves other weights and other moments of Adam behind
    assert_same_bits(measure(recipe, resume_from=shorter), whole)


def test_a_long_run_begins_like_a_short_one(measure):
    short, long = measure(Recipe.sgd(16, 0.1, 2)), measure(Recipe.sgd(16, 0.1, 4))
    for name in ("test_loss", "train_subset_accuracy", "cosines", "loss"):
        np.testing.assert_array_equal(short.columns[name], long.columns[name][: len(short.columns[name])])


def test_a_run_that_diverges_is_a_result_with_nan_after_it(measure):
    result = measure(DIVERGING)
    assert result.diverged
    assert np.isfinite(result.columns["test_accuracy"]).tolist() == [True, True, False, False]
    assert result.columns["loss"].shape == (3 * 4,)
    assert result.columns["seconds"].shape == (3,)
    assert np.isnan(result.columns["final_train_loss"])


def test_a_run_that_diverged_does_not_recover(measure):
    further = measure(DIVERGING.then(learning_rate=0.1), resume_from=measure(DIVERGING))
    assert further.diverged
    assert further.columns["test_accuracy"].shape == (6,)


@pytest.mark.parametrize("batch_size", [1, 49, 50])
def test_the_extreme_batch_sizes_learn(measure, batch_size):
    columns = measure(Recipe.sgd(batch_size, 0.01, 1)).columns
    assert columns["loss"].shape == (-(-50 // batch_size),)
    assert columns["train_subset_loss"][1] < columns["train_subset_loss"][0]


def test_the_train_subset_and_the_whole_training_set_have_columns_of_their_own(tiny, measure, monkeypatch):
    monkeypatch.setattr("bstudy.experiments.recipe.TRAIN_EVAL_SAMPLES", 20)
    result = measure(Recipe.sgd(50, 0.01, 1))
    monkeypatch.undo()
    whole = measure(Recipe.sgd(50, 0.01, 1))
    assert result.columns["final_train_loss"] == whole.columns["final_train_loss"]
    assert result.columns["train_subset_loss"][-1] != whole.columns["train_subset_loss"][-1]
    assert result.columns["train_subset_accuracy"][-1] % 5 == 0  # percent of 20 samples


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(tiny, small_model):
    run = Lab(tiny, 2, quiet=True, model=small_model).run(Recipe.sgd(16, 0.1, 2).then(batch_size=50))
    loss = run["loss"]
    expected = [loss[:, 4 * epoch : 4 * epoch + 4].mean(axis=1) for epoch in (0, 1)] + [loss[:, 8], loss[:, 9]]
    np.testing.assert_allclose(run["epoch_loss"][:, 1:], np.stack(expected, axis=1), rtol=1e-6)
    assert np.isnan(run["epoch_loss"][:, 0]).all()
