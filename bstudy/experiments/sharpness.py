"""Sharpness: how fast the loss rises around trained weights.

SciPy searches, over all weights as one vector; TensorFlow computes values, gradients and Hessian-vector products.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from bstudy.backend import tf
from bstudy.experiments.base import Experiment, Work, checked, positive_float, positive_int
from bstudy.experiments.recipe import Recipe
from bstudy.store import Result
from bstudy.trainer import Trainer, loss_and_gradients, train_subset

GRADIENTS = 15  # are computed for one epsilon, about
PRODUCTS = 25
SECONDS_PER_EPSILON = 3.5  # inside SciPy, whose loops over the bounds are written in Python


def positive_floats(name: str, values: Any) -> tuple[float, ...]:
    return tuple(positive_float(name, value) for value in values)


@dataclass(frozen=True)
class Sharpness(Experiment):
    """How fast the loss rises around trained weights x, by two measures.

    f is the mean loss over a fixed random part of the training set, the same for all weights and seeds. Metric 2.1 of
    Keskar et al. (2017), for each ε,

        φ = 100 (max f(x + y) − f(x)) / (1 + f(x))   over   |yᵢ| ≤ ε (|xᵢ| + 1),

    with the maximum that at most ten iterations of L-BFGS-B find from y = 0, over all weights and biases. And the
    largest eigenvalue of the Hessian of f, by Lanczos iteration on Hessian-vector products.

    Columns:
        sharpness: (epsilons,) φ, in percent.
        rise: (epsilons,) max f(x + y) − f(x), in nats.
        evaluations: (epsilons,) of f and its gradient.
        loss: () f(x), in nats.
        resolution: () the float32 spacing at f(x), in nats: smaller rises are rounding errors.
        eigenvalue: () in nats per squared unit of weight.
        products: () of the Hessian with a vector.

    Args:
        trained: The training whose final weights are x.
        epsilons: The sizes ε of the box.
        rescaled: Multiply the first layer by this, and divide the second layer's kernel by it: a ReLU network computes
            the same function after that (Dinh et al. 2017).
        samples: Of the training set, at most.
    """

    KIND = "sharpness"

    trained: Recipe
    epsilons: tuple[float, ...] = checked(positive_floats, default=(1e-3, 5e-4))
    rescaled: float = checked(positive_float, default=1.0)
    samples: int = checked(positive_int, default=5000)

    def work(self, dataset):
        gradients = GRADIENTS * len(self.epsilons) + 3 * PRODUCTS
        samples = min(self.samples, len(dataset.x_train))
        programs = frozenset([(self.KIND, "value"), (self.KIND, "product")])
        return Work(gradients * samples, gradients, seconds=SECONDS_PER_EPSILON * len(self.epsilons), programs=programs)

    def table(self, run):
        sharpness = {f"φ, ε = {epsilon:g}": run["sharpness"][:, i] for i, epsilon in enumerate(self.epsilons)}
        return sharpness | {name: run[name] for name in ("eigenvalue", "loss")}

    def measure(self, context):
        search = functools.partial(measure_sharpness, self, context)
        columns = yield from run_in_thread(search, GRADIENTS * len(self.epsilons) + PRODUCTS)
        yield 1.0, Result({name: np.asarray(value, np.float32) for name, value in columns.items()})

    def __str__(self):
        rescaled = f", layers rescaled by {self.rescaled:g}" if self.rescaled != 1 else ""
        return f"around {self.trained}{rescaled}: sharpness"


def run_in_thread(work: Callable, calls: int) -> Iterator[tuple[float, Result]]:
    """Run `work(tick)`, which calls `tick` about `calls` times; yield once a second meanwhile; return its value.

    A search of SciPy cannot be left from outside: after this generator is closed, the next tick ends it.
    """
    closed, ticks = threading.Event(), []

    def tick():
        ticks.append(None)
        if closed.is_set():
            raise InterruptedError

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, tick)
        try:
            while not wait([future], timeout=1).done:
                yield min(0.95, len(ticks) / calls), Result({}, progress=0.0)
        finally:
            closed.set()
        return future.result()


def measure_sharpness(experiment: Sharpness, context, tick: Callable) -> dict[str, Any]:
    """Return the columns of a Sharpness. Variables that are not trained stay as they are."""
    trainer = context.trainer
    trainer.set_weights(context.trained_weights())
    weights = rescale_layers(trainer.trainable_part(context.trained_weights()), experiment.rescaled)
    data, point, products = trainer.cached(train_subset, experiment.samples), flatten(weights), []

    def value_and_gradient(vector):
        tick()
        for variable, part in zip(trainer.model.trainable_variables, unflatten(vector, weights), strict=True):
            variable.assign(part)
        loss, gradients = trainer.cached(make_value_and_gradients)(*data)
        return float(loss), flatten(gradients).astype(np.float64)

    def product(vector):
        tick()
        products.append(None)
        return flatten(trainer.cached(make_hessian_product)(*data, unflatten(vector, weights)))

    loss, _ = value_and_gradient(point)
    rises = evaluations = np.full(len(experiment.epsilons), np.nan)
    eigenvalue = np.nan
    if np.isfinite(loss):
        eigenvalue = leading_eigenvalue(product, point.size, context.seed)
        found = [highest_rise(value_and_gradient, point, epsilon) for epsilon in experiment.epsilons]
        rises, evaluations = np.transpose(found)
    return {
        "sharpness": 100 * rises / (1 + loss),
        "rise": rises,
        "evaluations": evaluations,
        "loss": loss,
        "resolution": np.spacing(np.float32(loss)),
        "eigenvalue": eigenvalue,
        "products": len(products),
    }


def flatten(tensors) -> np.ndarray:
    """Return all entries of these tensors as one vector."""
    return np.concatenate([np.asarray(tensor).ravel() for tensor in tensors])


def unflatten(vector: np.ndarray, like: list[np.ndarray]) -> list[np.ndarray]:
    """Return the parts of a vector, as float32, in the shapes of `like`."""
    ends = np.cumsum([np.size(array) for array in like])[:-1]
    parts = np.split(vector.astype(np.float32), ends)
    return [part.reshape(np.shape(array)) for part, array in zip(parts, like, strict=True)]


def rescale_layers(weights: list[np.ndarray], factor: float) -> list[np.ndarray]:
    """Return the first layer times `factor` and the second layer's kernel divided by it: for ReLU the same function.

    The weights of a model without a second kernel become NaN, because it cannot be rescaled.
    """
    if factor == 1:
        return weights
    _, *others = [i for i, weight in enumerate(weights) if weight.ndim > 1]
    if not others:
        return [weight * np.float32(np.nan) for weight in weights]
    second, factor = others[0], np.float32(factor)
    first = [weight * factor for weight in weights[:second]]
    return [*first, weights[second] / factor, *weights[second + 1 :]]


def make_value_and_gradients(trainer: Trainer):
    @tf.function(jit_compile=trainer.use_xla)
    def value_and_gradients(x, y):
        return loss_and_gradients(trainer.model, trainer.model.trainable_variables, x, y, training=False)

    return value_and_gradients


def make_hessian_product(trainer: Trainer):
    @tf.function(jit_compile=trainer.use_xla)
    def product(x, y, vectors):
        """Return the Hessian times a vector: the derivative of the gradient along it."""
        variables = [variable.value for variable in trainer.model.trainable_variables]
        with tf.autodiff.ForwardAccumulator(variables, vectors) as along:
            _, gradients = loss_and_gradients(trainer.model, variables, x, y, training=False)
        return along.jvp(gradients)

    return product


def highest_rise(value_and_gradient: Callable, x: np.ndarray, epsilon: float) -> tuple[float, int]:
    """Return max f(x + y) − f(x) over |yᵢ| ≤ ε (|xᵢ| + 1), by ten iterations of L-BFGS-B, and the evaluations of f."""
    from scipy.optimize import Bounds, minimize  # takes half a second

    x = x.astype(np.float64)
    reach = epsilon * (np.abs(x) + 1)
    values = []

    def negative(y):
        value, gradient = value_and_gradient(x + y)
        values.append(value)
        return -value, -gradient

    # without SciPy's tolerances, which the small gradients of a mean loss would meet before the first step
    options = {"maxiter": 10, "gtol": 0, "ftol": 0}
    minimize(negative, np.zeros_like(x), jac=True, method="L-BFGS-B", bounds=Bounds(-reach, reach), options=options)
    return max(values) - values[0], len(values)  # the first one is that at y = 0


def leading_eigenvalue(product: Callable, size: int, seed: int) -> float:
    """Return the largest eigenvalue of the symmetric matrix (size, size) that `product` multiplies with, to 1 %."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    start = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    operator = LinearOperator((size, size), product, dtype=np.float32)
    return eigsh(operator, 1, which="LA", v0=start, ncv=min(size, 10), tol=1e-2, return_eigenvectors=False)[0]
