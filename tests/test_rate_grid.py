"""A network trained with many learning rates at once, compared with NumPy and with Keras's optimizers."""

import numpy as np
import pytest

from bstudy import RateGrid
from bstudy.backend import keras
from bstudy.errors import InvalidInput
from bstudy.experiments.rate_grid import sample_stream
from bstudy.trainer import subset_rows, wrong_labels

RATES = (0.001, 0.1)
ADAM = RateGrid(4, RATES, "adam", beta_2=0.9, samples=256, label_noise=0.2, schedule="cosine")
MOMENTUM = RateGrid(4, RATES, momentum=0.8, samples=256)


def predict(weights, x):
    kernel, bias, last_kernel, last_bias = weights
    hidden = np.maximum(x @ kernel + bias, 0)
    outputs = hidden @ last_kernel + last_bias
    p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return hidden, p / p.sum(axis=1, keepdims=True)


def gradients(weights, x, labels):
    hidden, p = predict(weights, x)
    loss = -np.log(p[np.arange(len(x)), labels]).mean()
    d2 = (p - np.eye(p.shape[1])[labels]) / len(x)
    d1 = d2 @ weights[2].T * (hidden > 0)
    return loss, [x.T @ d1, d1.sum(axis=0), hidden.T @ d2, d2.sum(axis=0)]


def train(experiment, dataset, rate):
    """Return the test loss and the training loss at the 16 points, in double precision."""
    state = experiment.initial_state(dataset, 0)
    names = ("kernel_0", "bias_0", "kernel_1", "bias_1")
    weights = [state[name][0].reshape(np.squeeze(state[name][0]).shape).astype(float) for name in names]
    labels = wrong_labels(dataset.y_train, dataset.classes, experiment.label_noise, 0)
    x, tests = (values.reshape(len(values), -1).astype(float) for values in (dataset.x_train, dataset.x_test))
    m, v, total, found = [0.0] * 4, [0.0] * 4, experiment.samples // experiment.batch_size, []
    losses = []
    for step, rows in enumerate(sample_stream(50, 0, experiment.samples).reshape(total, -1), 1):
        scale = 1.0
        if experiment.schedule == "cosine":
            done = max(0, step / total - 0.05) / 0.95
            scale = min(1, step / (0.05 * total)) * (1 + np.cos(np.pi * done)) / 2
        loss, slopes = gradients(weights, x[rows], labels[rows])
        losses.append(loss)
        for i, g in enumerate(slopes):
            if experiment.optimizer == "sgd":
                v[i] = experiment.momentum * v[i] - scale * rate * g
                weights[i] = weights[i] + v[i]
                continue
            m[i] = experiment.beta_1 * m[i] + (1 - experiment.beta_1) * g
            v[i] = experiment.beta_2 * v[i] + (1 - experiment.beta_2) * g**2
            corrected = rate * np.sqrt(1 - experiment.beta_2**step) / (1 - experiment.beta_1**step)
            weights[i] = weights[i] - scale * corrected * m[i] / (np.sqrt(v[i]) + 1e-7)
        if step % (total // 16) == 0:
            p = predict(weights, tests)[1]
            noisy = np.full(p.shape, experiment.label_noise / (dataset.classes - 1))
            noisy[np.arange(len(p)), dataset.y_test] = 1 - experiment.label_noise
            found.append((-(noisy * np.log(p)).sum(axis=1).mean(), np.mean(losses[-(total // 16) :])))
    return np.transpose(found)


@pytest.mark.parametrize("experiment", [ADAM, MOMENTUM], ids=["adam", "momentum"])
def test_each_learning_rate_is_a_run_of_its_own(experiment, tiny, measure):
    columns = measure(experiment).columns
    for row, rate in enumerate(RATES):
        test_loss, train_loss = train(experiment, tiny, rate)
        np.testing.assert_allclose(columns["test_loss"][row], test_loss, rtol=2e-3)
        np.testing.assert_allclose(columns["train_loss"][row], train_loss, rtol=2e-3)


@pytest.mark.parametrize(
    ("experiment", "make"),
    [
        (ADAM, lambda: keras.optimizers.Adam(0.1, beta_2=0.9)),
        (MOMENTUM, lambda: keras.optimizers.SGD(0.1, momentum=0.8)),
    ],
    ids=["adam", "momentum"],
)
def test_the_first_steps_are_those_of_keras(experiment, make, tiny):
    """The reference above has Keras's update rule: three steps on gradients of NumPy."""
    optimizer, random = make(), np.random.default_rng(0)
    weight, ours, m, v = keras.Variable(np.ones(5, np.float32)), np.ones(5), 0.0, 0.0
    for step in range(1, 4):
        g = random.normal(size=5)
        optimizer.apply([g.astype(np.float32)], [weight])
        if experiment.optimizer == "sgd":
            v = 0.8 * v - 0.1 * g
            ours = ours + v
        else:
            m, v = 0.9 * m + 0.1 * g, 0.9 * v + 0.1 * g**2
            ours = ours - 0.1 * np.sqrt(1 - 0.9**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(weight.numpy(), ours, rtol=1e-5)


def test_a_checkpoint_continues_to_the_same_bits(steps_of, measure, assert_same_bits):
    checkpoint = next(result for progress, result in steps_of(ADAM) if progress == 0.5)
    assert_same_bits(measure(ADAM, resume_from=checkpoint), measure(ADAM))


def test_the_stream_has_every_sample_once_an_epoch():
    stream = sample_stream(50, 0, 120)
    assert sorted(stream[:50]) == sorted(stream[50:100]) == list(range(50))
    assert len(stream) == 120


def test_a_part_of_the_training_set_is_that_of_a_recipe(tiny, measure):
    """Each step is on all of its samples, and almost does not move the weights: the loss is their mean."""
    rows = subset_rows(len(tiny.x_train), 8)
    experiment = RateGrid(8, (1e-6,), samples=128, train_samples=8)
    state = experiment.initial_state(tiny, 0)
    weights = [state[name][0] for name in ("kernel_0", "bias_0", "kernel_1", "bias_1")]
    loss, _ = gradients(weights, tiny.x_train.reshape(len(tiny.x_train), -1)[rows], tiny.y_train[rows])
    np.testing.assert_allclose(measure(experiment).columns["train_loss"][0], loss, rtol=1e-4)
    with pytest.raises(InvalidInput, match="train_samples must be at most 50"):
        RateGrid(8, (0.1,), samples=128, train_samples=51).validate(tiny)


def test_trials_are_averaged(tiny, measure):
    one, two = (measure(RateGrid(4, RATES, samples=64, points=4, trials=trials)).columns for trials in (1, 2))
    other = measure(RateGrid(4, RATES, samples=64, points=4), seed=1000).columns
    assert one["test_loss"].shape == (2, 4)
    for name, column in two.items():
        np.testing.assert_allclose(column, (one[name] + other[name]) / 2, rtol=1e-6)


def test_only_the_learning_rate_that_diverged_has_no_numbers(measure):
    result = measure(RateGrid(4, (0.1, 1e30), momentum=0.8, samples=256))
    assert np.isfinite(result.columns["test_loss"][0]).all()
    assert np.isnan(result.columns["test_loss"][1]).all()
    assert not result.diverged
    assert measure(RateGrid(4, (1e29, 1e30), samples=256)).diverged


def test_wrong_settings_are_refused():
    with pytest.raises(InvalidInput, match="samples must be a multiple of 64, not 100"):
        RateGrid(4, (0.1,), samples=100)
    with pytest.raises(InvalidInput, match="schedule must be 'constant' or 'cosine'"):
        RateGrid(4, (0.1,), schedule="linear")
