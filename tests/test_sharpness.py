"""Sharpness and curvature, on functions with known answers, and compared with NumPy's gradients and SciPy's search."""

import numpy as np
import pytest
from scipy.optimize import Bounds, minimize

from bstudy import Recipe, Sharpness
from bstudy.errors import InvalidInput
from bstudy.experiments.sharpness import MAX_PRODUCTS, TOLERANCE, ascend, lanczos, rescale_layers

POINT = Recipe.sgd(16, 0.1, 3)
EPSILONS = (1e-2, 1e-3, 1e-4)


@pytest.fixture(scope="module")
def around(measure_small):
    return measure_small(Sharpness(POINT, EPSILONS)).columns


@pytest.fixture(scope="module")
def weights(measure_small):
    state = measure_small(POINT).state
    return [state[f"weight_{i}"].astype(float) for i in range(6)]


def highest(value_and_gradient, size):
    """Return the highest value that an ascent finds in the cube [−1, 1]."""

    def step(position, length):
        value, gradient = value_and_gradient(position[0])
        return value, [np.clip(position[0] + length * np.sign(gradient), -1, 1)]

    return max(ascend(step, [np.zeros(size)], 0))


def test_the_highest_point_of_a_box_around_the_minimum_of_a_quadratic_is_a_corner():
    curvature, center = np.array([1.0, 4.0, 9.0]), np.array([0.1, -0.2, 0.3])

    def value_and_gradient(at):
        return 5 + (curvature * (at - center) ** 2).sum() / 2, curvature * (at - center)

    assert highest(value_and_gradient, 3) == pytest.approx(5 + (curvature * (1 + abs(center)) ** 2).sum() / 2)


def test_a_maximum_inside_the_box_is_found():
    center = np.array([0.3, -0.6])
    found = highest(lambda at: (-((at - center) ** 2).sum(), -2 * (at - center)), 2)
    assert -0.01 < found <= 0


def test_the_first_value_is_that_at_the_middle_and_random_starts_depend_on_the_seed():
    def values(seed):
        return list(ascend(lambda position, _: (position[0].sum(), position), [np.zeros(4)], seed))

    assert values(0)[0] == 0
    assert values(0) == values(0)
    assert values(0)[-1] != values(1)[-1]


def test_the_leading_eigenvalue_of_a_known_matrix_is_found():
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(60, 60)))
    matrix = (basis * np.linspace(-20, 10, 60)) @ basis.T  # the largest is not the one of the largest magnitude
    found = list(lanczos(lambda vector: matrix @ vector, random.normal(size=60)))
    assert len(found) == MAX_PRODUCTS
    assert found[-1][0] == pytest.approx(10, rel=0.01)
    for eigenvalue, residual in found:
        assert np.abs(np.linspace(-20, 10, 60) - eigenvalue).min() <= residual * abs(eigenvalue) + 1e-4


def test_the_iteration_ends_if_a_product_is_not_finite():
    assert np.isnan(list(lanczos(lambda vector: vector * np.inf, np.ones(4)))).tolist() == [[True, True]]


def test_sharpness_is_the_rise_of_the_training_loss(tiny, around, weights, numpy_gradients):
    loss, gradients = numpy_gradients(weights, tiny.x_train, tiny.y_train)
    assert around["loss"] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(around["sharpness"], 100 * around["rise"] / (1 + loss), rtol=1e-5)
    # in a small box the loss is linear
    linear = sum((1e-4 * (np.abs(w) + 1) * np.abs(g)).sum() for w, g in zip(weights, gradients, strict=True))
    assert around["rise"][2] == pytest.approx(linear, rel=0.05)
    assert around["rise"][0] > around["rise"][1] > around["rise"][2] > around["resolution"]


@pytest.mark.parametrize("number", range(len(EPSILONS)), ids=str)
def test_the_ascent_finds_at_least_what_ten_iterations_of_lbfgs_find(tiny, around, weights, numpy_gradients, number):
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    point = np.concatenate([weight.ravel() for weight in weights])
    reach = EPSILONS[number] * (np.abs(point) + 1)

    def negative(y):
        parts = np.split(point + y, ends)
        shaped = [part.reshape(weight.shape) for part, weight in zip(parts, weights, strict=True)]
        value, gradients = numpy_gradients(shaped, tiny.x_train, tiny.y_train)
        return -value, -np.concatenate([gradient.ravel() for gradient in gradients])

    # without SciPy's tolerances, which the small gradients of a mean loss would meet before the first step
    options = {"maxiter": 10, "gtol": 0, "ftol": 0}
    found = minimize(negative, 0 * point, jac=True, method="L-BFGS-B", bounds=Bounds(-reach, reach), options=options)
    assert around["rise"][number] > 0.999 * (-found.fun - around["loss"])


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
    assert around["residual"] <= TOLERANCE


def test_without_a_box_only_the_eigenvalue_is_measured(measure_small, around):
    alone = measure_small(Sharpness(POINT, ())).columns
    assert alone["rise"].shape == alone["sharpness"].shape == (0,)
    assert alone["eigenvalue"] == around["eigenvalue"]


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


def test_a_wrong_epsilon_is_refused():
    with pytest.raises(InvalidInput, match="epsilons must be a positive, finite number, not 0"):
        Sharpness(POINT, (1e-3, 0))
