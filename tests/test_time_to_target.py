"""Training to a target accuracy, compared with a plain loop in NumPy, and the search of the best learning rate."""

import functools
import itertools

import numpy as np
import pytest

from bstudy import TimeToTarget, TunedTimeToTarget
from bstudy.errors import InvalidInput
from bstudy.experiments.recipe import Phase
from bstudy.models import find_model
from bstudy.trainer import Trainer, epoch_permutation

COLUMNS = ("steps", "epochs")


def accuracy_of(weights, x, y):
    w1, b1, w2, b2, w3, b3 = weights
    hidden = np.maximum(np.maximum(x.reshape(len(x), -1) @ w1 + b1, 0) @ w2 + b2, 0)
    return 100 * np.mean((hidden @ w3 + b3).argmax(axis=1) == y)


@pytest.fixture
def small_steps(steps_of, small_model):
    return functools.partial(steps_of, model=small_model)


@pytest.fixture
def run_small(measure, small_model):
    return functools.partial(measure, model=small_model)


@pytest.fixture
def numpy_times(tiny, small_model, get_trainer, numpy_gradients):
    def times(batch_size, learning_rate, target, data, epochs=20):
        """Return (steps, epochs) to a target by a plain loop, evaluated at the samples of the docstring."""
        weights = [weight.astype(float) for weight in get_trainer(tiny, find_model(small_model)).initial_weights(0)]
        sets = {"train": (tiny.x_train, tiny.y_train), "test": (tiny.x_test, tiny.y_test)}
        seen, steps, next_evaluation, best = 0, 0, 50 / 8, 0
        for epoch in range(epochs):
            order = epoch_permutation(50, 0, epoch)
            for first in range(0, 50, batch_size):
                rows = order[first : first + batch_size]
                _, gradients = numpy_gradients(weights, tiny.x_train[rows], tiny.y_train[rows])
                weights = [w - learning_rate * g for w, g in zip(weights, gradients, strict=True)]
                seen, steps = seen + len(rows), steps + 1
                if seen < next_evaluation:
                    continue
                accuracy = accuracy_of(weights, *sets[data])
                best = max(best, accuracy)
                if accuracy >= target:
                    return steps, seen / 50
                growth = 1.05 if 100 - best <= 2 * (100 - target) else 1.4
                while next_evaluation <= seen:
                    next_evaluation *= growth
        return np.inf, np.inf

    return times


@pytest.mark.parametrize(("batch_size", "rate"), [(1, 0.01), (4, 0.05), (16, 0.1), (50, 0.3)])
def test_the_result_is_that_of_a_plain_loop(run_small, numpy_times, batch_size, rate):
    for data in ("train", "test"):
        columns = run_small(TimeToTarget(Phase(batch_size, rate, 20), 85, data)).columns
        assert (columns["steps"], columns["epochs"]) == pytest.approx(numpy_times(batch_size, rate, 85, data))
        assert 1 < columns["steps"] < np.inf


