"""How fast the training loop is, compared with Keras's `fit` and with the computing that no loop can avoid."""

import functools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bstudy.backend import keras, keras_defaults, start, tf
from bstudy.data import Dataset
from bstudy.models import MLP, ModelSpec
from bstudy.trainer import Trainer, loss_and_gradients

ROUNDS = 3  # the ways take turns, so that other work of the machine slows all of them
SECONDS = 0.5  # of each in each round, or an epoch if that is longer


class Speeds(NamedTuple):
    """Samples a second at a batch size."""

    batch_size: int
    loop: float  # of the training loop
    other: float  # of the same loop with XLA if it has none, and without if it has; NaN if XLA cannot compile it
    fit: float  # of Keras's fit
    bound: float  # of the matrix products alone (mlp), or of the passes and a plain update on one batch (others)


def bench(dataset: Dataset, batch_sizes: Iterable[int], spec: ModelSpec = MLP) -> Iterator[Speeds]:
    """Yield the speeds of each way to train a model, for each batch size."""
    start()
    with keras_defaults():
        trainer, other, fitted = Trainer(dataset, spec), Trainer(dataset, spec), Trainer(dataset, spec).model
        other.use_xla = other.compile_loop = not trainer.use_xla
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        fitted.compile(keras.optimizers.SGD(0.01), loss)
        for size in batch_sizes:
            bound = make_products(trainer.model, size) if spec == MLP else make_passes(trainer, size)
            ways = [
                functools.partial(time_loop, trainer, size),
                functools.partial(time_loop, other, size),
                functools.partial(time_fit, fitted, dataset, size),
                functools.partial(time_bound, bound),
            ]
            can_compare = spec.has_xla or trainer.use_xla
            speeds = samples_per_second(
                ways if can_compare else ways[:1] + ways[2:], size, len(dataset.x_train) // size
            )
            yield Speeds(size, *(speeds if can_compare else [speeds[0], np.nan, *speeds[1:]]))


def samples_per_second(ways: list[Callable], batch_size: int, max_steps: int) -> list[float]:
    """Return the median speed of each way, a function of the number of steps that returns seconds."""
    steps, speeds = [], [[] for _ in ways]
    for way in ways:
        way(1)  # compiles
        trial = min(8, max_steps)
        steps.append(int(np.clip(SECONDS / way(trial) * trial, 1, max_steps)))
    for _ in range(ROUNDS):
        for way, count, found in zip(ways, steps, speeds, strict=True):
            found.append(count * batch_size / way(count))
    return [statistics.median(found) for found in speeds]


def time_loop(trainer: Trainer, batch_size: int, steps: int) -> float:
    """Return the seconds of this many steps of bstudy's training loop."""
    samples = len(trainer.dataset.x_train)
    order = np.random.default_rng(0).permutation(samples).astype(np.int32)[: steps * batch_size]
    return sum(segment.seconds for segment in trainer.train_epoch(order, batch_size))


def time_fit(model: "keras.Model", dataset: Dataset, batch_size: int, steps: int) -> float:
    """Return the seconds of this many steps of Keras's `fit`."""
    started, rows = time.perf_counter(), slice(steps * batch_size)
    model.fit(dataset.x_train[rows], dataset.y_train[rows], batch_size=batch_size, epochs=1, verbose=0)
    return time.perf_counter() - started


def time_bound(bound: Callable, steps: int) -> float:
    """Return the seconds of this many steps of the computing that no loop can avoid."""
    started = time.perf_counter()
    bound(steps)
    return time.perf_counter() - started


def make_products(model: "keras.Model", batch_size: int, learning_rate: float = 1e-6) -> Callable:
    """Return a compiled function that runs only the products of a dense network: forward, backward, and the update."""
    shapes = [tuple(variable.shape) for variable in model.trainable_variables if len(variable.shape) > 1]

    @tf.function(jit_compile=True)
    def products(x, kernels, steps):
        i = tf.constant(0)
        while i < steps:
            layers = [x]
            for kernel in kernels:
                layers.append(layers[-1] @ kernel)
            delta, updated = layers.pop(), []
            for kernel, layer in zip(reversed(kernels), reversed(layers), strict=True):
                updated.insert(0, kernel - learning_rate * tf.transpose(layer) @ delta)
                delta = delta @ tf.transpose(kernel)
            kernels = updated
            i += 1
        return kernels

    random = np.random.default_rng(0)
    kernels = [tf.constant(random.normal(size=shape) / shape[0] ** 0.5, tf.float32) for shape in shapes]
    x = tf.constant(random.normal(size=(batch_size, shapes[0][0])), tf.float32)
    return lambda steps: products(x, kernels, tf.constant(steps))[0].numpy()


def make_passes(trainer: Trainer, batch_size: int, learning_rate: float = 1e-6) -> Callable:
    """Return a compiled function that runs only the passes of any network, forward and backward, and w ← w − η g.

    All steps have one batch: nothing is gathered, recorded or counted.
    """
    model, variables = trainer.model, trainer.model.trainable_variables
    x, y = (part[:batch_size] for part in trainer.training_data)

    @tf.function(jit_compile=trainer.use_xla)
    def passes(steps):
        i, loss = tf.constant(0), tf.constant(0.0)
        while i < steps:
            loss, gradients = loss_and_gradients(model, variables, x, y)
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(learning_rate * gradient)
            i += 1
        return loss

    return lambda steps: passes(tf.constant(steps)).numpy()
