"""The gradient trials against an independent NumPy loop, and what must be equal among them."""

import itertools

import numpy as np
import pytest

from bstudy import (
    GradientTrials,
    Lab,
    NoiseScale,
    Recipe,
    SingleBatches,
    StepNorms,
    noise_scale,
    noise_scale_interval,
)
from bstudy.errors import InvalidInput
from bstudy.measure import gradients, train
from bstudy.store import Store

START = Recipe.sgd(16, 0.1, 1)
SIZES = (1, 3, 4, 16)


def trials(**settings):
    return GradientTrials(START, **{"batch_sizes": SIZES, "trials": 3, "samples": 16, "learning_rate": 0.3} | settings)


@pytest.fixture
def start(tiny):
    *_, (_, result) = train.measure(START, tiny, 0)
    return result


def answer(experiment, data, start, begun=None, seed=0):
    *_, (share, result) = gradients.measure(experiment, data, seed, begun, [start])
    assert share == 1 and result.complete
    return result


def numpy_trial(numpy_gradients, data, start, drawn, batch_size, learning_rate):
    """The last kernel's gradient, averaged over the steps of a trial by their sizes, in double."""
    weights, total = [start.state[f"weight_{i}"].astype(np.float64) for i in range(6)], 0
    for first in range(0, len(drawn), batch_size):
        batch = drawn[first : first + batch_size]
        _, found = numpy_gradients(weights, data.x_train[batch], data.y_train[batch])
        total = total + found[4] * len(batch) / len(drawn)
        weights = [w - learning_rate * g for w, g in zip(weights, found, strict=True)]
    return total


