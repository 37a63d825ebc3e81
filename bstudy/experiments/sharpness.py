"""Sharpness: how fast the loss rises around trained weights.

TensorFlow computes values, gradients and Hessian-vector products; all searches are seeded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bstudy.backend import tf
from bstudy.experiments.base import Experiment, Work, checked, positive_float, positive_int
from bstudy.experiments.recipe import Recipe
from bstudy.store import Result
from bstudy.trainer import Trainer, loss_and_gradients, train_subset

PRODUCTS, MAX_PRODUCTS = 5, 30  # of the Hessian with a vector: about, and at most
TOLERANCE = 0.05  # of the residual of the leading eigenvalue
STARTS = 3  # of an ascent: the middle of the box, and random points
STEPS, MAX_STEPS = 6, 20  # of an ascent: about, and at most
LITTLE = 1e-3  # of the rise: an ascent ends after a step that adds less
TINY = 1e-30  # in place of zero, to divide by


def positive_floats(name: str, values: Any) -> tuple[float, ...]:
    return tuple(positive_float(name, value) for value in values)


@dataclass(frozen=True)
class Sharpness(Experiment):
    """How fast the loss rises around trained weights x, by two measures.

    f is the mean loss over a fixed random part of the training set, the same for all weights and seeds. The first is
    the largest eigenvalue of the Hessian of f, by Lanczos iteration from the gradient. The second is metric 2.1 of
    Keskar et al. (2017), for each ε,

        φ = 100 (max f(x + y) − f(x)) / (1 + f(x))   over   |yᵢ| ≤ ε (|xᵢ| + 1),

    with the maximum that projected gradient ascent finds, over all weights and biases; see `ascend`.

    Columns:
        loss: () f(x), in nats.
        resolution: () the float32 spacing at f(x), in nats: smaller rises are rounding errors.
        eigenvalue: () in nats per squared unit of weight.
        residual: () ‖H v − λ v‖ / λ, of the eigenvalue λ and its unit vector v: an eigenvalue is at most this part off.
        sharpness: (epsilons,) φ, in percent.
        rise: (epsilons,) max f(x + y) − f(x), in nats.

    Args:
        trained: The training whose final weights are x.
        epsilons: The sizes ε of the box; with none, only the eigenvalue is measured.
        rescaled: Multiply the first layer by this, and divide the second layer's kernel by it: a ReLU network computes
            the same function after that (Dinh et al. 2017).
        samples: Of the training set, at most.
    """

    KIND = "sharpness"
    VERSION = 2  # 1 searched the box with ten iterations of SciPy's L-BFGS-B

    trained: Recipe
    epsilons: tuple[float, ...] = checked(positive_floats, default=(1e-4,))
    rescaled: float = checked(positive_float, default=1.0)
    samples: int = checked(positive_int, default=5000)

    def work(self, dataset):
        gradients = 3 * PRODUCTS + STARTS * STEPS * len(self.epsilons)
        programs = [(self.KIND, name, self.samples) for name in ("product", "ascent")[: 1 + bool(self.epsilons)]]
        samples = min(self.samples, len(dataset.x_train))
        return Work(gradients * samples, gradients, programs=frozenset(programs))

    def table(self, run):
        sharpness = {f"φ, ε = {epsilon:g}": run["sharpness"][:, i] for i, epsilon in enumerate(self.epsilons)}
        return sharpness | {name: run[name] for name in ("eigenvalue", "loss")}

    def measure(self, context):
        trainer, unfinished = context.trainer, Result({}, progress=0.0)
        trainer.set_weights(context.trained_weights())  # those that are not trained stay as they are
        point = rescale_layers(trainer.trainable_part(context.trained_weights()), self.rescaled)
        for variable, part in zip(trainer.model.trainable_variables, point, strict=True):
            variable.assign(part)
        data = trainer.cached(train_subset, self.samples)

        def product(vector):
            return flatten(trainer.cached(make_hessian_product)(*data, unflatten(vector, point)))

        loss, gradients = loss_and_gradients(trainer.model, trainer.model.trainable_variables, *data, training=False)
        for estimate in lanczos(product, flatten(gradients)):
            yield 0.3, unfinished
            if not estimate[1] > TOLERANCE:  # also if it is NaN
                break
        eigenvalue, residual = estimate
        rises = np.full(len(self.epsilons), np.nan)
        for i, epsilon in enumerate(self.epsilons if np.isfinite(eigenvalue) else ()):
            values = []
            for value in ascend(make_step(trainer, data, point, epsilon), point, context.seed):
                values.append(value)
                yield 0.3 + 0.6 * i / len(rises), unfinished
            rises[i] = max(values) - values[0]
        loss = np.float32(loss)
        columns = {"loss": loss, "resolution": np.spacing(loss), "eigenvalue": eigenvalue, "residual": residual}
        columns |= {"sharpness": 100 * rises / (1 + loss), "rise": rises}
        yield 1.0, Result({name: np.asarray(value, np.float32) for name, value in columns.items()})

    def __str__(self):
        rescaled = f", layers rescaled by {self.rescaled:g}" if self.rescaled != 1 else ""
        return f"around {self.trained}{rescaled}: sharpness"


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


def make_hessian_product(trainer: Trainer):
    @tf.function(jit_compile=trainer.use_xla)
    def product(x, y, vectors):
        """Return the Hessian times a vector: the derivative of the gradient along it."""
        variables = [variable.value for variable in trainer.model.trainable_variables]
        with tf.autodiff.ForwardAccumulator(variables, vectors) as along:
            _, gradients = loss_and_gradients(trainer.model, variables, x, y, training=False)
        return along.jvp(gradients)

    return product


def lanczos(product: Callable, start: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield the largest eigenvalue λ of a symmetric matrix after each product with a vector (size,).

    By the iteration of Lanczos (1950) with full orthogonalization.

    Args:
        product: Vector -> the matrix times it.
        start: The first vector.

    Yields:
        (λ, ‖H v − λ v‖ / λ); (NaN, NaN) if a product is not finite.
    """
    count = min(len(start), MAX_PRODUCTS)
    basis, tridiagonal = np.empty((count, len(start)), np.float32), np.zeros((count + 1, count + 1))
    image, norm = start, np.linalg.norm(start)
    for i in range(count):
        basis[i] = image / max(norm, TINY)
        image = product(basis[i])
        if not np.isfinite(image).all():
            yield np.nan, np.nan
            return
        tridiagonal[i, i] = basis[i] @ image
        for _ in range(2):  # because of rounding
            image = image - (basis[: i + 1] @ image) @ basis[: i + 1]
        values, vectors = np.linalg.eigh(tridiagonal[: i + 1, : i + 1])
        norm = tridiagonal[i, i + 1] = tridiagonal[i + 1, i] = np.linalg.norm(image)
        yield values[-1], norm * abs(vectors[-1, -1]) / max(abs(values[-1]), TINY)


