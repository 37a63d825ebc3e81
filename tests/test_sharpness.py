"""Sharpness and curvature, on functions with known answers, and compared with NumPy's gradients."""

import numpy as np
import pytest

from bstudy import Recipe, Sharpness
from bstudy.errors import InvalidInput
from bstudy.experiments.sharpness import highest_rise, leading_eigenvalue, rescale_layers, run_in_thread

POINT = Recipe.sgd(16, 0.1, 3)


@pytest.fixture(scope="module")
def around(measure_small):
    return measure_small(Sharpness(POINT, (1e-3, 1e-5))).columns


@pytest.fixture(scope="module")
def weights(measure_small):
    state = measure_small(POINT).state
    return [state[f"weight_{i}"].astype(float) for i in range(6)]


def test_the_highest_point_of_a_box_around_the_minimum_of_a_quadratic_is_a_corner():
    curvature, x = np.array([1.0, 4.0, 9.0]), np.array([0.0, 1.0, -3.0])

    def value_and_gradient(at):
        away = at - x + 0.01
        return 5 + (curvature * away**2).sum() / 2, curvature * away

    rise, evaluations = highest_rise(value_and_gradient, x, 1e-2)
    reach = 1e-2 * (np.abs(x) + 1)
    assert rise == pytest.approx((curvature * ((reach + 0.01) ** 2 - 0.01**2)).sum() / 2)
    assert 1 < evaluations < 200


def test_a_function_at_its_maximum_does_not_rise():
    rise, _ = highest_rise(lambda at: (-(at**2).sum(), -2 * at), np.zeros(4), 1e-3)
    assert rise == 0


def test_the_leading_eigenvalue_of_a_known_matrix_is_found():
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(60, 60)))
    matrix = (basis * np.linspace(-20, 10, 60)) @ basis.T  # the largest is not the one of the largest magnitude
    assert leading_eigenvalue(lambda vector: matrix @ vector, 60, 0) == pytest.approx(10, rel=0.01)


def test_sharpness_is_the_rise_of_the_training_loss(tiny, around, weights, numpy_gradients):
    loss, gradients = numpy_gradients(weights, tiny.x_train, tiny.y_train)
    assert around["loss"] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(around["sharpness"], 100 * around["rise"] / (1 + loss), rtol=1e-5)
    # in a small box the loss is linear
    linear = sum((1e-5 * (np.abs(w) + 1) * np.abs(g)).sum() for w, g in zip(weights, gradients, strict=True))
    assert around["rise"][1] == pytest.approx(linear, rel=0.05)
    assert around["rise"][0] > around["rise"][1] > around["resolution"]


def test_the_eigenvalue_is_that_of_the_hessian(tiny, around, weights, numpy_gradients):
    direction = [np.random.default_rng(1).normal(size=weight.shape) for weight in weights]
    for _ in range(30):  # power iteration, on differences of NumPy's gradients
        norm = np.sqrt(sum((d**2).sum() for d in direction))
        ahead, behind = (
            numpy_gradients(
                [w + step * d / norm for w, d in zip(weights, direction, strict=True)], tiny.x_train, tiny.y_train
            )[1]
            for step in (1e-5, -1e-5)
        )
        direction = [(a - b) / 2e-5 for a, b in zip(ahead, behind, strict=True)]
    assert around["eigenvalue"] == pytest.approx(np.sqrt(sum((d**2).sum() for d in direction)), rel=0.03)


def test_rescaled_layers_compute_the_same_function(tiny, weights, numpy_gradients):
    before, _ = numpy_gradients(weights, tiny.x_test, tiny.y_test)
    after, _ = numpy_gradients(rescale_layers(weights, 10.0), tiny.x_test, tiny.y_test)
    assert after == pytest.approx(before, rel=1e-6)
    np.testing.assert_allclose(rescale_layers(weights, 10.0)[0], 10 * weights[0])


def test_a_model_of_one_layer_cannot_be_rescaled():
    one_layer = [np.ones((4, 3), np.float32), np.ones(3, np.float32)]
    assert rescale_layers(one_layer, 1.0) is one_layer
    for weight, rescaled in zip(one_layer, rescale_layers(one_layer, 10.0), strict=True):
        assert rescaled.shape == weight.shape
        assert np.isnan(rescaled).all()


def test_a_search_ends_when_it_is_closed():
    ticks = []

    def endless(tick):
        while True:
            tick()
            ticks.append(None)

    search = run_in_thread(endless, 10)
    progress, result = next(search)
    assert progress <= 0.95
    assert not result.complete
    search.close()  # returns only because the next tick ends the search
    assert ticks


def test_a_wrong_epsilon_is_refused():
    with pytest.raises(InvalidInput, match="epsilons must be a positive, finite number, not 0"):
        Sharpness(POINT, (1e-3, 0))