@pytest.mark.parametrize("batch_size", [4, 16])
def test_steps_are_counted_exactly(run_small, monkeypatch, batch_size):
    """Also at the end of an epoch, where the last batch is smaller."""
    epoch = -(-50 // batch_size)
    counts = [1, 2, epoch, epoch + 1, 2 * epoch]
    reached = []
    for count in counts:
        with monkeypatch.context() as patch:
            accuracies = itertools.chain([99.9] * (count - 1), itertools.repeat(100))
            patch.setattr(Trainer, "evaluate", lambda *_, accuracies=accuracies: (1.0, next(accuracies)))
            patch.setattr("bstudy.experiments.time_to_target.FIRST_EVALUATION", 0.01)
            patch.setattr("bstudy.experiments.time_to_target.FAR", 1.001)
            patch.setattr("bstudy.experiments.time_to_target.NEAR", 1.001)
            patch.setattr("bstudy.experiments.time_to_target.HOPELESS", 1000)
            reached.append(run_small(TimeToTarget.sgd(batch_size, 0.01, 2, 100)).columns["steps"])
    assert reached == counts


def test_a_hopeless_run_ends_early_and_has_not_reached_the_target(small_steps):
    *_, (before, _), (_, result) = small_steps(TimeToTarget.sgd(50, 1e-6, 1000, 100))
    assert before < 0.1
    assert result.columns == dict.fromkeys(COLUMNS, np.inf)
    assert not result.diverged


def test_a_run_that_diverges_has_no_time(run_small):
    result = run_small(TimeToTarget.sgd(16, 1e20, 2, 99))
    assert np.isnan(list(result.columns.values())).all()
    assert result.diverged


@pytest.mark.parametrize("stop", [5, 7])
def test_resuming_ends_at_the_same_step(run_small, small_steps, stop):
    experiment = TimeToTarget.sgd(16, 0.05, 40, 90)
    _, checkpoint = next(itertools.islice(small_steps(experiment), stop, None))
    assert 0 < checkpoint.progress < 1
    whole = run_small(experiment).columns
    assert np.isfinite(whole["steps"])
    assert run_small(experiment, resume_from=checkpoint).columns == whole


@pytest.mark.parametrize("wrong", [0, 0.95, 101, np.nan, True])
def test_a_target_is_in_percent(wrong):
    with pytest.raises(InvalidInput, match="accuracy must be in percent"):
        TimeToTarget.sgd(16, 0.1, 2, wrong)


def test_the_search_ends_between_two_rates_that_are_no_better(run_small):
    tuned = run_small(TunedTimeToTarget.sgd(16, 0.1, 20, 85)).columns
    rates, steps = tuned["rates"], tuned["rate_steps"]
    assert rates[6] == 0.1
    assert rates[[0, -1]] == pytest.approx([0.1 / 64, 6.4])
    best = np.flatnonzero(rates == tuned["learning_rate"])[0]
    assert tuned["tried"][best - 1 : best + 2].all()
    assert tuned["tried"].sum() < 8
    assert np.isnan(steps[tuned["tried"] == 0]).all()
    assert steps[best] == tuned["train_steps"] == np.nanmin(steps)
    assert not (steps[[best - 1, best + 1]] < steps[best]).any()
    alone = run_small(TimeToTarget.sgd(16, float(tuned["learning_rate"]), 20, 85)).columns
    first = run_small(TimeToTarget.sgd(16, 0.1, 20, 85)).columns
    assert {name: tuned[name] for name in COLUMNS} == alone
    assert [tuned["first_steps"], tuned["first_epochs"]] == [first["steps"], first["epochs"]]
    for number in np.flatnonzero(tuned["tried"]):  # ending early does not change which one is the best
        complete = run_small(TimeToTarget(Phase(16, float(rates[number]), 20), 85, "train")).columns["steps"]
        assert steps[number] in (complete, np.inf)
        assert complete >= steps[best]


def test_a_search_in_which_all_rates_diverge_goes_down(run_small):
    tuned = run_small(TunedTimeToTarget.sgd(16, 1e20, 20, 85))
    assert tuned.diverged
    assert np.isnan([tuned.columns[name] for name in ("steps", "epochs", "first_steps", "first_epochs")]).all()
    assert tuned.columns["tried"][0] == 1


def test_a_search_resumes_with_the_next_rate(run_small, small_steps):
    experiment = TunedTimeToTarget(Phase(16, 0.1, 20), 85)
    whole = run_small(experiment).columns
    checkpoints = {}
    for _, checkpoint in small_steps(experiment):
        if not checkpoint.complete:
            checkpoints.setdefault(checkpoint.progress, checkpoint)
    assert len(checkpoints) >= 3
    for checkpoint in checkpoints.values():
        resumed = run_small(experiment, resume_from=checkpoint).columns
        assert resumed.keys() == whole.keys()
        for name, column in whole.items():
            np.testing.assert_array_equal(resumed[name], column, err_msg=name)
