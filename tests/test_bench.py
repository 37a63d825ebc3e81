"""The benchmark runs, and what it takes for the products is the work of the network."""

import numpy as np

from bstudy.measure.bench import bench, compiled_products


def test_it_measures_every_way_for_every_batch_size(tiny, monkeypatch):
    monkeypatch.setattr("bstudy.measure.bench.SECONDS", 0.01)
    rows = list(bench(tiny, (2, 32)))
    assert [row[0] for row in rows] == [2, 32]
    assert all(speed > 0 for row in rows for speed in row[1:])


def test_the_products_are_those_of_a_step_of_a_linear_network():
    random = np.random.default_rng(0)
    kernels = [random.normal(size=shape) / shape[0] ** 0.5 for shape in ((4, 5), (5, 3))]
    x = random.normal(size=(7, 4))
    first, second = kernels
    updated = first - 0.01 * x.T @ (x @ first @ second @ second.T)
    np.testing.assert_allclose(compiled_products(7, [(4, 5), (5, 3)], 0.01)(1), updated, rtol=1e-4)
