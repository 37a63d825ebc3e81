import dataclasses
import math

import numpy as np
import pytest

from bstudy import Phase, Recipe, Runs
from bstudy.errors import InvalidInput
from bstudy.models import MLP

START = Recipe.sgd(1024, 0.01, 30)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (START, "1024 at 0.01 for 30 epochs"),
        (START.then(batch_size=64), "1024 at 0.01 for 30, then 64 for 30 epochs"),
        (START.then(learning_rate=0.1, epochs=1), "1024 at 0.01 for 30, then at 0.1 for 1 epoch"),
        (Recipe.adam(64, 0.01, 2).then(optimizer="sgd"), "Adam 64 at 0.01 for 2, then SGD for 2 epochs"),
    ],
)
def test_a_recipe_reads_as_words_and_as_the_code_that_makes_it(recipe, words):
    assert str(recipe) == words
    assert eval(repr(recipe)) == recipe


def test_going_on_without_a_change_is_training_longer():
    assert START.then() == Recipe.sgd(1024, 0.01, 60)
    assert START.then(epochs=10).epochs == 40
    assert len(START.then(batch_size=64).phases) == 2
    assert START.then(batch_size=64).cut(31) == START.then(batch_size=64, epochs=1)
    assert START.then(batch_size=64).phase(29).batch_size == 1024
    assert START.then(batch_size=64).phase(30).batch_size == 64


def test_steps_count_the_smaller_last_batch():
    assert Recipe.sgd(64, 0.1, 2).then(batch_size=100, epochs=1).steps(130).tolist() == [0, 3, 6, 8]


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        START.phases[0].batch_size = 2


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "64", None])
def test_wrong_batch_sizes_are_named(batch_size):
    with pytest.raises(InvalidInput, match="batch_size"):
        Recipe.sgd(batch_size, 0.01, 1)


@pytest.mark.parametrize("learning_rate", [0, -0.1, math.nan, math.inf, "0.1", True])
def test_wrong_learning_rates_are_named(learning_rate):
    with pytest.raises(InvalidInput, match="learning_rate"):
        Recipe.sgd(64, learning_rate, 1)


def test_other_wrong_phases_are_named(tiny):
    with pytest.raises(InvalidInput, match="epochs"):
        Recipe.sgd(64, 0.01, 0)
    with pytest.raises(InvalidInput, match="optimizer must be 'sgd' or 'adam'"):
        Phase(64, 0.01, 1, "rmsprop")
    with pytest.raises(InvalidInput, match="no 'batchsize'; it has batch_size"):
        START.then(batchsize=64)
    with pytest.raises(InvalidInput, match="1024 is larger than the training set of tiny, which has 50"):
        START.check(tiny)


class Data:
    fingerprint = "f" * 64
    model = MLP


@pytest.mark.parametrize(
    ("recipe", "seed", "key"),
    [
        (Recipe.sgd(64, 0.01, 30), 0, "5eb9b07de5d837ee"),
        (Recipe.adam(64, 0.01, 30), 1, "c346d3963073ae2b"),
        (START.then(batch_size=64), 2, "0ddfb83488532d78"),
    ],
)
def test_keys_stay_what_they_are(recipe, seed, key):
    """A key that changes throws away what readers have measured: raise VERSION instead, and know why."""
    assert recipe.key(Data, seed)[:16] == key


def test_keys_tell_questions_apart_and_not_spellings():
    questions = [
        START,
        START.then(),
        START.then(batch_size=64),
        Recipe.adam(1024, 0.01, 30),
        Recipe.sgd(1024, 0.02, 30),
        Recipe.sgd(1024, 0.01, 30, norms=True),
    ]
    keys = {recipe.key(Data, seed) for recipe in questions for seed in (0, 1)}
    assert len(keys) == 2 * len(questions)
    assert Recipe.sgd(np.int64(64), 1, 30).key(Data, 0) == Recipe.sgd(64, 1.0, 30).key(Data, np.int64(0))


def test_runs_give_columns_and_name_them_where_one_is_wrong():
    columns = {
        "test_accuracy": np.array([[0.1, 0.5, 0.7], [0.1, 0.4, np.nan]]),
        "final_train_loss": np.array([1.0, 2.0]),
    }
    runs = Runs(START, [0, 1], columns)
    np.testing.assert_equal(runs.final("test_accuracy"), [0.7, np.nan])
    np.testing.assert_allclose(runs.final("test_accuracy", over=5)[0], 0.6)
    np.testing.assert_equal(runs.final("train_loss"), [1, 2])
    assert runs.diverged.tolist() == [False, True]
    with pytest.raises(KeyError, match="no column 'accuracy'; it has final_train_loss, test_accuracy"):
        runs["accuracy"]
