"""The gradient trials: the same samples cut into batches of every size, from the same weights.

One trial at one batch size is one compiled call. What leaves it is G, the gradient of the last layer's kernel (some
40 kB), of which a few numbers are kept: a list of all entries of all trials would take gigabytes.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from bstudy.errors import InvalidInput
from bstudy.experiment.gradients import GradientTrials, NoiseScale, SingleBatches, StepNorms
from bstudy.measure import THREADS, about
from bstudy.measure.model import built, final_weights, put, shared, xla
from bstudy.measure.train import (
    batches_of,
    epoch_in_calls,
    epoch_order,
    loss_and_gradients,
    on_device,
    optimizer_of,
    step,
)
from bstudy.store import Result

NO_STEP = 1e-30  # a learning rate that changes no gradient in float32
BLOCKS = 5  # of trials, for the intervals of what is counted
_MAGNITUDES = np.logspace(-8, 2, 20 * 10 + 1)  # twenty bins a decade; what is smaller or larger is counted at the ends
EDGES = np.concatenate([-_MAGNITUDES[::-1], _MAGNITUDES])  # the bins between them, and one beyond each end


def last_kernel(model):
    """The index of the last layer's kernel among the trainable variables."""
    return max(i for i, variable in enumerate(model.trainable_variables) if len(variable.shape) > 1)


@functools.cache
def compiled_trial(model, batch_size, samples, update):
    """A compiled call that steps once through the drawn samples from the weights `start`, and gives G."""
    optimizer, kernel = optimizer_of(model, "sgd"), last_kernel(model)
    whole, left = divmod(samples, batch_size)

    @tf.function(jit_compile=xla(model))
    def trial(x, y, drawn, start):
        batch = batches_of(x, y, drawn)

        def gradient(first, size):
            if update == "sgd":
                found = step(model, optimizer, *batch(first, size))[1][kernel]
            else:
                variables = model.trainable_variables[kernel : kernel + 1]
                _, (found,) = loss_and_gradients(model, variables, *batch(first, size))
            return found * (size / samples)

        put(model, start)
        total, i = tf.zeros_like(model.trainable_variables[kernel]), tf.constant(0)
        while i < whole:
            total += gradient(i * batch_size, batch_size)
            i += 1
        return total + gradient(whole * batch_size, left) if left else total

    return trial


@functools.cache
def workers(architecture):
    """One model for each thread: steps of few samples keep one core busy, and not two."""
    return [built(architecture) for _ in range(THREADS)]


def measure(experiment, dataset, seed, begun, starts):
    """Answer one of the questions of `bstudy.experiment.gradients`; see `bstudy.measure` for what is yielded."""
    answer = {
        GradientTrials: trials,
        NoiseScale: noise_scale,
        SingleBatches: single_batches,
        StepNorms: step_norms,
    }[type(experiment)]
    return answer(experiment, dataset, seed, begun, final_weights(starts[0]))


def drawn(experiment, dataset, seed, trial):
    """(samples,) which training samples a trial sees: the seed and the trial decide, and nothing that is studied."""
    return np.random.default_rng([seed, trial, 1024]).integers(
        len(dataset.x_train), size=experiment.samples, dtype=np.int32
    )


def trials(experiment, dataset, seed, begun, weights):
    """Trial after trial, each for all batch sizes, so that what is finished is a smaller answer of the same kind."""
    data, start, sizes = on_device(dataset), [tf.constant(weight) for weight in weights], experiment.batch_sizes
    models = workers(dataset.architecture)
    entries = int(np.prod(models[0].trainable_variables[last_kernel(models[0])].shape))
    for model in models:
        optimizer_of(model, "sgd").learning_rate = experiment.learning_rate

    def gradients_of(worker, samples):
        settings = experiment.samples, experiment.update
        calls = [compiled_trial(models[worker], size, *settings) for size in sizes[worker::THREADS]]
        return [call(data["x_train"], data["y_train"], samples, start).numpy().ravel() for call in calls]

    columns = begun.columns if begun is not None else empty(len(sizes))
    finished = Result(columns, about=about(), share=columns["norm"].shape[1] / experiment.trials)
    with ThreadPoolExecutor(THREADS) as pool:
        for trial in range(columns["norm"].shape[1], experiment.trials):
            yield trial / experiment.trials, finished
            samples = tf.constant(drawn(experiment, dataset, seed, trial))
            gradients = np.empty((len(sizes), entries))
            for worker, found in enumerate(pool.map(gradients_of, range(THREADS), [samples] * THREADS)):
                gradients[worker::THREADS] = np.reshape(found, (-1, weights[-2].size))  # also of no batch size
            columns = added(columns, gradients, trial)
            finished = Result(columns, about=about(), share=(trial + 1) / experiment.trials)
    finished.columns = columns | {"edges": EDGES}
    yield 1.0, finished


