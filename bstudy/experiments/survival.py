"""Survival: which learning rates a short training survives, with warm-ups of several lengths."""

from dataclasses import dataclass

import numpy as np

from bstudy.backend import tf
from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, ascending, check_batch_size, checked, positive_float, positive_int
from bstudy.experiments.rate_grid import SECONDS_PER_STEP, initial_weights, losses
from bstudy.experiments.recipe import warmup
from bstudy.models import HIDDEN
from bstudy.store import Result
from bstudy.trainer import Trainer, train_subset

SAMPLES = 512  # of the training set, at most, for the final loss and the sharpness
PRODUCTS = 20  # of the Hessian with a vector


@dataclass(frozen=True)
class Survival(Experiment):
    """Short trainings over a grid of learning rates and lengths of the warm-up: which of them survive.

    The network has one hidden layer of 64 ReLU units, so that all trainings of a trial are done together. They take the
    same number of steps of SGD, from the same weights with the same batches: consecutive parts of permutations, without
    the samples that do not fill a batch. Each trial has weights and batches of its own. With a warm-up of W steps, step
    t has the learning rate η min(1, t / W). A training survives if its loss stays finite and ends below half of
    ln(classes): half the loss of a model that guesses. This also excludes a network that only learned how frequent the
    classes are.

    Columns:
        final_loss: (trials, warm-ups, learning rates) in nats, on at most 512 training samples, the same for all; NaN
            if the training diverged.
        survived: (trials, warm-ups, learning rates) 1 or 0.
        initial_eigenvalue: (trials,) the sharpness λ before the first step, on these samples, by power iteration.
        eigenvalue: (trials, learning rates) λ at the end of the longest warm-up; NaN if the training does not survive.

    Args:
        batch_size: Samples a step.
        learning_rates: η.
        warmup_steps: W, of each warm-up; 0 for none.
        steps: Of each training.
        kernel_scale: The initial kernels are multiplied by this: with larger ones the sharpness starts higher.
        trials: How often each training is repeated.
    """

    KIND = "survival"
    VERSION = 2  # 1 had one trial with the network of the study

    batch_size: int = checked(positive_int)
    learning_rates: tuple[float, ...] = checked(ascending(positive_float))
    warmup_steps: tuple[int, ...] = checked(ascending(warmup))
    steps: int = checked(positive_int)
    kernel_scale: float = checked(positive_float, default=1.0)
    trials: int = checked(positive_int, default=1)

    def __post_init__(self):
        super().__post_init__()
        if self.warmup_steps[-1] >= self.steps:
            raise InvalidInput(f"warmup_steps must be below steps, {self.steps}, not {self.warmup_steps[-1]}")

    def validate(self, dataset):
        check_batch_size(self.batch_size, dataset)

    def work(self, dataset):
        weights = len(self.learning_rates) * HIDDEN * (dataset.x_train[0].size + dataset.classes)
        steps = len(self.warmup_steps) * self.steps * (1 + self.batch_size / 10)
        products = 2 * PRODUCTS * min(SAMPLES, len(dataset.x_train)) / 10
        seconds = self.trials * (self.steps * SECONDS_PER_STEP + 1e-9 * weights * (steps + products))
        return Work(seconds=seconds, programs=frozenset([(self.KIND, self.batch_size), (self.KIND, "product")]))

    def table(self, run):
        rows = enumerate(self.warmup_steps)
        return {f"survived, W = {steps}": run["survived"][:, :, i].mean(axis=(1, 2)) for i, steps in rows}

    def measure(self, context):
        trials = []
        for trial in range(self.trials):
            yield trial / self.trials, Result({}, progress=0.0)
            trials.append(self.measure_trial(context, np.random.default_rng([context.seed, trial, 3])))
        columns = {name: np.array([each[name] for each in trials], np.float32) for name in trials[0]}
        yield 1.0, Result(columns)

    def measure_trial(self, context, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the columns of one trial."""
        trainer, longest, size = context.trainer, self.warmup_steps[-1], self.batch_size
        data, samples = trainer.cached(train_subset, SAMPLES), len(context.dataset.x_train)
        initial = [w * np.float32(self.kernel_scale) for w in initial_weights(context.dataset, random)]  # biases are 0
        epochs = -(-self.steps // (samples // size))
        rows = np.concatenate([random.permutation(samples)[: samples // size * size] for _ in range(epochs)])
        ramps = [np.minimum(1, np.arange(1, self.steps + 1) / max(1, steps)) for steps in self.warmup_steps]
        rates = np.multiply.outer(np.transpose(ramps), self.learning_rates).reshape(self.steps, -1)
        train, find_sharpness = trainer.cached(make_training, size), trainer.cached(make_sharpness)
        steps = trainer.training_data, tf.constant(rows, tf.int32), tf.constant(rates, tf.float32)
        weights = [tf.constant(np.tile(w, (rates.shape[1], 1, 1))) for w in initial]
        weights = train(*steps, tf.constant(0), tf.constant(longest), weights)
        at_end_of_warmup = [w[-len(self.learning_rates) :] for w in weights]
        weights = train(*steps, tf.constant(longest), tf.constant(self.steps), weights)
        shape = len(self.warmup_steps), len(self.learning_rates)
        loss = trainer.cached(make_mean_losses)(*data, weights).numpy().reshape(shape)
        loss[~np.isfinite(loss)] = np.nan
        survived = loss < np.log(context.dataset.classes) / 2
        eigenvalue = find_sharpness(*data, at_end_of_warmup).numpy()
        first = find_sharpness(*data, [tf.constant(w[None]) for w in initial]).numpy()[0]
        found = {"final_loss": loss, "survived": survived, "initial_eigenvalue": first}
        return found | {"eigenvalue": np.where(survived[-1], eigenvalue, np.nan)}

    def __str__(self):
        return f"{self.batch_size}: survival of {self.steps} steps"


def make_training(trainer: Trainer, batch_size: int):
    """Return a compiled function that takes steps `first, …, last - 1` with stacked weights, each with its rate."""

    @tf.function(jit_compile=True)
    def train(data, rows, rates, first, last, weights):
        flat, i = tf.reshape(data[0], [data[0].shape[0], -1]), first
        while i < last:
            batch = tf.slice(rows, [i * batch_size], [batch_size])
            gradients = find_gradients(tf.gather(flat, batch), tf.gather(data[1], batch), weights)
            rate = tf.reshape(rates[i], [-1, 1, 1])
            weights = [weight - rate * gradient for weight, gradient in zip(weights, gradients, strict=True)]
            i += 1
        return weights

    return train


def find_gradients(x, y, weights):
    """Return the gradients of each run's mean loss; the runs do not depend on each other."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_mean(losses(x, y, weights)[0], axis=1)
    return tape.gradient(loss, weights)


def make_mean_losses(trainer: Trainer):
    """Return a compiled function of samples and stacked weights: (runs,) the mean loss."""
    return tf.function(lambda x, y, weights: tf.reduce_mean(losses(x, y, weights)[0], axis=1), jit_compile=True)


def make_sharpness(trainer: Trainer):
    """Return a compiled function of samples and stacked weights: (runs,) the leading eigenvalue of the Hessian.

    It is the Rayleigh quotient after a power iteration that starts at the gradient; NaN if that is zero or not finite.
    """

    def dot(a, b):
        return tf.reduce_sum([tf.reduce_sum(u * v, axis=(1, 2)) for u, v in zip(a, b, strict=True)], axis=0)

    def normalize(vectors):
        length = tf.reshape(tf.sqrt(dot(vectors, vectors)), [-1, 1, 1])
        return [vector / length for vector in vectors]

    @tf.function(jit_compile=True)
    def find_sharpness(x, y, weights):
        def product(vectors):
            with tf.GradientTape() as tape:
                tape.watch(weights)
                slope = dot(find_gradients(x, y, weights), vectors)
            return tape.gradient(slope, weights)

        vectors, i = normalize(find_gradients(x, y, weights)), tf.constant(1)
        while i < PRODUCTS:
            vectors = normalize(product(vectors))
            i += 1
        return dot(vectors, product(vectors))

    return find_sharpness
