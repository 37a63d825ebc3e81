"""Gradient trials: the same samples cut into batches of every size, from the same weights.

One trial at one batch size is one compiled call. It returns G, the gradient of the last layer's kernel (some 40 kB), of
which only a few numbers are stored: all entries of all trials would take gigabytes.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from bstudy.backend import THREADS, tf
from bstudy.errors import InvalidInput
from bstudy.experiments.base import (
    Experiment,
    Work,
    batch_size_tuple,
    checked,
    for_typical_sizes,
    positive_float,
    positive_int,
)
from bstudy.experiments.recipe import Recipe
from bstudy.store import Result
from bstudy.trainer import Trainer, loss_and_gradients, take_rows

BLOCKS = 5  # of trials, for the intervals of counts
MAX_TRIALS = 100_000
STEP_SAMPLES = 20  # a step takes as long as its samples and this number more: it reads and writes all weights
_MAGNITUDES = np.logspace(-8, 2, 20 * 10 + 1)  # twenty bins a decade
EDGES = np.concatenate([-_MAGNITUDES[::-1], _MAGNITUDES])


@dataclass(frozen=True)
class GradientTrials(Experiment):
    """What batches of each size make of the same samples, from the same trained weights. After Shen (2018).

    A trial draws `samples` training samples with replacement. For each batch size it returns to the trained weights and
    steps once through these samples: SGD on the mean loss. Its gradient G is that of the last layer's kernel, averaged
    over the samples: each batch's mean weighted by its size. The same seed and trial draw the same samples, whatever
    the other fields are.

    Columns, with batch sizes in ascending order:
        norm: (batch sizes, trials) ‖G‖, the Euclidean norm.
        cosine_to_smallest, cosine_to_largest: (batch sizes, trials) of G, to that of the smallest or largest size.
        power_sums: (batch sizes, blocks, 4) of G's entries to the powers 1 to 4; trial i belongs to block i modulo 5.
        histogram: (batch sizes, blocks, edges + 1) of G's entries: below the first edge, between two, above the last.
        counts: (batch sizes, edges + 1) the histogram of all blocks.
        entries: (batch sizes, blocks) how many entries there are.
        edges: (edges,) symmetric about zero, in steps of a twentieth of a decade.
        extremes: (batch sizes, 2) the smallest and the largest entry.

    Args:
        trained: The training whose final weights the trials start from.
        batch_sizes: Each at most `samples`.
        trials: How often to draw samples.
        frozen: Whether the weights stay as they are, in place of moving with each step.
        samples: The samples of a trial.
        learning_rate: Of the steps.
    """

    KIND = "gradient_trials"
    EXTENDS = "trials"

    trained: Recipe
    batch_sizes: tuple[int, ...] = checked(
        batch_size_tuple, default=(1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512, 1024)
    )
    trials: int = checked(partial(positive_int, maximum=MAX_TRIALS), default=100)
    frozen: bool = False
    samples: int = checked(positive_int, default=1024)
    learning_rate: float = checked(positive_float, default=0.01)

    def __post_init__(self):
        super().__post_init__()
        if self.batch_sizes[-1] > self.samples:
            raise InvalidInput(f"batch_sizes must be at most samples, {self.samples}, not {self.batch_sizes[-1]}")

    def work(self, dataset):
        steps = self.trials * sum(-(-self.samples // size) for size in self.batch_sizes)
        samples = self.trials * len(self.batch_sizes) * self.samples
        programs = frozenset((self.KIND, size, self.samples, self.frozen) for size in self.batch_sizes)
        if self.frozen:  # only the last layer has a gradient
            return Work(evaluated=samples, steps=steps / 3, programs=programs)
        return Work(samples, steps, programs=programs)

    def table(self, run):
        return for_typical_sizes("norm", self.batch_sizes, run["norm"].mean(axis=2))

    def measure(self, context):
        trainers = context.trainer.cached(thread_trainers)
        for trainer in trainers:
            trainer.set_optimizer(learning_rate=self.learning_rate)
        x, y = context.trainer.training_data
        start = [tf.constant(weight) for weight in context.trained_weights()]
        sizes, variables = self.batch_sizes, context.trainer.model.trainable_variables
        entries = np.prod(variables[last_kernel(context.trainer.model)].shape)

        shares = share_work([self.samples * (1 + STEP_SAMPLES / size) for size in sizes], THREADS)

        def gradients(thread, rows):
            """Return G of this thread's batch sizes."""
            settings = self.samples, self.frozen
            trials = [trainers[thread].cached(make_trial, sizes[i], *settings) for i in shares[thread]]
            return [trial(x, y, rows, start).numpy().ravel() for trial in trials]

        columns = context.resume_from.columns if context.resume_from is not None else empty_columns(len(sizes))
        first = columns["norm"].shape[1]
        checkpoint = Result(columns, progress=first / self.trials)
        with ThreadPoolExecutor(THREADS) as pool:
            for trial in range(first, self.trials):
                yield trial / self.trials, checkpoint
                rows = tf.constant(trial_rows(self, context, trial))
                found = np.empty((len(sizes), entries))
                for share, of_thread in zip(shares, pool.map(gradients, range(THREADS), [rows] * THREADS), strict=True):
                    found[share] = np.reshape(of_thread, (-1, entries))  # of no batch size, too
                columns = add_trial(columns, found, trial)
                checkpoint = Result(columns, progress=(trial + 1) / self.trials)
        counts, entries = columns["histogram"].sum(axis=1), columns["histogram"].sum(axis=2)
        columns = columns | {"edges": EDGES, "counts": counts, "entries": entries}
        yield 1.0, Result(columns, diverged=not np.isfinite(columns["norm"]).all())

    def __str__(self):
        return f"gradients after {self.trained}, weights {'frozen' if self.frozen else 'moving'}"


