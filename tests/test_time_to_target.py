"""Training to a target accuracy."""

import itertools

import numpy as np
import pytest

from bstudy import Recipe, Runs, TimeToTarget, steps_and_best
from bstudy.errors import InvalidInput
from bstudy.trainer import Trainer


def test_the_target_is_reached_when_a_recipe_reaches_it(measure):
    accuracy = measure(Recipe.sgd(16, 0.05, 20)).columns["test_accuracy"]
    found = measure(TimeToTarget.sgd(16, 0.05, 20, float(accuracy.max()))).columns
    assert 0 < found["epochs"] <= np.argmax(accuracy)  # a recipe is only evaluated after each epoch
    assert found["seconds"] > 0
    epochs, rest = divmod(found["steps"], 4)  # 50 samples are three batches of 16, and one of 2
    assert found["epochs"] == pytest.approx(epochs + min(rest * 16, 50) / 50)


@pytest.mark.parametrize("batch_size", [2, 4, 16])
def test_steps_are_counted_exactly(measure, monkeypatch, batch_size):
    steps_per_epoch = -(-50 // batch_size)
    counts = range(1, 2 * steps_per_epoch + 1)
    reached = []
    for count in counts:
        accuracies = itertools.chain([0] * (count - 1), itertools.repeat(100))  # evaluated after every step
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "evaluate", lambda *_, accuracies=accuracies: (1.0, next(accuracies)))
            reached.append(measure(TimeToTarget.sgd(batch_size, 0.01, 2, 100)).columns["steps"])
    assert reached == [*counts]


def test_a_target_that_is_not_reached_takes_infinitely_long(measure):
    result = measure(TimeToTarget.sgd(50, 1e-6, 2, 100))
    assert result.columns == dict.fromkeys(("steps", "epochs", "seconds"), np.inf)
    assert not result.diverged


def test_a_run_that_diverges_has_no_time(measure):
    result = measure(TimeToTarget.sgd(16, 1e20, 2, 99))
    assert np.isnan(list(result.columns.values())).all()
    assert result.diverged


@pytest.mark.parametrize("stop", [5, 9])
def test_resuming_ends_at_the_same_step(measure, steps_of, stop):
    experiment = TimeToTarget.sgd(16, 0.001, 4, 99.9)
    _, checkpoint = next(itertools.islice(steps_of(experiment), stop, None))
    assert 0 < checkpoint.progress < 1
    resumed, whole = measure(experiment, resume_from=checkpoint).columns, measure(experiment).columns
    assert resumed["steps"] == whole["steps"]
    assert resumed["epochs"] == whole["epochs"]


@pytest.mark.parametrize("wrong", [0, 0.95, 101, np.nan, True])
def test_a_target_is_in_percent(wrong):
    with pytest.raises(InvalidInput, match="accuracy must be in percent"):
        TimeToTarget.sgd(16, 0.1, 2, wrong)


def test_the_best_rate_takes_the_fewest_steps_and_did_not_diverge():
    def runs(size, rate, steps):
        experiment = TimeToTarget.sgd(size, rate, 9, 90)
        return Runs(experiment, (0, 1), {"steps": np.array(steps), "epochs": np.array(steps) / 100}, (False, False))

    grid = {
        8: {0.1: runs(8, 0.1, [300, 400]), 0.2: runs(8, 0.2, [200, np.nan])},
        16: {0.1: runs(16, 0.1, [150, np.inf]), 0.2: runs(16, 0.2, [160, 170])},
    }
    sizes, first, best = steps_and_best(grid, "epochs")
    assert sizes.tolist() == [8, 16]
    np.testing.assert_array_equal(first, [[3, 1.5], [4, np.inf]])
    np.testing.assert_array_equal(best, [[2, 1.5], [4, 1.7]])
