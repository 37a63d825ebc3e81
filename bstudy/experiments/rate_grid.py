"""A small network, trained with many learning rates at once: which of them are good for a batch size."""

from dataclasses import dataclass, replace

import numpy as np

from bstudy.backend import tf
from bstudy.errors import InvalidInput
from bstudy.experiments.base import (
    Experiment,
    Work,
    added,
    ascending,
    below_one,
    check_batch_size,
    checked,
    one_of,
    positive_float,
    positive_int,
)
from bstudy.experiments.recipe import positive_int_or_none
from bstudy.models import HIDDEN
from bstudy.store import Result
from bstudy.trainer import Trainer, cross_entropy, epoch_permutation, subset_rows, wrong_labels

POINTS = 16  # of evaluation, by default
EPSILON = 1e-7
SEEDS = 1000  # of a Lab, at most: a trial's seed is that of no other
WARMUP = 0.05  # of the steps, if the rate is scheduled
SECONDS_PER_STEP = 2e-5  # of one run, and 1e-9 for each of its weights


@dataclass(frozen=True)
class RateGrid(Experiment):
    """A network with one hidden layer of 64 ReLU units, trained with each learning rate for the same samples.

    All runs start from the same weights and see the same batches. They are trained together: each weight has one more
    axis, the learning rates. Batches follow each other through the permutations of the epochs, without a smaller one at
    the end of an epoch. The clock is the number of samples seen.

    Columns, at equal distances on the clock:
        test_accuracy, test_loss: (learning rates, points) in percent, and nats.
        train_loss: (learning rates, points) the mean loss of the batches since the point before, each before its step.
    From the point on at which a loss stopped being finite, the values of this learning rate are NaN.

    Args:
        batch_size: Samples a step.
        learning_rates: Of the runs.
        optimizer: "sgd" or "adam".
        momentum: Of SGD.
        beta_1: Of Adam, whose epsilon is 1e-7.
        beta_2: Of Adam.
        samples: Of the whole training, with repetitions: a multiple of `points` times the batch size.
        label_noise: The fraction of training labels that are wrong, as in a Recipe. The test loss is that of equally
            noisy labels, in expectation; the test accuracy is that of the true ones.
        schedule: "constant", or "cosine": 5 % of the steps of linear warm-up, then half a cosine wave down to 0.
        train_samples: The number of training samples to use, None for all: the same ones as in a Recipe.
        points: Of evaluation.
        trials: How often the training is repeated, with other weights and batches. The columns are means over trials.
    """

    KIND = "rate_grid"

    batch_size: int = checked(positive_int)
    learning_rates: tuple[float, ...] = checked(ascending(positive_float))
    optimizer: str = checked(one_of("sgd", "adam"), default="sgd")
    momentum: float = checked(below_one, default=0.0)
    beta_1: float = checked(below_one, default=0.9)
    beta_2: float = checked(below_one, default=0.999)
    samples: int = checked(positive_int, default=2**14)
    label_noise: float = checked(below_one, default=0.0)
    schedule: str = checked(one_of("constant", "cosine"), default="constant")
    train_samples: int | None = added(positive_int_or_none, None)
    points: int = added(positive_int, POINTS)
    trials: int = added(positive_int, 1)

    def __post_init__(self):
        super().__post_init__()
        if self.samples % (self.points * self.batch_size):
            raise InvalidInput(f"samples must be a multiple of {self.points * self.batch_size}, not {self.samples}")

    def validate(self, dataset):
        check_batch_size(self.batch_size, dataset)
        if (self.train_samples or 0) > len(dataset.x_train):
            text = f"train_samples must be at most {len(dataset.x_train)}, the size of the training set"
            raise InvalidInput(f"{text} of {dataset.name}, not {self.train_samples}")

    def work(self, dataset):
        weights = len(self.learning_rates) * HIDDEN * (dataset.x_train[0].size + dataset.classes)
        slots = 3 if self.optimizer == "adam" else 1
        seconds = (
            self.trials
            * self.samples
            / self.batch_size
            * (SECONDS_PER_STEP + 1e-9 * weights * (slots + self.batch_size / 10))
        )
        return Work(seconds=seconds, programs=frozenset([(self.KIND, self.batch_size, self.optimizer)]))

    def table(self, run):
        loss = run["test_loss"][..., -max(1, self.points // 4) :].mean(axis=-1)
        best = np.argmin(np.where(np.isnan(loss), np.inf, loss), axis=1)
        return {"best rate": np.array(self.learning_rates)[best], "its test loss": loss[np.arange(len(loss)), best]}

    def measure(self, context):
        if self.trials == 1:
            yield from self.measure_trial(context)
            return
        columns = []
        for trial in range(self.trials):
            seed = context.seed + SEEDS * trial
            for progress, result in self.measure_trial(replace(context, seed=seed, resume_from=None)):
                found = result.columns
                yield (trial + 0.99 * progress) / self.trials, Result({}, progress=0.0)
            columns.append(found)
        means = {name: np.mean([each[name] for each in columns], axis=0) for name in NAMES}
        yield 1.0, Result(means, diverged=bool(np.isnan(means["test_loss"][:, -1]).all()))

    def measure_trial(self, context):
        """Yield `(progress, result)` of one trial."""
        data, start = context.dataset, context.resume_from
        trainer, points = context.trainer, self.points
        train = trainer.cached(make_training, self.batch_size, self.optimizer, len(self.learning_rates))
        state = self.initial_state(data, context.seed) if start is None else start.state
        columns = {name: np.full((len(self.learning_rates), points), np.nan, np.float32) for name in NAMES}
        x, y = trainer.training_data[0], wrong_labels(data.y_train, data.classes, self.label_noise, context.seed)
        first = 0
        if start is not None:
            first = start.metadata["points"]
            columns = {name: column.copy() for name, column in start.columns.items()}
        rows = subset_rows(len(data.x_train), self.train_samples)
        stream = rows[sample_stream(len(rows), context.seed, self.samples)].reshape(points, -1)
        factors = self.step_factors().reshape(points, -1, 3)
        for point in range(first, points):
            yield point / points, Result(columns, state, {"points": point}, point / points)
            tensors = [tf.constant(state[name]) for name in state]
            constants = tf.constant([self.momentum, 1 - self.beta_1, 1 - self.beta_2], tf.float32)
            rates = tf.constant(self.learning_rates, tf.float32)
            loss, tensors = train(
                (x, y), tf.constant(stream[point]), tf.constant(factors[point]), rates, constants, tensors
            )
            state = {name: tensor.numpy() for name, tensor in zip(state, tensors, strict=True)}
            test = trainer.cached(make_evaluation)(*trainer.test_data, tensors[:4], tf.constant(self.label_noise))
            for name, values in zip(NAMES, (*test, loss), strict=True):
                columns[name][:, point] = values.numpy()
            lost = ~np.isfinite([columns["test_loss"][:, point], columns["train_loss"][:, point]]).all(axis=0)
            for column in columns.values():
                column[lost, point:] = np.nan
        diverged = np.isnan(columns["test_loss"][:, -1]).all()
        yield 1.0, Result(columns, state, {"points": points}, diverged=bool(diverged))

    def initial_state(self, data, seed: int) -> dict[str, np.ndarray]:
        """Return the weights of all runs, Glorot uniform kernels and zero biases, and the optimizer's state."""
        initial = initial_weights(data, np.random.default_rng([seed, 2]))
        names = ("kernel_0", "bias_0", "kernel_1", "bias_1")
        tiled = (np.tile(weight, (len(self.learning_rates), 1, 1)) for weight in initial)
        state = dict(zip(names, tiled, strict=True))
        for slot in range(2 if self.optimizer == "adam" else 1):
            state |= {f"slot_{slot}_{name}": np.zeros_like(state[name]) for name in names}
        return state

    def step_factors(self) -> np.ndarray:
        """Return (steps, 3) the factor of the learning rate by the schedule, and Adam's two bias corrections."""
        total = self.samples // self.batch_size
        steps = np.arange(1, total + 1)
        first, second = (1 - np.float64(beta) ** steps for beta in (self.beta_1, self.beta_2))
        decay = (1 + np.cos(np.pi * np.maximum(0, steps / total - WARMUP) / (1 - WARMUP))) / 2
        scale = decay * np.minimum(1, steps / (WARMUP * total)) if self.schedule == "cosine" else np.ones(total)
        return np.stack([scale, 1 / first, np.sqrt(second)], axis=1).astype(np.float32)

    def __str__(self):
        name = f"Adam, β₂ = {self.beta_2:.6g}" if self.optimizer == "adam" else "SGD"
        momentum = f", momentum {self.momentum:g}" if self.momentum else ""
        return f"{self.batch_size}: {name}{momentum}, {len(self.learning_rates)} learning rates"


NAMES = ("test_loss", "test_accuracy", "train_loss")


def sample_stream(samples: int, seed: int, length: int) -> np.ndarray:
    """Return (length,) the rows that a training sees: the permutations of its epochs, one after another."""
    epochs = -(-length // samples)
    return np.concatenate([epoch_permutation(samples, seed, epoch) for epoch in range(epochs)])[:length]


def initial_weights(dataset, random: np.random.Generator) -> list[np.ndarray]:
    """Return kernels and biases of the network: Glorot uniform, and zero."""
    weights = []
    for inputs, units in ((dataset.x_train[0].size, HIDDEN), (HIDDEN, dataset.classes)):
        limit = np.sqrt(6 / (inputs + units))
        weights.append(random.uniform(-limit, limit, (inputs, units)).astype(np.float32))
        weights.append(np.zeros((1, units), np.float32))
    return weights


def logits(x, weights):
    """Return (runs, n, classes) of the network with stacked weights."""
    kernel, bias, last_kernel, last_bias = weights
    flat = tf.reshape(x, [x.shape[0], -1])
    hidden = tf.nn.relu(tf.matmul(flat, kernel) + bias)
    return tf.matmul(hidden, last_kernel) + last_bias


def losses(x, y, weights):
    """Return (runs, n) the cross-entropy of each sample in each run, and its logits."""
    outputs = logits(x, weights)
    return cross_entropy(tf.broadcast_to(y, outputs.shape[:2]), outputs), outputs


def make_training(trainer: Trainer, batch_size: int, optimizer: str, runs: int):
    """Return a compiled function that takes the steps of some samples, and returns mean losses and the new state."""

    def sgd(gradients, slots, rates, constants, factor):
        moved = [
            constants[0] * slot - factor[0] * rates * gradient for slot, gradient in zip(slots, gradients, strict=True)
        ]
        return moved, moved

    def adam(gradients, slots, rates, constants, factor):
        first = [m + constants[1] * (g - m) for m, g in zip(slots[:4], gradients, strict=True)]
        second = [v + constants[2] * (g * g - v) for v, g in zip(slots[4:], gradients, strict=True)]
        rates = rates * factor[0] * factor[1] * factor[2]
        return [-rates * m / (tf.sqrt(v) + EPSILON) for m, v in zip(first, second, strict=True)], first + second

    update = adam if optimizer == "adam" else sgd

    @tf.function(jit_compile=True)
    def train(data, rows, factors, rates, constants, state):
        x, y = data
        flat, steps = tf.reshape(x, [x.shape[0], -1]), rows.shape[0] // batch_size
        rates, total, i = tf.reshape(rates, [runs, 1, 1]), tf.zeros(runs), tf.constant(0)
        weights, slots = state[:4], state[4:]
        while i < steps:
            batch = tf.slice(rows, [i * batch_size], [batch_size])
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss = tf.reduce_mean(losses(tf.gather(flat, batch), tf.gather(y, batch), weights)[0], axis=1)
            updates, slots = update(tape.gradient(loss, weights), slots, rates, constants, factors[i])
            weights = [weight + change for weight, change in zip(weights, updates, strict=True)]
            total += loss / steps
            i += 1
        return total, weights + slots

    return train


def make_evaluation(trainer: Trainer):
    """Return a compiled function of samples and stacked weights: (runs,) the mean loss, and the accuracy in percent.

    The loss is that of noisy labels, in expectation over the noise.
    """

    @tf.function(jit_compile=True)
    def evaluate(x, y, weights, noise):
        loss, outputs = losses(x, y, weights)
        classes = outputs.shape[-1]
        of_all = -tf.reduce_sum(tf.nn.log_softmax(outputs), axis=-1)  # the sum over all labels that y could have
        loss = (1 - noise) * loss + noise / (classes - 1) * (of_all - loss)
        correct = tf.argmax(outputs, axis=2, output_type=y.dtype) == y
        return tf.reduce_mean(loss, axis=1), 100 * tf.reduce_mean(tf.cast(correct, tf.float32), axis=1)

    return evaluate
