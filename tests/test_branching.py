"""Branches of a training, compared with Recipes, and the noise of its steps, compared with NumPy."""

import numpy as np
import pytest

from bstudy import Branching, Recipe, geometric_mean, largest_tolerated
from bstudy.errors import InvalidInput
from bstudy.trainer import weights_of

SIZES = (5, 10, 25, 50)  # of 50 samples: a branch of 50 is an epoch
EXPERIMENT = Branching(SIZES, 0.1, (0, 50, 150), 50, repeats=1, noise_steps=3, noise_batch_size=10)


def test_a_branch_is_a_recipe_with_another_batch_size_and_learning_rate(measure_small):
    columns = measure_small(EXPERIMENT).columns
    for i, size in enumerate(SIZES):
        change = {"batch_size": size, "learning_rate": 0.1 * size / 5}
        recipes = [
            Recipe.sgd(size, 0.1 * size / 5, 1),
            Recipe.sgd(5, 0.1, 1).then(**change),
            Recipe.sgd(5, 0.1, 3).then(epochs=1, **change),
        ]
        ends = [measure_small(recipe).columns["train_subset_loss"][-1] for recipe in recipes]
        np.testing.assert_array_equal(columns["loss"][:, 0, i], ends)
    run = measure_small(Recipe.sgd(5, 0.1, 3)).columns["train_subset_loss"]
    np.testing.assert_array_equal(columns["checkpoint_loss"], run[[0, 1, 3]])


def test_a_repeat_sees_the_samples_that_follow(measure_small):
    twice = measure_small(Branching(SIZES, 0.1, (50,), 50, repeats=2, noise_steps=1, noise_batch_size=25)).columns[
        "loss"
    ][0]
    np.testing.assert_array_equal(twice[0], measure_small(EXPERIMENT).columns["loss"][1, 0])
    assert (twice[0] != twice[1])[:-1].all()  # the last one has all samples, which may give the same loss


def test_branches_may_begin_and_end_within_an_epoch(measure_small):
    """Two branches of 25 samples, one after the other, are an epoch of 50."""
    halves = measure_small(Branching((5, 25), 0.1, (0, 25), 25, repeats=1, noise_steps=1, noise_batch_size=25)).columns
    assert halves["loss"][0, 0, 0] == halves["checkpoint_loss"][1]
    assert halves["loss"][1, 0, 0] == measure_small(EXPERIMENT).columns["checkpoint_loss"][1]


def test_the_noise_is_that_of_gradients_in_numpy(tiny, measure_small, numpy_gradients):
    columns = measure_small(EXPERIMENT).columns
    weights = [np.float64(weight) for weight in weights_of(measure_small(Recipe.sgd(5, 0.1, 1)).state)]
    rows = np.random.default_rng([0, 50, 10]).integers(50, size=(3, 20), dtype=np.int32)

    def gradient(rows):
        parts = numpy_gradients(weights, tiny.x_train[rows], tiny.y_train[rows])[1]
        return parts, np.concatenate([part.ravel() for part in parts])

    for step in range(3):
        (_, one), (_, other) = gradient(rows[step, :10]), gradient(rows[step, 10:])
        square = one @ other  # they are independent, so no noise is in the mean
        trace = 10 * ((one @ one + other @ other) / 2 - square)
        assert columns["squared_gradient_norm"][1, step] == pytest.approx(square, rel=1e-3)
        assert columns["noise_trace"][1, step] == pytest.approx(trace, rel=1e-3)
        moved, _ = gradient(rows[step, :5])
        weights = [weight - 0.1 * part for weight, part in zip(weights, moved, strict=True)]


def test_resuming_gives_the_same_bits(measure, measure_small, steps_of, small_model, assert_same_bits):
    whole = measure_small(EXPERIMENT)
    starts = [each for _, each in steps_of(EXPERIMENT, model=small_model) if 0 < each.progress < 1]
    assert {round(3 * each.progress) for each in starts} == {1, 2}
    for start in (starts[0], starts[-1]):
        assert_same_bits(measure_small(EXPERIMENT, resume_from=start), whole)


def test_a_branch_that_diverges_is_outside_the_tolerance(measure_small):
    result = measure_small(Branching(SIZES, 1e20, (0,), 50, repeats=1, noise_steps=1, noise_batch_size=25))
    assert np.isnan(result.columns["loss"]).all()
    assert not result.diverged  # the training, at its only checkpoint, did not
    later = measure_small(Branching(SIZES, 1e20, (0, 50), 50, repeats=1, noise_steps=1, noise_batch_size=25))
    assert later.diverged
    assert np.isnan(later.columns["squared_gradient_norm"][1]).all()
    assert largest_tolerated((8, 16, 32), [1.0, 1.0, np.nan], 0.1) == 16


def test_the_largest_tolerated_batch_size_is_interpolated_by_logarithms():
    sizes = (8, 16, 32, 64)
    ratios = [[1.0, 1.0, 1.21, 9.0], [1.0, 0.9, 1.05, 1.1], [1.0, 1.2, 1.0, 1.0], [np.nan, 1.0, 1.0, 1.0]]
    found = largest_tolerated(sizes, ratios, 0.1)
    first_above = np.log(1.1) / np.log(1.2)
    np.testing.assert_allclose(found[:3], [16 * 2**0.5, 64, 8 * 2**first_above])
    assert np.isnan(found[3])


def test_a_geometric_mean_has_no_value_if_a_branch_diverged():
    np.testing.assert_allclose(geometric_mean([[1.0, 4.0], [1.0, np.nan]], axis=1), [2.0, np.nan])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 30}, "samples must be a multiple of every batch size; 30 is not one of 25"),
        ({"checkpoints": (0, 20)}, "checkpoints must be multiples of samples, 50; not 20"),
        ({"checkpoints": ()}, "checkpoints must hold at least one number of samples"),
        ({"noise_batch_size": 4}, "noise_batch_size must be at least 5, not 4"),
    ],
)
def test_what_cannot_be_branched_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        Branching(**{"batch_sizes": SIZES, "learning_rate": 0.1, "checkpoints": (0,), "samples": 50} | changes)
