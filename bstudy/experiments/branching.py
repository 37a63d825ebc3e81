"""The critical batch size, measured directly by branches of a training, and the gradient noise at the same points."""

from dataclasses import dataclass

import numpy as np

from bstudy import stats
from bstudy.backend import tf
from bstudy.errors import InvalidInput
from bstudy.experiments.base import (
    Experiment,
    Work,
    ascending,
    batch_size_tuple,
    check_batch_size,
    checked,
    positive_int,
)
from bstudy.experiments.noise_scale import noise_estimates, squared_norm
from bstudy.experiments.recipe import TRAIN_EVAL_SAMPLES, rounded_rate
from bstudy.store import Result
from bstudy.trainer import Trainer, epoch_permutation, loss_and_gradients, take_rows, train_subset

NOISE_STEPS_PER_CALL = 20  # a compiled call cannot be interrupted


def checkpoint(name: str, value: int) -> int:
    """Return a number of samples seen, if it is a whole number; 0 is the start."""
    return 0 if value == 0 else positive_int(name, value)


@dataclass(frozen=True)
class Branching(Experiment):
    """Branches of one SGD training, with larger batches and proportionally larger learning rates.

    From each checkpoint, training continues at every batch size B, with the learning rate in proportion to B. All
    branches see the same samples in the same order, and are compared at the end. After Merrill et al. (2025). The
    training has the smallest batch size. Its samples are those of a Recipe: one permutation for each epoch.

    Each checkpoint also starts some steps of the training that measure the gradient noise. Every step estimates tr Σ
    and ‖g‖² as NoiseScale does, from two large batches of independent samples, and moves by the gradient of the first
    samples, as many as the training's batch has.

    Columns:
        checkpoint_loss: (checkpoints,) in nats, on a fixed random subset of at most 10,000 training samples.
        loss: (checkpoints, repeats, batch sizes) on the same subset, at the end of a branch; NaN if it diverged.
        noise_trace, squared_gradient_norm: (checkpoints, noise steps) of tr Σ and ‖g‖².

    Args:
        batch_sizes: B; the first is the one of the training.
        learning_rate: Of the training.
        checkpoints: Numbers of samples after which it branches.
        samples: Of each branch: a multiple of every batch size, and a divisor of every checkpoint.
        repeats: Number of branches at each batch size. Each repeat sees the samples that follow those of the last.
        noise_steps: Number of steps.
        noise_batch_size: Samples of each of the two batches.
    """

    KIND = "branching"

    batch_sizes: tuple[int, ...] = checked(batch_size_tuple)
    learning_rate: float = checked(rounded_rate)
    checkpoints: tuple[int, ...] = checked(ascending(checkpoint, "number of samples"))
    samples: int = checked(positive_int)
    repeats: int = checked(positive_int, default=2)
    noise_steps: int = checked(positive_int, default=100)
    noise_batch_size: int = checked(positive_int, default=128)

    def __post_init__(self):
        super().__post_init__()
        for size in self.batch_sizes:
            if self.samples % size:
                text = f"samples must be a multiple of every batch size; {self.samples} is not one of {size}"
                raise InvalidInput(text)
        for point in self.checkpoints:
            if point % self.samples:
                raise InvalidInput(f"checkpoints must be multiples of samples, {self.samples}; not {point}")
        if self.noise_batch_size < self.batch_size:
            raise InvalidInput(f"noise_batch_size must be at least {self.batch_size}, not {self.noise_batch_size}")

    @property
    def batch_size(self) -> int:
        """The batch size of the training."""
        return self.batch_sizes[0]

    def branch_rate(self, batch_size: int) -> float:
        """Return the learning rate of a branch."""
        return rounded_rate("learning_rate", self.learning_rate * batch_size / self.batch_size)

    def validate(self, dataset):
        check_batch_size(self.batch_sizes[-1], dataset)

    def work(self, dataset):
        points, subset = len(self.checkpoints), min(len(dataset.x_train), TRAIN_EVAL_SAMPLES)
        branches = points * self.repeats
        noise = points * self.noise_steps  # three gradients each
        samples = self.checkpoints[-1] + branches * self.samples * len(self.batch_sizes)
        samples += noise * (self.batch_size + 2 * self.noise_batch_size)
        steps = self.checkpoints[-1] / self.batch_size + 3 * noise
        steps += branches * sum(self.samples / size for size in self.batch_sizes)
        programs = frozenset((self.KIND, size, self.samples) for size in (*self.batch_sizes, self.noise_batch_size))
        evaluated = subset * (points + branches * len(self.batch_sizes))
        return Work(samples, steps, evaluated, programs=programs)

    def table(self, run):
        losses = geometric_mean(run["loss"], axis=2)
        scales = stats.noise_scale(run["noise_trace"], run["squared_gradient_norm"])
        return {
            "samples before the branches": np.array([self.checkpoints[-1]] * len(losses)),
            "loss there": run["checkpoint_loss"][:, -1],
            "noise scale": scales[:, -1],
        } | {f"loss, B = {size}": losses[:, -1, i] for i, size in enumerate(self.batch_sizes)}

    def measure(self, context):
        branching = _Branching(self, context)
        while branching.done < len(self.checkpoints):
            for progress in branching.measure_checkpoint():
                yield (branching.done + progress) / len(self.checkpoints), branching.checkpoint
        yield 1.0, branching.finish()

    def __str__(self):
        return f"branches of {self.batch_size} at {self.learning_rate:g}"


