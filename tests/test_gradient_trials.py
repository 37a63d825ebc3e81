"""Gradient trials, compared with a loop in NumPy."""

import itertools

import numpy as np
import pytest

from bstudy import GradientTrials, Recipe
from bstudy.errors import InvalidInput
from bstudy.experiments.base import Context
from bstudy.experiments.gradient_trials import BLOCKS, EDGES, add_trial, empty_columns, share_work, trial_rows

START = Recipe.sgd(16, 0.1, 1)
SIZES = (1, 3, 4, 16)


def trials(**changes):
    return GradientTrials(START, **{"batch_sizes": SIZES, "trials": 3, "samples": 16, "learning_rate": 0.3} | changes)


def rows_of(dataset, experiment, seed=0):
    context = Context(dataset, seed, get_trainer=None)
    return [trial_rows(experiment, context, trial) for trial in range(3)]


def numpy_trial(numpy_gradients, data, weights, rows, batch_size, learning_rate):
    """Return the last kernel's gradient, averaged over the samples of a trial, in double precision."""
    weights, total = [weight.astype(np.float64) for weight in weights], 0
    for first in range(0, len(rows), batch_size):
        batch = rows[first : first + batch_size]
        _, gradients = numpy_gradients(weights, data.x_train[batch], data.y_train[batch])
        total = total + gradients[4] * len(batch) / len(rows)
        weights = [w - learning_rate * g for w, g in zip(weights, gradients, strict=True)]
    return total


@pytest.mark.parametrize("frozen", [False, True], ids=["moving", "frozen"])
def test_a_trial_equals_numpy(tiny, measure_small, numpy_gradients, frozen):
    columns, state = measure_small(trials(frozen=frozen)).columns, measure_small(START).state
    weights, rate = [state[f"weight_{i}"] for i in range(6)], 0.0 if frozen else 0.3
    entries = np.array(
        [
            [numpy_trial(numpy_gradients, tiny, weights, rows, size, rate).ravel() for rows in rows_of(tiny, trials())]
            for size in SIZES
        ]
    )  # (batch sizes, trials, entries)
    norm = np.linalg.norm(entries, axis=2)
    np.testing.assert_allclose(columns["norm"], norm, rtol=1e-4)
    for name, other in (("smallest", 0), ("largest", -1)):
        cosine = (entries * entries[other]).sum(2) / norm / norm[other]
        np.testing.assert_allclose(columns[f"cosine_to_{name}"], cosine, rtol=1e-4)
    for power in (1, 2, 3, 4):
        blocks = columns["power_sums"][:, :3, power - 1]  # three trials, a block each
        tolerance = 1e-4 * (np.abs(entries) ** power).sum(2).max()
        np.testing.assert_allclose(blocks, (entries**power).sum(2), atol=tolerance)
    np.testing.assert_allclose(columns["extremes"][:, 0], entries.min(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(columns["extremes"][:, 1], entries.max(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(columns["counts"], columns["histogram"].sum(axis=1))
    np.testing.assert_array_equal(columns["entries"], [3 * [entries.shape[2]] + 2 * [0]] * len(SIZES))
    differs = np.ptp(columns["norm"], axis=0) > 1e-5 * norm.mean()
    assert differs.all() != frozen  # frozen weights have one mean gradient, however it is computed


@pytest.mark.usefixtures("small_model")
def test_the_last_layer_may_have_no_bias(measure):
    columns = measure(trials(batch_sizes=(4, 16), trials=1), model="small_models:one_layer").columns
    assert columns["entries"][:, 0].tolist() == [16 * 3, 16 * 3]


def test_a_trial_draws_the_same_samples_whatever_the_fields_are(tiny):
    first, second, third = rows_of(tiny, trials())
    assert len(first) == 16
    assert len({rows.tobytes() for rows in (first, second, third)}) == 3
    other = trials(batch_sizes=(2, 5), frozen=True, trials=100)
    np.testing.assert_array_equal(rows_of(tiny, other)[1], second)
    assert rows_of(tiny, other, seed=1)[1].tobytes() != second.tobytes()


def test_entries_are_counted_as_by_numpy():
    entries = np.random.default_rng(0).standard_t(2, size=(2, 500)) * np.logspace(-14, 4, 500)
    entries[0, :3] = 0, 1e30, -1e30
    columns = empty_columns(2)
    for trial in range(12):
        columns = add_trial(columns, entries * (1 + trial), trial)
    for size, block in itertools.product(range(2), range(BLOCKS)):
        members = np.concatenate([entries[size] * (1 + trial) for trial in range(block, 12, BLOCKS)])
        expected, _ = np.histogram(members, [-np.inf, *EDGES, np.inf])
        np.testing.assert_array_equal(columns["histogram"][size, block], expected)


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_resuming_anywhere_gives_the_same_bits(measure_small, steps_of, small_model, assert_same_bits, stop):
    _, checkpoint = next(itertools.islice(steps_of(trials(), model=small_model), stop, None))
    assert not checkpoint.complete
    whole = measure_small(trials())
    assert_same_bits(measure_small(trials(), resume_from=checkpoint), whole)
    longer = measure_small(trials(trials=5), resume_from=checkpoint)
    np.testing.assert_array_equal(longer.columns["norm"][:, :3], whole.columns["norm"])


def test_more_trials_extend_fewer():
    fractions, shorter = zip(*trials(trials=4).prefixes(), strict=True)
    assert fractions == (0.75, 0.5, 0.25)
    assert shorter[0] == trials(trials=3)


def test_threads_share_the_work_evenly():
    assert share_work([9, 4, 3, 2, 1], 2) == [[0, 4], [1, 2, 3]]
    assert share_work([5], 2) == [[0], []]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_sizes": ()}, "batch_sizes must hold at least one"),
        ({"batch_sizes": (0, 2)}, "batch_sizes must be a whole number"),
        ({"batch_sizes": (32,)}, "batch_sizes must be at most samples, 16, not 32"),
        ({"trials": 0}, "trials must be a whole number from 1 to 100000, not 0"),
    ],
)
def test_a_wrong_value_is_refused(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        trials(**wrong)
