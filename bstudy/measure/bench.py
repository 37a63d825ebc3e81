"""How fast the training loop is, beside Keras's own `fit`, and beside the matrix products that no loop can spare."""

import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from bstudy.measure.model import built
from bstudy.measure.train import epoch_in_calls, on_device, optimizer_of

ROUNDS = 3  # the three take turns, so that what else the machine does slows all of them
SECONDS = 0.5  # of each, in each round, or an epoch where that is longer


def compiled_products(batch_size, shapes, learning_rate=1e-6):
    """A compiled call of so many steps of the products of a dense network alone: forward, backward, and the update."""

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


def bench(dataset, batch_sizes):
    """For each batch size yield it, and samples a second: of this loop, of `model.fit`, and of the products alone."""
    data, samples = on_device(dataset), len(dataset.x_train)
    ours, plain = built(dataset.architecture), built(dataset.architecture)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(keras.optimizers.SGD(0.01), loss)
    shapes = [tuple(variable.shape) for variable in ours.trainable_variables if len(variable.shape) > 1]

    for size in batch_sizes:
        order = np.random.default_rng(0).permutation(samples).astype(np.int32)[: samples // size * size]
        products = compiled_products(size, shapes)

        def loop(steps, size=size, order=order):
            return sum(
                s for *_, s in epoch_in_calls(ours, optimizer_of(ours, "sgd"), data, order[: steps * size], size, False)
            )

        def fit(steps, size=size):
            started = time.perf_counter()
            some = slice(steps * size)
            plain.fit(dataset.x_train[some], dataset.y_train[some], batch_size=size, epochs=1, verbose=0)
            return time.perf_counter() - started

        def bound(steps, products=products):
            started = time.perf_counter()
            products(steps)
            return time.perf_counter() - started

        found = {way: [] for way in (loop, fit, bound)}
        steps = dict.fromkeys(found, 1)
        for way in found:
            way(1)  # which compiles
            steps[way] = int(np.clip(SECONDS / way(min(8, samples // size)) * 8, 1, samples // size))
        for _ in range(ROUNDS):
            for way, speeds in found.items():
                speeds.append(steps[way] * size / way(steps[way]))
        yield size, *(statistics.median(speeds) for speeds in found.values())
