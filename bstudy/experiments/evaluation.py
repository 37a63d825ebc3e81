"""Evaluation of the same weights in batches of several sizes, without and with batch normalization."""

import time
from dataclasses import dataclass

import numpy as np

from bstudy.experiments.base import Experiment, Runs, Work, batch_size_tuple, checked, positive_float, positive_int
from bstudy.experiments.recipe import Recipe
from bstudy.models import NORMALIZED
from bstudy.store import Result
from bstudy.trainer import Trainer, epoch_permutation

SECONDS_PER_BATCH = 3e-4
PASSES = 5  # over the test set, of which the median time counts


@dataclass(frozen=True)
class Evaluation(Experiment):
    """The same trained weights evaluated on the test set in batches of each size.

    Columns, with batch sizes in ascending order, in double precision:
        accuracy, loss: (batch sizes,) in percent, and nats.
        seconds: (batch sizes,) of a pass over the test set, the median of PASSES after a first one, which compiles.

    Args:
        trained: The training whose final weights are evaluated.
        batch_sizes: Of the evaluations.
    """

    KIND = "evaluation"
    VERSION = 2  # 1 had no seconds
    EXCLUSIVE = True

    trained: Recipe
    batch_sizes: tuple[int, ...] = checked(batch_size_tuple)

    def work(self, dataset):
        samples, batches = len(dataset.x_test), sum(len(dataset.x_test) / size for size in self.batch_sizes)
        programs = frozenset(("evaluate", size) for size in self.batch_sizes)
        one_pass = Work(evaluated=samples * len(self.batch_sizes), seconds=SECONDS_PER_BATCH * batches)
        return Work(programs=programs).plus(one_pass, times=1 + PASSES)

    def table(self, run):
        return at_ends(run, "accuracy", "loss", "seconds")

    def measure(self, context):
        trainer, rows = context.trainer, []
        trainer.set_weights(context.trained_weights())
        for size in self.batch_sizes:
            yield len(rows) / len(self.batch_sizes), Result({}, progress=0.0)
            ends = []
            for _ in range(1 + PASSES):
                values = trainer.evaluate(*trainer.test_data, size)
                ends.append(time.perf_counter())
            rows.append((*values, np.median(np.diff(ends))))
        loss, accuracy, seconds = np.transpose(rows)
        yield 1.0, Result({"loss": loss, "accuracy": accuracy, "seconds": seconds})

    def __str__(self):
        return f"evaluation of {self.trained}"


@dataclass(frozen=True)
class NormalizedEvaluation(Experiment):
    """A small network with batch normalization, trained with SGD, and evaluated on the test set in both of its modes.

    The test samples are in a random order, so that each batch is a random part of the test set.

    Columns, with batch sizes in ascending order, in double precision:
        evaluation_mode: (batch sizes,) the accuracy in percent, with the stored mean and variance of each feature.
        training_mode: (batch sizes,) with the mean and variance of each feature over the batch that is evaluated.

    Args:
        batch_sizes: Of the evaluations.
        batch_size: Of the training.
        learning_rate: Of the training.
        epochs: Of the training.
    """

    KIND = "normalized_evaluation"

    batch_sizes: tuple[int, ...] = checked(batch_size_tuple)
    batch_size: int = checked(positive_int, default=64)
    learning_rate: float = checked(positive_float, default=0.1)
    epochs: int = checked(positive_int, default=30)

    def _recipe(self):
        return Recipe.sgd(self.batch_size, self.learning_rate, self.epochs)

    def validate(self, dataset):
        self._recipe().validate(dataset)

    def work(self, dataset):
        evaluation = Evaluation(self._recipe(), self.batch_sizes).work(dataset)
        return evaluation.plus(evaluation).plus(self._recipe().work(dataset), times=0.1)  # the network is small

    def table(self, run):
        return at_ends(run, "evaluation_mode", "training_mode")

    def measure(self, context):
        trainer, data, size = context.trainer.cached(make_normalized_trainer), context.dataset, self.batch_size
        trainer.set_weights(trainer.initial_weights(context.seed))
        trainer.set_optimizer(learning_rate=self.learning_rate)
        for epoch in range(self.epochs):
            for segment in trainer.train_epoch(epoch_permutation(len(data.x_train), context.seed, epoch), size):
                yield 0.9 * (epoch + segment.progress) / self.epochs, Result({}, progress=0.0)
        order, columns = np.random.default_rng(context.seed).permutation(len(data.x_test)), {}
        for mode in ("evaluation", "training"):  # in this order: the second one changes the stored statistics
            results = []
            for batch_size in self.batch_sizes:
                yield 0.95, Result({}, progress=0.0)
                results.append(trainer.evaluate(data.x_test[order], data.y_test[order], batch_size, mode == "training"))
            loss, accuracy = np.transpose(results)
            columns[f"{mode}_mode"] = np.where(np.isfinite(loss), accuracy, np.nan)
        diverged = np.isnan(columns["evaluation_mode"]).any()
        yield 1.0, Result(columns, diverged=bool(diverged))

    def __str__(self):
        return f"both modes of a normalized network, {self._recipe()}"


def at_ends(run: Runs, *names: str) -> dict[str, np.ndarray]:
    """Return {"name, B = size": (seeds,)} of these columns, at the smallest and the largest batch size."""
    sizes = run.experiment.batch_sizes
    return {f"{name}, B = {sizes[i]}": run[name][:, i] for name in names for i in (0, -1)}


def make_normalized_trainer(trainer: Trainer) -> Trainer:
    """Return a trainer of the small network with batch normalization, on the data of another one."""
    return Trainer(trainer.dataset, NORMALIZED)
