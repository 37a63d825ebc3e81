"""How fast the training loop is, compared with Keras's `fit` and with the matrix products that no loop can avoid."""

import functools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from bstudy.backend import keras, keras_defaults, start, tf
from bstudy.data import Dataset
from bstudy.trainer import Trainer

ROUNDS = 3  # the three take turns, so that other work of the machine slows all of them
SECONDS = 0.5  # of each in each round, or an epoch if that is longer


def bench(dataset: Dataset, batch_sizes: Iterable[int]) -> Iterator[tuple[int, float, float, float]]:
    """Yield for each batch size: it, and samples a second of this loop, of `fit`, and of the matrix products alone."""
    start()
    with keras_defaults():
        trainer, fitted = Trainer(dataset), Trainer(dataset).model
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        fitted.compile(keras.optimizers.SGD(0.01), loss)
        for size in batch_sizes:
            ways = [
                functools.partial(time_loop, trainer, size),
                functools.partial(time_fit, fitted, dataset, size),
                functools.partial(time_products, make_products(trainer.model, size)),
            ]
            yield size, *samples_per_second(ways, size, len(dataset.x_train) // size)


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


def time_products(products: Callable, steps: int) -> float:
    """Return the seconds of this many steps of the matrix products."""
    started = time.perf_counter()
    products(steps)
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