def thread_trainers(trainer: Trainer) -> list[Trainer]:
    """Return one trainer per thread: a step on a few samples uses only one core."""
    return [Trainer(trainer.dataset, trainer.spec) for _ in range(THREADS)]


def share_work(costs: Sequence[float], threads: int) -> list[list[int]]:
    """Return which items each thread takes, so that all have about the same cost: the most expensive ones first."""
    shares: list[list[int]] = [[] for _ in range(threads)]
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        min(shares, key=lambda share: sum(costs[j] for j in share)).append(i)
    return shares


def trial_rows(experiment: GradientTrials, context, trial: int) -> np.ndarray:
    """Return (samples,) the training samples of a trial, which depend on seed and trial only."""
    random = np.random.default_rng([context.seed, trial, 1024])
    return random.integers(len(context.dataset.x_train), size=experiment.samples, dtype=np.int32)


def last_kernel(model) -> int:
    """Return the index of the last layer's kernel among the trainable variables."""
    return max(i for i, variable in enumerate(model.trainable_variables) if len(variable.shape) > 1)


def make_trial(trainer: Trainer, batch_size: int, samples: int, frozen: bool):
    """Return a compiled function that steps once through the drawn samples from the weights `start`, and returns G."""
    model, kernel = trainer.model, last_kernel(trainer.model)
    full, rest = divmod(samples, batch_size)

    @tf.function(jit_compile=trainer.use_xla)
    def trial(x, y, rows, start):
        def weighted_gradient(first, size):
            batch = take_rows(x, y, tf.slice(rows, [first], [size]))
            if frozen:
                _, (gradient,) = loss_and_gradients(model, model.trainable_variables[kernel : kernel + 1], *batch)
            else:
                gradient = trainer.train_step(*batch)[1][kernel]
            return gradient * (size / samples)

        trainer.set_weights(start)
        total, i = tf.zeros_like(model.trainable_variables[kernel]), tf.constant(0)
        while i < full:
            total += weighted_gradient(i * batch_size, batch_size)
            i += 1
        return total + weighted_gradient(full * batch_size, rest) if rest else total

    return trial


def empty_columns(sizes: int) -> dict[str, np.ndarray]:
    """Return the columns of this many batch sizes before the first trial."""
    numbers = ("norm", "cosine_to_smallest", "cosine_to_largest")
    return {name: np.zeros((sizes, 0), np.float32) for name in numbers} | {
        "power_sums": np.zeros((sizes, BLOCKS, 4)),
        "histogram": np.zeros((sizes, BLOCKS, len(EDGES) + 1), np.int64),
        "extremes": np.tile([np.inf, -np.inf], (sizes, 1)),
    }


def add_trial(columns: dict[str, np.ndarray], gradients: np.ndarray, trial: int) -> dict[str, np.ndarray]:
    """Return new columns with one more trial.

    Args:
        columns: Those of the trials before.
        gradients: (batch sizes, entries) G of this trial.
        trial: Its number.
    """
    block, norm = trial % BLOCKS, np.linalg.norm(gradients, axis=1)
    numbers = {
        "norm": norm,
        "cosine_to_smallest": gradients @ gradients[0] / (norm * norm[0]),
        "cosine_to_largest": gradients @ gradients[-1] / (norm * norm[-1]),
    }
    added = {name: np.column_stack([columns[name], values.astype(np.float32)]) for name, values in numbers.items()}
    added["power_sums"] = columns["power_sums"].copy()
    added["power_sums"][:, block] += np.stack([(gradients**power).sum(axis=1) for power in (1, 2, 3, 4)], axis=1)
    added["histogram"] = columns["histogram"].copy()
    for counts, entries in zip(added["histogram"], gradients, strict=True):
        counts[block] += np.bincount(np.searchsorted(EDGES, entries, side="right"), minlength=len(EDGES) + 1)
    low, high = columns["extremes"].T
    added["extremes"] = np.stack([np.minimum(low, gradients.min(1)), np.maximum(high, gradients.max(1))], axis=1)
    return added
