"""Survival of short trainings, compared with trainings in NumPy."""

import numpy as np
import pytest

from bstudy import Survival
from bstudy.errors import InvalidInput
from bstudy.models import HIDDEN

EXPERIMENT = Survival(20, (0.1, 0.4), (0, 4), 10, kernel_scale=1.5, trials=2)


def draw_kernel(random, inputs, units):
    limit = np.sqrt(6 / (inputs + units))
    return random.uniform(-limit, limit, (inputs, units)).astype(np.float32).astype(float)


def softmax(outputs):
    p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


class Network:
    """The network in NumPy, with all weights as one vector."""

    def __init__(self, tiny):
        self.x, self.labels = tiny.x_train.reshape(len(tiny.x_train), -1).astype(float), np.eye(3)[tiny.y_train]
        inputs = self.x.shape[1]
        self.shapes = [(inputs, HIDDEN), (1, HIDDEN), (HIDDEN, 3), (1, 3)]

    def draw(self, random, scale):
        kernels = [scale * draw_kernel(random, *self.shapes[i]) for i in (0, 2)]
        return np.concatenate([kernels[0].ravel(), np.zeros(HIDDEN), kernels[1].ravel(), np.zeros(3)])

    def split(self, weights):
        ends = np.cumsum([np.prod(shape) for shape in self.shapes])
        parts = np.split(weights, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def loss_and_gradient(self, weights, rows):
        kernel, bias, last_kernel, last_bias = self.split(weights)
        x, labels = self.x[rows], self.labels[rows]
        hidden = np.maximum(x @ kernel + bias, 0)
        p = softmax(hidden @ last_kernel + last_bias)
        d2 = (p - labels) / len(x)
        d1 = d2 @ last_kernel.T * (hidden > 0)
        parts = [x.T @ d1, d1.sum(axis=0), hidden.T @ d2, d2.sum(axis=0)]
        return -np.log((p * labels).sum(axis=1)).mean(), np.concatenate([part.ravel() for part in parts])

    def sharpness(self, weights):
        """Return the largest eigenvalue of the Hessian, by power iteration with differences of gradients."""
        everything = np.arange(len(self.x))
        vector = self.loss_and_gradient(weights, everything)[1]
        for _ in range(100):
            vector = vector / np.linalg.norm(vector)
            ends = [self.loss_and_gradient(weights + step * vector, everything)[1] for step in (1e-6, -1e-6)]
            product = (ends[0] - ends[1]) / 2e-6
            vector, value = product, vector @ product
        return value


def train(network, trial, rate, warmup):
    """Return the weights before the first step, after the warm-up and at the end."""
    random = np.random.default_rng([0, trial, 3])
    weights = network.draw(random, EXPERIMENT.kernel_scale)
    order = np.concatenate([random.permutation(50)[:40] for _ in range(5)])
    path = [weights]
    for step in range(10):
        rows = order[step * 20 :][:20]
        slope = network.loss_and_gradient(path[-1], rows)[1]
        path.append(path[-1] - rate * min(1, (step + 1) / max(warmup, 1)) * slope)
    return path[0], path[4], path[-1]


def test_each_cell_is_a_training_in_numpy(tiny, measure):
    network, columns = Network(tiny), measure(EXPERIMENT).columns
    for trial in range(2):
        for i, warmup in enumerate((0, 4)):
            for j, rate in enumerate((0.1, 0.4)):
                *_, end = train(network, trial, rate, warmup)
                expected, _ = network.loss_and_gradient(end, np.arange(50))
                assert columns["final_loss"][trial, i, j] == pytest.approx(expected, rel=1e-3)
                assert columns["survived"][trial, i, j] == (expected < np.log(3) / 2)


def test_the_sharpness_is_that_of_the_start_and_after_the_longest_warm_up(tiny, measure):
    network, columns = Network(tiny), measure(EXPERIMENT).columns
    for trial in range(2):
        start, after_warmup, _ = train(network, trial, 0.1, 4)
        assert columns["initial_eigenvalue"][trial] == pytest.approx(network.sharpness(start), rel=0.02)
        assert columns["eigenvalue"][trial, 0] == pytest.approx(network.sharpness(after_warmup), rel=0.02)


def test_divergence_is_an_outcome(measure):
    columns = measure(Survival(10, (0.1, 1e30), (0, 5), 20)).columns
    assert columns["survived"].tolist() == [[[1, 0], [1, 0]]]
    assert np.isnan(columns["final_loss"][:, :, 1]).all()
    assert columns["final_loss"][:, :, 0].max() < np.log(3) / 2
    assert np.isnan(columns["eigenvalue"]).tolist() == [[False, True]]


def test_a_network_that_guesses_does_not_survive(measure):
    columns = measure(Survival(50, (1e-6,), (0,), 1)).columns
    assert np.isfinite(columns["final_loss"]).all()
    assert columns["survived"].tolist() == [[[0]]]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((8, (0.0,), (0,), 10), "learning_rates must be a positive"),
        ((8, (), (0,), 10), "learning_rates must hold at least one number"),
        ((8, (0.1,), (-1,), 10), "warmup_steps must be a whole number"),
        ((8, (0.1,), (0, 10), 10), "warmup_steps must be below steps, 10, not 10"),
    ],
)
def test_wrong_settings_are_refused(arguments, reason):
    with pytest.raises(InvalidInput, match=reason):
        Survival(*arguments)