def make_ascent(trainer: Trainer):
    @tf.function(jit_compile=trainer.use_xla)
    def step(x, y, point, position, settings):
        """Return the loss at this position in the box around a point, and the position after one step.

        Positions are in half-widths ε (|xᵢ| + 1), so that the box is the cube [−1, 1]; `settings` are ε and the size
        of the step.
        """
        variables = trainer.model.trainable_variables
        for variable, middle, place in zip(variables, point, position, strict=True):
            variable.assign(middle + settings[0] * (tf.abs(middle) + 1) * place)
        loss, gradients = loss_and_gradients(trainer.model, variables, x, y, training=False)
        moved = [place + settings[1] * tf.sign(slope) for place, slope in zip(position, gradients, strict=True)]
        return loss, [tf.clip_by_value(place, -1, 1) for place in moved]

    return step


def make_step(trainer: Trainer, data: tuple, point: list[np.ndarray], epsilon: float) -> Callable:
    """Return `step(position, size)`, for `ascend`."""
    point, compiled = [tf.constant(part) for part in point], trainer.cached(make_ascent)
    return lambda position, size: compiled(*data, point, position, tf.constant([epsilon, size], tf.float32))


def ascend(step: Callable, like: list[np.ndarray], seed: int) -> Iterator[float]:
    """Yield the values of a function on the cube [−1, 1] along projected ascents; the first is that at 0.

    A step adds its size times the sign of the gradient, and is clipped to the cube. Steps of size 2 go from corner to
    corner, and on a convex function they never descend. After a descent, the size is halved. An ascent ends if the
    value has almost stopped to rise.

    Args:
        step: (position, size) -> the value there, and the position after a step.
        like: Arrays in the shapes of a position.
        seed: Of the random starts.
    """
    random, middle = np.random.default_rng(seed), None
    for start in range(STARTS):
        position = [np.float32(random.uniform(-1, 1, np.shape(part)) * (start > 0)) for part in like]
        size, before = 2.0, -np.inf
        for _ in range(MAX_STEPS):
            value, position = step(position, size)
            value = float(value)
            yield value
            middle = value if middle is None else middle
            if 0 <= value - before <= LITTLE * (value - middle):
                break
            size, before = (size / 2 if value < before else size), value