@pytest.mark.parametrize("update", ["sgd", "frozen"])
def test_a_trial_is_the_mathematics(tiny, start, numpy_gradients, update):
    columns = answer(trials(update=update), tiny, start).columns
    rate = 0.3 if update == "sgd" else 0.0
    entries = [
        [numpy_trial(numpy_gradients, tiny, start, drawn, size, rate).ravel() for drawn in draws(tiny)]
        for size in SIZES
    ]
    entries = np.array(entries)  # (batch sizes, trials, entries)
    norm = np.linalg.norm(entries, axis=2)
    np.testing.assert_allclose(columns["norm"], norm, rtol=1e-4)
    np.testing.assert_allclose(columns["cosine_to_smallest"], (entries * entries[0]).sum(2) / norm / norm[0], rtol=1e-4)
    np.testing.assert_allclose(
        columns["cosine_to_largest"], (entries * entries[-1]).sum(2) / norm / norm[-1], rtol=1e-4
    )
    for power in (1, 2, 3, 4):
        blocks, sums = columns["power_sums"][:, :3, power - 1], (entries**power).sum(2)  # three trials, a block each
        np.testing.assert_allclose(blocks, sums, atol=1e-4 * (np.abs(entries) ** power).sum(2).max())
    np.testing.assert_allclose(columns["extremes"][:, 0], entries.min(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(columns["extremes"][:, 1], entries.max(axis=(1, 2)), rtol=1e-4)
    assert (np.ptp(columns["norm"], axis=0) < 1e-5 * norm.mean()).all() == (update == "frozen")


def draws(data):
    return [gradients.drawn(trials(), data, seed=0, trial=trial) for trial in range(3)]


def test_the_same_trial_draws_the_same_samples_whatever_is_studied(tiny):
    first, second, third = draws(tiny)
    assert len(first) == 16 and not (first == second).all() and not (second == third).all()
    other = trials(batch_sizes=(2, 5), update="frozen", trials=100)
    np.testing.assert_array_equal(gradients.drawn(other, tiny, seed=0, trial=1), second)
    assert not (gradients.drawn(other, tiny, seed=1, trial=1) == second).all()


def test_entries_are_counted_as_numpy_counts_them():
    entries = np.random.default_rng(0).standard_t(2, size=(2, 500)) * np.logspace(-14, 4, 500)
    entries[0, :3] = 0, 1e30, -1e30
    counted = gradients.empty(2)
    for trial in range(12):
        counted = gradients.added(counted, entries * (1 + trial), trial)
    for size in range(2):
        for block in range(gradients.BLOCKS):
            some = np.concatenate(
                [entries[size] * (1 + trial) for trial in range(12) if trial % gradients.BLOCKS == block]
            )
            expected, _ = np.histogram(some, [-np.inf, *gradients.EDGES, np.inf])
            np.testing.assert_array_equal(counted["histogram"][size, block], expected)


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_taken_up_from_wherever_it_was_left_it_ends_on_the_same_bits(tiny, start, stop):
    _, partial = next(itertools.islice(gradients.measure(trials(), tiny, 0, None, [start]), stop, None))
    assert not partial.complete
    whole, resumed = answer(trials(), tiny, start), answer(trials(), tiny, start, begun=partial)
    longer = answer(trials(trials=5), tiny, start, begun=partial)
    for name in whole.columns:
        np.testing.assert_array_equal(whole.columns[name], resumed.columns[name])
    np.testing.assert_array_equal(longer.columns["norm"][:, :3], whole.columns["norm"])


def test_a_single_batch_follows_its_law(tiny, start, numpy_gradients):
    experiment = SingleBatches(START, batch_sizes=(1, 4, 16, 64), draws=4000)
    columns = answer(experiment, tiny, start).columns
    weights = [start.state[f"weight_{i}"] for i in range(6)]
    each = np.array(
        [numpy_gradients(weights, tiny.x_train[i : i + 1], tiny.y_train[i : i + 1])[1][4] for i in range(50)]
    )
    mean = each.mean(axis=0)
    assert columns["squared_gradient_norm"] == pytest.approx(np.sum(mean**2), rel=1e-3)
    assert columns["noise_trace"] == pytest.approx(np.sum((each - mean) ** 2) / 50, rel=1e-3)
    sizes = np.array(experiment.batch_sizes)
    law = sizes * columns["noise_trace"] + sizes**2 * columns["squared_gradient_norm"]
    np.testing.assert_allclose((columns["norm"].astype(float) ** 2).mean(axis=1), law, rtol=0.1)


def test_the_lab_trains_the_start_and_more_trials_go_on_from_fewer(tiny, monkeypatch):
    lab, counted = Lab(tiny, seeds=2, quiet=True), []
    plain = gradients.added
    monkeypatch.setattr(gradients, "added", lambda *words: counted.append(1) or plain(*words))
    few = lab.run({"few": trials(trials=2)})["few"]
    many = lab.run({"many": trials(trials=5)})["many"]
    assert len(counted) == 2 * 5, "two trials of each seed were measured already"
    np.testing.assert_array_equal(few["norm"], many["norm"][:, :, :2])
    assert many["norm"].shape == (2, len(SIZES), 5)


def test_a_damaged_start_is_trained_again(tiny, capsys):
    lab = Lab(tiny, seeds=1, quiet=True)
    lab.run({"start": START})
    path = lab.store.folder / f"{START.key(tiny, 0)}.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # among the weights, which are most of it
    path.write_bytes(content)
    assert np.isfinite(lab.run({"trials": trials()})["trials"]["norm"]).all()
    assert "damaged" in capsys.readouterr().err


def test_what_cannot_be_drawn_or_cut_is_refused(tiny):
    for wrong in (
        {"batch_sizes": ()},
        {"batch_sizes": (0, 2)},
        {"batch_sizes": (32,)},
        {"trials": 0},
        {"update": "adam"},
    ):
        with pytest.raises(InvalidInput):
            trials(**wrong)


def test_step_norms_are_those_of_numpys_gradients_and_obey_the_triangle_inequality(tiny, tmp_path, numpy_gradients):
    lab = Lab(tiny, 1, Store(tmp_path), quiet=True)
    start = Recipe.sgd(16, 0.1, 1)
    runs = lab.run({"frozen": StepNorms(start, (1, 2, 6, 50)), "moving": StepNorms(start, (1, 2, 6, 50), "sgd")})
    weights = [lab.store.read(start.key(tiny, 0), state=True).state[f"weight_{i}"] for i in range(6)]
    order = train.epoch_order(50, 0, 0)

    def norms(size):
        batches = [order[first : first + size] for first in range(0, 50, size)]
        gradients = (numpy_gradients(weights, tiny.x_train[batch], tiny.y_train[batch])[1] for batch in batches)
        return np.array([np.sqrt(sum((g**2).sum() for g in each)) for each in gradients])

    frozen = runs["frozen"]
    for i, size in enumerate((1, 2, 6, 50)):
        assert frozen["mean"][0, i] == pytest.approx(norms(size).mean(), rel=1e-3)
        assert frozen["quantiles"][0, i, -1] == pytest.approx(norms(size).max(), rel=1e-3)
    pairs = norms(1).reshape(25, 2).mean(axis=1) / norms(2) - 1
    assert frozen["slack"][0, 0] == pytest.approx(pairs.min(), abs=1e-3) and pairs.min() >= 0
    assert np.isfinite(frozen["slack"][0, :2]).all() and np.isnan(frozen["slack"][0, 2])  # 50 is no multiple of 6
    assert not frozen.diverged.any()
    assert (runs["moving"]["mean"][0, 0] != frozen["mean"][0, 0]) and runs["moving"]["mean"][0, 3] == frozen["mean"][
        0, 3
    ]


def test_step_norms_are_taken_up_again(tiny):
    start = Recipe.sgd(16, 0.1, 1)
    *_, (_, trained) = train.measure(start, tiny, 0)
    question = StepNorms(start, (1, 2, 4), "sgd")
    steps = list(gradients.measure(question, tiny, 0, None, [trained]))
    whole = steps[-1][1].columns
    partial = next(result for share, result in steps if 0 < result.share < 1)
    *_, (_, again) = gradients.measure(question, tiny, 0, partial, [trained])
    for name, column in whole.items():
        np.testing.assert_array_equal(again.columns[name], column)


def test_the_noise_scale_is_that_of_single_samples_gradients(tiny, start, numpy_gradients):
    """Its two estimates against tr Σ and |G|² from the gradient of every sample of the training set."""
    weights = [start.state[f"weight_{i}"] for i in range(6)]
    single = [numpy_gradients(weights, tiny.x_train[i : i + 1], tiny.y_train[i : i + 1])[1] for i in range(50)]
    single = np.array([np.concatenate([part.ravel() for part in gradient]) for gradient in single])
    mean = single.mean(0)
    trace, square = ((single - mean) ** 2).sum(1).mean(), (mean**2).sum()
    columns = answer(NoiseScale(START, small=8, large=64, batches=200), tiny, start).columns
    for estimates, exact in ((columns["noise_trace"], trace), (columns["squared_gradient_norm"], square)):
        error = estimates.std() / 200**0.5
        assert abs(estimates.mean() - exact) < 4 * error < 0.1 * exact
    scale = noise_scale(columns["noise_trace"], columns["squared_gradient_norm"])
    low, high = noise_scale_interval(columns["noise_trace"], columns["squared_gradient_norm"])
    assert low < scale < high and low < trace / square < high


def test_the_noise_scale_is_taken_up_to_the_same_bits(tiny, start):
    whole = answer(NoiseScale(START, 4, 16, 5), tiny, start)
    part = answer(NoiseScale(START, 4, 16, 2), tiny, start)
    taken_up = answer(NoiseScale(START, 4, 16, 5), tiny, start, begun=part)
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(taken_up.columns[name], values)
    with pytest.raises(InvalidInput, match="large must be a multiple of small, 32, not 100"):
        NoiseScale(START, large=100)