class _Branching:
    """A training, its columns up to the last checkpoint that is done, and the state to resume from."""

    def __init__(self, experiment, context):
        self.experiment, self.seed, self.trainer = experiment, context.seed, context.trainer
        self.subset = self.trainer.cached(train_subset, TRAIN_EVAL_SAMPLES)
        self.trainer.set_weights(self.trainer.initial_weights(context.seed))
        self.trainer.set_optimizer()
        self.done, self.seen = 0, 0
        points, shape = len(experiment.checkpoints), (experiment.repeats, len(experiment.batch_sizes))
        noise = np.full((points, experiment.noise_steps), np.nan, np.float32)
        self.columns = {
            "checkpoint_loss": np.full(points, np.nan, np.float32),
            "loss": np.full((points, *shape), np.nan, np.float32),
            "noise_trace": noise,
            "squared_gradient_norm": noise.copy(),
        }
        start = context.resume_from
        if start is not None:
            self.trainer.set_state(start.state)
            self.done, self.seen = start.metadata["checkpoints"], start.metadata["samples"]
            self.columns = {name: values.copy() for name, values in start.columns.items()}
        self.checkpoint = self.make_checkpoint()

    def make_checkpoint(self):
        metadata = {"checkpoints": self.done, "samples": self.seen}
        columns = {name: values.copy() for name, values in self.columns.items()}
        return Result(columns, self.trainer.get_state(), metadata, self.done / len(self.experiment.checkpoints))

    def train(self, first, batch_size):
        """Train on the samples that follow the first `first` ones; yield after about a second. All losses finite?"""
        size = len(self.trainer.dataset.x_train)
        end = first + self.experiment.samples
        epochs = range(first // size, -(-end // size))
        order = np.concatenate([epoch_permutation(size, self.seed, epoch) for epoch in epochs])
        order = order[first - epochs[0] * size : end - epochs[0] * size]
        self.trainer.optimizer.learning_rate = self.experiment.branch_rate(batch_size)
        for _ in self.trainer.train_epoch(order, batch_size):
            yield

    def loss(self):
        """Return the loss with the current weights; NaN if it is not finite."""
        loss, _ = self.trainer.evaluate(*self.subset)
        return loss if np.isfinite(loss) else np.nan

    def measure_checkpoint(self):
        """Train up to the next checkpoint and measure there; yield the fraction done, about once a second."""
        experiment, point = self.experiment, self.experiment.checkpoints[self.done]
        while self.seen < point:
            for _ in self.train(self.seen, experiment.batch_size):
                yield 0.0
            self.seen += experiment.samples
        weights = self.trainer.get_weights()
        self.columns["checkpoint_loss"][self.done] = self.loss()
        branches = [(i, j) for i in range(experiment.repeats) for j in range(len(experiment.batch_sizes))]
        for number, (i, j) in enumerate(branches):
            self.trainer.set_weights(weights)
            for _ in self.train(point + i * experiment.samples, experiment.batch_sizes[j]):
                yield 0.9 * number / len(branches)
            self.columns["loss"][self.done, i, j] = self.loss()
        self.trainer.set_weights(weights)
        for _ in self.measure_noise(point):
            yield 0.9
        self.trainer.set_weights(weights)
        self.done += 1
        self.checkpoint = self.make_checkpoint()

    def measure_noise(self, point):
        """Fill the two columns of the noise at this checkpoint."""
        experiment, size = self.experiment, self.experiment.noise_batch_size
        self.trainer.optimizer.learning_rate = experiment.learning_rate
        steps_per_call = min(experiment.noise_steps, NOISE_STEPS_PER_CALL)
        take_steps = self.trainer.cached(make_noise_function, experiment.batch_size, size, steps_per_call)
        random = np.random.default_rng([self.seed, point, size])
        shape = experiment.noise_steps, 2 * size
        rows = random.integers(len(self.trainer.dataset.x_train), size=shape, dtype=np.int32)
        rows = np.concatenate([rows, rows[: -len(rows) % steps_per_call]])  # so that the last call is a full one
        for first in range(0, experiment.noise_steps, steps_per_call):
            values = take_steps(*self.trainer.training_data, tf.constant(rows[first : first + steps_per_call]))
            of_one, of_both = (value.numpy().astype(float) for value in values)
            here = slice(first, first + steps_per_call)
            estimates = noise_estimates(of_one, of_both, size, 2 * size)
            for name, estimate in zip(("noise_trace", "squared_gradient_norm"), estimates, strict=True):
                column = self.columns[name][self.done, here]
                column[:] = estimate[: len(column)]
            yield

    def finish(self):
        """Return the complete result; the experiment diverged if its training did."""
        base = self.columns["checkpoint_loss"]
        return Result(self.columns, self.checkpoint.state, self.checkpoint.metadata, 1.0, bool(np.isnan(base).any()))


def make_noise_function(trainer: Trainer, batch_size: int, size: int, steps: int):
    """Return a compiled function of drawn rows (steps, 2 · size): steps by the gradient of the first `batch_size` rows.

    It returns two tensors (steps,), before each step: the mean of ‖G‖² over both halves, and ‖G‖² of all rows.
    """
    model, variables = trainer.model, trainer.model.trainable_variables

    def gradients_of(x, y, rows, first, count):
        rows = tf.reshape(tf.slice(rows, first, [1, count]), [count])  # a static shape, which take_rows needs
        return loss_and_gradients(model, variables, *take_rows(x, y, rows))[1]

    @tf.function(jit_compile=trainer.use_xla)
    def take_steps(x, y, rows):
        columns = [tf.TensorArray(tf.float32, steps) for _ in range(2)]
        i = tf.constant(0)
        while i < steps:
            halves = [gradients_of(x, y, rows, [i, start], size) for start in (0, size)]
            mean = [(one + other) / 2 for one, other in zip(*halves, strict=True)]
            values = sum(map(squared_norm, halves)) / 2, squared_norm(mean)
            columns = [column.write(i, value) for column, value in zip(columns, values, strict=True)]
            trainer.optimizer.apply(gradients_of(x, y, rows, [i, 0], batch_size), variables)
            i += 1
        return [column.stack() for column in columns]

    return take_steps


def geometric_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the geometric mean of positive numbers along an axis; NaN if one of them is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.mean(np.log(values), axis=axis, dtype=np.float64))


def largest_tolerated(sizes: np.ndarray, ratios: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the largest batch size up to which no branch ends above the first by more than the tolerance.

    Between two batch sizes it is interpolated, with logarithms on both axes. If no branch ends above it, the result is
    the largest batch size: a lower bound.

    Args:
        sizes: (n,) ascending batch sizes.
        ratios: (..., n) the loss at the end of each branch over that of the first; NaN if it diverged, which is above.
        tolerance: Such as 0.1, for a loss that is at most 10 % higher.
    """

    def interpolate(row):
        if not np.isfinite(row[0]):
            return np.nan
        above = np.flatnonzero(~(row <= limit))
        if not len(above):
            return float(sizes[-1])
        last = above[0] - 1
        fraction = (limit - row[last]) / (row[last + 1] - row[last])
        fraction = fraction if np.isfinite(fraction) else 0.0
        return sizes[last] * (sizes[last + 1] / sizes[last]) ** fraction

    sizes, limit = np.asarray(sizes, float), np.log1p(tolerance)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(np.asarray(ratios, float))
    return np.apply_along_axis(interpolate, -1, logarithms)
