"""The benchmark measures every way, and its matrix products are those of the network."""

import numpy as np
import pytest

from bstudy import Trainer, bench
from bstudy.models import CNN, MLP
from bstudy.trainer import loss_and_gradients


@pytest.mark.parametrize("spec", [MLP, pytest.param(CNN, marks=pytest.mark.slow)], ids=str)
def test_every_way_is_measured_for_every_batch_size(tiny, monkeypatch, spec):
    monkeypatch.setattr(bench, "SECONDS", 0.01)
    rows = list(bench.bench(tiny, (32, 2), spec))
    assert [row.batch_size for row in rows] == [32, 2]
    assert all(speed > 0 for row in rows for speed in row[1:])


def test_the_passes_are_steps_of_gradient_descent(tiny):
    trainer = Trainer(tiny, MLP)
    x, y = tiny.x_train[:8], tiny.y_train[:8]
    before = [variable.numpy() for variable in trainer.model.trainable_variables]
    gradients = loss_and_gradients(trainer.model, trainer.model.trainable_variables, x, y)[1]
    bench.make_passes(trainer, 8, learning_rate=0.1)(1)
    for old, gradient, variable in zip(before, gradients, trainer.model.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), old - 0.1 * gradient.numpy(), atol=1e-6)


def test_the_products_are_those_of_a_step_of_a_linear_network():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(3)])
    products = bench.make_products(model, batch_size=7, learning_rate=0.01)
    random = np.random.default_rng(0)
    first, second = (random.normal(size=shape) / shape[0] ** 0.5 for shape in ((4, 5), (5, 3)))
    x = random.normal(size=(7, 4))
    updated = first - 0.01 * x.T @ (x @ first @ second @ second.T)
    np.testing.assert_allclose(products(1), updated, rtol=1e-4)
