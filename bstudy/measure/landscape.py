"""The loss around trained weights: sharpness, curvature, and straight lines between two such points.

SciPy searches, over all weights as one vector; TensorFlow gives it values, gradients and Hessian-vector products.
"""

import functools
import math
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import Bounds, minimize
from scipy.sparse.linalg import LinearOperator, eigsh

from bstudy.experiment.landscape import Line
from bstudy.measure import about
from bstudy.measure.model import evaluate, final_weights, put, shared, trained, xla
from bstudy.measure.train import RUNNING_SUBSET, loss_and_gradients, on_device, random_part
from bstudy.store import Result

STATISTICS_BATCH = 1000


def measure(experiment, dataset, seed, begun, starts):
    """Answer Sharpness or Line; see `bstudy.measure` for what is yielded."""
    if isinstance(experiment, Line):
        yield from line(experiment, dataset, starts)
        return
    work = functools.partial(sharpness, experiment, dataset, seed, final_weights(starts[0]))
    columns = yield from in_a_thread(work, experiment.GRADIENTS * len(experiment.epsilons) + experiment.PRODUCTS)
    columns = {name: np.asarray(value, np.float32) for name, value in columns.items()}
    yield 1.0, Result(columns, {}, about(), 1.0)


def in_a_thread(work, calls):
    """Run `work(tick)`, which calls `tick` about `calls` times, and yield once a second meanwhile; gives its value.

    A search of SciPy's cannot be left from outside: where this generator is closed, the next tick ends it.
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
                yield min(0.95, len(ticks) / calls), Result({}, about=about())
        finally:
            closed.set()
        return future.result()


def flat(tensors):
    return np.concatenate([np.asarray(tensor).ravel() for tensor in tensors])


def parts(vector, like):
    """The pieces of a vector, as float32, in the shapes of `like`."""
    ends = np.cumsum([np.size(array) for array in like])[:-1]
    pieces = np.split(vector.astype(np.float32), ends)
    return [piece.reshape(np.shape(array)) for piece, array in zip(pieces, like, strict=True)]


@functools.cache
def compiled_value(model):
    @tf.function(jit_compile=xla(model))
    def value_and_gradients(x, y):
        return loss_and_gradients(model, model.trainable_variables, x, y, training=False)

    return value_and_gradients


@functools.cache
def compiled_product(model):
    @tf.function(jit_compile=xla(model))
    def product(x, y, vectors):
        """The Hessian times a vector: the derivative of the gradient along it."""
        variables = [variable.value for variable in model.trainable_variables]
        with tf.autodiff.ForwardAccumulator(variables, vectors) as along:
            _, gradients = loss_and_gradients(model, variables, x, y, training=False)
        return along.jvp(gradients)

    return product


def sharpness(experiment, dataset, seed, weights, tick):
    """The columns of a Sharpness; what a model keeps besides its weights stays as it is, as when it is used."""
    model = shared(dataset.architecture)
    x, y = random_part(dataset, experiment.samples)
    put(model, weights)
    weights = trained(model, weights)
    if experiment.rescaled != 1:
        weights = rescaled(weights, experiment.rescaled)
    point, products = flat(weights), []

    def value_and_gradient(vector):
        tick()
        for variable, part in zip(model.trainable_variables, parts(vector, weights), strict=True):
            variable.assign(part)
        loss, gradients = compiled_value(model)(x, y)
        return float(loss), flat(gradients).astype(np.float64)

    def product(vector):
        tick()
        products.append(None)
        return flat(compiled_product(model)(x, y, parts(vector, weights)))

    loss, _ = value_and_gradient(point)
    (rises, evaluations), largest = np.full((2, len(experiment.epsilons)), np.nan), np.nan
    if np.isfinite(loss):
        largest = leading_eigenvalue(product, point.size, seed)
        rises, evaluations = np.transpose(
            [highest_nearby(value_and_gradient, point, epsilon) for epsilon in experiment.epsilons]
        )
    return {
        "sharpness": 100 * rises / (1 + loss),
        "rise": rises,
        "evaluations": evaluations,
        "loss": loss,
        "resolution": np.spacing(np.float32(loss)),
        "eigenvalue": largest,
        "products": len(products),
    }


def rescaled(weights, factor):
    """The first layer times `factor`, the second layer's kernel divided by it: for ReLU units the same function."""
    second = [i for i, weight in enumerate(weights) if weight.ndim > 1][1]
    factor = np.float32(factor)
    return [
        *(weight * factor for weight in weights[:second]),
        weights[second] / factor,
        *weights[second + 1 :],
    ]


def highest_nearby(value_and_gradient, x, epsilon):
    """(max f(x + y) - f(x), evaluations) over |y_i| <= epsilon (|x_i| + 1), by ten iterations of L-BFGS-B."""
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


def leading_eigenvalue(product, size, seed):
    """The largest eigenvalue of the symmetric matrix that `product` multiplies a vector (size,) with, to 1 %."""
    start = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    operator = LinearOperator((size, size), product, dtype=np.float32)
    return eigsh(operator, 1, which="LA", v0=start, ncv=min(size, 10), tol=1e-2, return_eigenvectors=False)[0]


def line(experiment, dataset, starts):
    """Point after point, the whole of what a Recipe's epoch is judged by."""
    model = shared(dataset.architecture)
    ends = [final_weights(start) for start in starts]
    small, large = (trained(model, end) for end in ends)
    put(model, ends[0])
    data, subset, rows = on_device(dataset), random_part(dataset, RUNNING_SUBSET), []
    alphas = np.linspace(-1, 2, experiment.points)
    for alpha in alphas:
        yield len(rows) / len(alphas), Result({}, about=about())
        for variable, a, b in zip(model.trainable_variables, small, large, strict=True):
            variable.assign(alpha * b + (1 - alpha) * a)
        renew_statistics(model, subset[0])
        rows.append((*evaluate(model, *subset), *evaluate(model, data["x_test"], data["y_test"])))
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    columns = dict(zip(names, np.array(rows, np.float32).T, strict=True)) | {"alpha": np.float32(alphas)}
    yield 1.0, Result(columns, {}, about(), 1.0)


def renew_statistics(model, x):
    """Have batch normalisation average over these samples: what it kept belongs to the weights it was trained with."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for number in range(math.ceil(len(x) / STATISTICS_BATCH)):
        for layer in layers:
            layer.momentum = number / (number + 1)  # the mean of all batches so far
        model(x[number * STATISTICS_BATCH :][:STATISTICS_BATCH], training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
