"""SGD on logistic regression, compared with SciPy's optimum and with numerical derivatives."""

import numpy as np
import pytest
from scipy.optimize import minimize

from bstudy import ConvexDescent
from bstudy.errors import InvalidInput
from bstudy.experiments.convex_descent import LogisticRegression, draw


@pytest.fixture(scope="module")
def problem(tiny):
    return LogisticRegression(tiny, 0.1, 40)


def loss(problem, w):
    w = w.reshape(problem.optimum.shape)
    logits = problem.x @ w
    chosen = (logits * problem.labels).sum(axis=1)
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen) + 0.05 * np.square(w).sum()


def test_the_inputs_have_variance_one_and_no_correlation(problem):
    assert problem.x.shape == (40, 17)  # 16 directions of 4 × 4 pixels, and a constant
    np.testing.assert_allclose(problem.x[:, :16].T @ problem.x[:, :16] / 40, np.eye(16), atol=1e-9)


def test_the_optimum_is_that_of_another_method(problem):
    found = minimize(lambda w: loss(problem, w), np.zeros(problem.optimum.size), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(problem.optimum.ravel(), found.x, atol=1e-5)


def test_gradient_and_hessian_are_those_of_the_loss(problem):
    random = np.random.default_rng(0)
    w, direction = random.normal(size=(2, *problem.optimum.shape))
    step = 1e-5 * direction
    slope = (loss(problem, w + step) - loss(problem, w - step)) / 2e-5
    assert np.vdot(problem.gradient(w), direction) == pytest.approx(slope, rel=1e-6)
    change = (problem.gradient(w + step) - problem.gradient(w - step)) / 2e-5
    np.testing.assert_allclose((problem.hessian(w) @ direction.ravel()).reshape(change.shape), change, atol=1e-7)


def test_the_formula_is_the_equilibrium_of_a_quadratic():
    """In one direction: w ← (1 − η h) w + η ξ, with noise ξ of variance σ² / B."""
    problem = LogisticRegression.__new__(LogisticRegression)
    problem.curvatures, problem.variances = np.array([0.5]), np.array([2.0])
    noise = 0.2 * np.random.default_rng(0).normal(0, (2 / 4) ** 0.5, (20000, 50))
    w, squares = np.zeros(50), []
    for each in noise:
        w = (1 - 0.2 * 0.5) * w + each
        squares.append(np.square(w).mean())
    assert problem.predict(0.2, 4) == pytest.approx(np.mean(squares[1000:]), rel=0.02)


def test_a_permutation_has_every_sample_once_an_epoch():
    batches = list(draw(np.random.default_rng(0), 12, 4, 6, "permutation"))
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(12))
    independent = np.concatenate(list(draw(np.random.default_rng(0), 12, 4, 3, "independent")))
    assert len(independent) == 12
    assert len(set(independent)) < 12


def test_the_ball_follows_the_formula_and_the_full_batch_has_none(measure):
    experiment = ConvexDescent((2, 8), (0.02, 0.05))
    columns = measure(experiment).columns
    assert columns["squared_distance"].shape == columns["predicted"].shape == (2, 2)
    np.testing.assert_allclose(columns["squared_distance"], columns["predicted"], rtol=0.25)
    assert columns["full_batch"].max() < 1e-12
    assert columns["path"].shape == (2, len(columns["steps"]))
    assert columns["full_batch_path"][0] > columns["full_batch_path"][-1]
    again = measure(experiment, seed=1).columns
    assert (again["squared_distance"] != columns["squared_distance"]).all()
    np.testing.assert_array_equal(again["full_batch_path"], columns["full_batch_path"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (((1,), (0.0,)), "learning_rates must be a positive"),
        (((1,), (0.1,), "sorted"), "order must be 'independent' or"),
    ],
)
def test_wrong_settings_are_refused(arguments, reason):
    with pytest.raises(InvalidInput, match=reason):
        ConvexDescent(*arguments)
