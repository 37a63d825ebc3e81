"""Sharpness, curvature and lines, against functions whose answers are known, and against NumPy's gradients."""

import numpy as np
import pytest

from bstudy import Lab, Line, Recipe, Sharpness
from bstudy.measure.landscape import highest_nearby, in_a_thread, leading_eigenvalue, rescaled
from bstudy.measure.model import initial_weights
from bstudy.store import Store

POINT = Recipe.sgd(16, 0.1, 3)


@pytest.fixture(scope="module")
def lab(tiny, small_model, tmp_path_factory):
    return Lab(tiny, 1, Store(tmp_path_factory.mktemp("home")), quiet=True, model=small_model)


def test_the_highest_point_of_a_box_around_the_minimum_of_a_quadratic_is_a_corner():
    curvature, x = np.array([1.0, 4.0, 9.0]), np.array([0.0, 1.0, -3.0])

    def value_and_gradient(at):
        away = at - x + 0.01
        return 5 + (curvature * away**2).sum() / 2, curvature * away

    rise, evaluations = highest_nearby(value_and_gradient, x, 1e-2)
    reach = 1e-2 * (np.abs(x) + 1)
    assert rise == pytest.approx((curvature * ((reach + 0.01) ** 2 - 0.01**2)).sum() / 2)
    assert 1 < evaluations < 200


def test_a_function_at_its_maximum_does_not_rise():
    rise, _ = highest_nearby(lambda at: (-(at**2).sum(), -2 * at), np.zeros(4), 1e-3)
    assert rise == 0


def test_the_leading_eigenvalue_of_a_known_matrix():
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(60, 60)))
    matrix = (basis * np.linspace(-20, 10, 60)) @ basis.T  # the largest, not the one of largest magnitude
    assert leading_eigenvalue(lambda v: matrix @ v, 60, 0) == pytest.approx(10, rel=0.01)


def test_sharpness_is_the_rise_of_the_training_loss(lab, tiny, numpy_gradients):
    (run,) = lab.run({"around": Sharpness(POINT, (1e-3, 1e-5))}).values()
    for i, seed in enumerate(run.seeds):
        result = lab.store.read(POINT.key(lab.dataset, seed), state=True)
        weights = [result.state[f"weight_{i}"].astype(float) for i in range(6)]
        loss, gradients = numpy_gradients(weights, tiny.x_train, tiny.y_train)
        assert run["loss"][i] == pytest.approx(loss, rel=1e-5)
        np.testing.assert_allclose(run["sharpness"][i], 100 * run["rise"][i] / (1 + loss), rtol=1e-5)
        # in a small box the loss is linear: it rises with every weight's gradient over its side
        linear = sum((1e-5 * (np.abs(w) + 1) * np.abs(g)).sum() for w, g in zip(weights, gradients, strict=True))
        assert run["rise"][i, 1] == pytest.approx(linear, rel=0.05)
        assert run["rise"][i, 0] > run["rise"][i, 1] > run["resolution"][i]


def test_the_eigenvalue_is_that_of_the_hessian(lab, tiny, numpy_gradients):
    (run,) = lab.run({"around": Sharpness(POINT, (1e-3, 1e-5))}).values()
    result = lab.store.read(POINT.key(lab.dataset, 0), state=True)
    weights = [result.state[f"weight_{i}"].astype(float) for i in range(6)]
    direction = [np.random.default_rng(1).normal(size=weight.shape) for weight in weights]
    for _ in range(30):  # power iteration, on differences of NumPy's gradients
        norm = np.sqrt(sum((d**2).sum() for d in direction))
        direction = [d / norm for d in direction]
        ahead, behind = (
            numpy_gradients([w + s * d for w, d in zip(weights, direction, strict=True)], tiny.x_train, tiny.y_train)[1]
            for s in (1e-5, -1e-5)
        )
        direction = [(a - b) / 2e-5 for a, b in zip(ahead, behind, strict=True)]
    assert run["eigenvalue"][0] == pytest.approx(np.sqrt(sum((d**2).sum() for d in direction)), rel=0.03)


def test_rescaled_layers_compute_the_same_function(tiny, numpy_gradients):
    weights = initial_weights(tiny.architecture, 0)
    before, _ = numpy_gradients(weights, tiny.x_test, tiny.y_test)
    after, _ = numpy_gradients(rescaled(weights, 10.0), tiny.x_test, tiny.y_test)
    assert after == pytest.approx(before, rel=1e-5)


def test_a_line_passes_through_both_points(lab):
    other = Recipe.sgd(32, 0.1, 2)
    runs = lab.run({"line": Line(POINT, other, points=4), "small": POINT, "large": other})
    line = runs["line"]
    assert line["alpha"][0].tolist() == [-1, 0, 1, 2]
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        np.testing.assert_allclose(line[name][:, 1], runs["small"].final(name), rtol=1e-5)
        np.testing.assert_allclose(line[name][:, 2], runs["large"].final(name), rtol=1e-5)


def test_a_search_can_be_left():
    ticks = []

    def endless(tick):
        while True:
            tick()
            ticks.append(None)

    search = in_a_thread(endless, 10)
    next(search)
    search.close()  # returns, since the search ends at its next tick
    assert ticks