@functools.cache
def compiled_squares(model, small, parts):
    """A compiled call that gives, of so many parts of the drawn samples, the mean of |G|², and |G|² of all together."""
    variables = model.trainable_variables

    def squared(gradients):
        return tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients])

    @tf.function(jit_compile=xla(model))
    def squares(x, y, drawn):
        batch = batches_of(x, y, drawn)
        mean, total, i = tf.constant(0.0), [tf.zeros_like(variable) for variable in variables], tf.constant(0)
        while i < parts:
            _, gradients = loss_and_gradients(model, variables, *batch(i * small, small))
            mean += squared(gradients) / parts
            total = [before + gradient / parts for before, gradient in zip(total, gradients, strict=True)]
            i += 1
        return mean, squared(total)

    return squares


def noise_scale(experiment, dataset, seed, begun, weights):
    """Batch after batch, so that what is finished is a smaller answer of the same kind."""
    model, data = shared(dataset.architecture), on_device(dataset)
    put(model, weights)
    small, large = experiment.small, experiment.large
    squares = compiled_squares(model, small, large // small)
    columns = {name: list(values) for name, values in begun.columns.items()} if begun is not None else {}
    traces, norms = columns.get("noise_trace", []), columns.get("squared_gradient_norm", [])
    while True:
        finished = {"noise_trace": np.float32(traces), "squared_gradient_norm": np.float32(norms)}
        share = len(traces) / experiment.batches
        yield share, Result(finished, about=about(), share=share)
        if share == 1:
            return
        random = np.random.default_rng([seed, len(traces), large])
        samples = tf.constant(random.integers(len(dataset.x_train), size=large, dtype=np.int32))
        of_small, of_large = (float(square) for square in squares(data["x_train"], data["y_train"], samples))
        traces.append((of_small - of_large) / (1 / small - 1 / large))
        norms.append((large * of_large - small * of_small) / (large - small))


def empty(sizes):
    """The columns of so many batch sizes before the first trial."""
    numbers = ("norm", "cosine_to_smallest", "cosine_to_largest")
    return {name: np.zeros((sizes, 0), np.float32) for name in numbers} | {
        "power_sums": np.zeros((sizes, BLOCKS, 4)),
        "histogram": np.zeros((sizes, BLOCKS, len(EDGES) + 1), np.int64),
        "extremes": np.tile([np.inf, -np.inf], (sizes, 1)),
    }


def added(columns, gradients, trial):
    """New columns with one more trial; `gradients` are (batch sizes, entries)."""
    block, norm = trial % BLOCKS, np.linalg.norm(gradients, axis=1)
    numbers = {
        "norm": norm,
        "cosine_to_smallest": gradients @ gradients[0] / (norm * norm[0]),
        "cosine_to_largest": gradients @ gradients[-1] / (norm * norm[-1]),
    }
    more = {name: np.column_stack([columns[name], values.astype(np.float32)]) for name, values in numbers.items()}
    more["power_sums"] = columns["power_sums"].copy()
    more["power_sums"][:, block] += np.stack([(gradients**power).sum(axis=1) for power in (1, 2, 3, 4)], axis=1)
    more["histogram"] = columns["histogram"].copy()
    for counts, entries in zip(more["histogram"], gradients, strict=True):
        counts[block] += np.bincount(np.searchsorted(EDGES, entries, side="right"), minlength=len(EDGES) + 1)
    low, high = columns["extremes"].T
    more["extremes"] = np.stack([np.minimum(low, gradients.min(1)), np.maximum(high, gradients.max(1))], axis=1)
    return more


def single_batches(experiment, dataset, seed, begun, weights):
    """The last kernel's gradient is Σ h_i δ_iᵀ, with the layer's input h and δ = softmax − one-hot: no tape needed."""
    model = shared(dataset.architecture)
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.linear:
        raise InvalidInput(
            f"the model {dataset.model} must end in a Dense layer without an activation for this chapter"
        )
    put(model, weights)
    inputs = keras.Model(model.inputs[0], last.input)
    h, delta = [], []
    for first in range(0, len(dataset.x_train), 10_000):
        x, y = dataset.x_train[first : first + 10_000], dataset.y_train[first : first + 10_000]
        h.append(inputs(x, training=False).numpy())
        delta.append(tf.nn.softmax(model(x, training=False)).numpy() - np.eye(dataset.classes, dtype=np.float32)[y])
    h, delta = np.concatenate(h), np.concatenate(delta)
    squares = np.mean(np.square(h).sum(1, dtype=np.float64) * np.square(delta).sum(1, dtype=np.float64))
    squared_gradient_norm = np.sum(np.square(h.T @ delta / len(h), dtype=np.float64))

    random, norms = np.random.default_rng([seed, 1]), []
    for number, size in enumerate(experiment.batch_sizes):
        draws = (random.integers(len(h), size=size) for _ in range(experiment.draws))
        norms.append([np.linalg.norm(h[drawn].T @ delta[drawn]) for drawn in draws])
        yield (number + 0.5) / len(experiment.batch_sizes), Result({}, about=about())
    columns = {
        "norm": np.array(norms, np.float32),
        "noise_trace": np.float32(squares - squared_gradient_norm),
        "squared_gradient_norm": np.float32(squared_gradient_norm),
    }
    yield 1.0, Result(columns, {}, about(), 1.0)


def step_norms(experiment, dataset, seed, begun, weights):
    """Batch size after batch size, an epoch each."""
    model, data = shared(dataset.architecture), on_device(dataset)
    optimizer, order = optimizer_of(model, "sgd"), epoch_order(len(dataset.x_train), seed, 0)
    optimizer.learning_rate = experiment.learning_rate if experiment.update == "sgd" else NO_STEP
    sizes, columns = experiment.batch_sizes, {"mean": [], "quantiles": [], "path": [], "slack": []}
    share = np.cumsum([0, *(1 / size for size in sizes)]) / sum(1 / size for size in sizes)  # of the steps
    if begun is not None:
        columns = {name: list(values) for name, values in begun.columns.items()}
    finished = begun or Result({}, about=about())
    for i in range(len(columns["mean"]), len(sizes)):
        put(model, weights)
        parts = []
        for done, values, _ in epoch_in_calls(model, optimizer, data, order, sizes[i], True):
            parts.append(values[1])
            yield min(0.999, share[i] + done * (share[i + 1] - share[i])), finished
        norms = np.concatenate(parts).astype(float)
        columns["mean"].append(norms.mean())
        columns["quantiles"].append(np.quantile(norms, [0, 0.05, 0.5, 0.95, 1]))
        columns["path"].append(binned(norms, 20))
        if i:
            columns["slack"].append(slack(sizes[i - 1 : i + 1], (finished.state["norms"], norms)))
        arrays = {name: np.array(values, np.float32) for name, values in columns.items()}
        finished = Result(arrays, {"norms": norms}, about(), 1.0 if i + 1 == len(sizes) else share[i + 1])
    yield 1.0, finished


def binned(values, bins):
    """(bins,) the mean of the values in each part of their course; NaN in a part without any."""
    where = np.arange(len(values)) * bins // len(values)
    with np.errstate(invalid="ignore"):
        return np.bincount(where, values, bins) / np.bincount(where, minlength=bins)


def slack(sizes, norms):
    """The smallest share by which the triangle inequality leaves room where batches are joined in larger ones."""
    (small, large), (parts, wholes) = sizes, norms
    joined, left = divmod(large, small)
    whole = len(parts) // joined
    if left or not whole:
        return np.nan
    means = parts[: whole * joined].reshape(whole, joined).mean(axis=1)
    return (means / wholes[:whole] - 1).min()
