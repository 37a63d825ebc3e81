"""Evaluation of the same weights in batches of several sizes."""

from dataclasses import dataclass

import numpy as np

from bstudy.experiments.base import Experiment, Work, batch_size_tuple, checked
from bstudy.experiments.recipe import Recipe
from bstudy.store import Result

SECONDS_PER_BATCH = 3e-4


@dataclass(frozen=True)
class Evaluation(Experiment):
    """The same trained weights evaluated on the test set in batches of each size.

    Columns, with batch sizes in ascending order, in double precision:
        accuracy, loss: (batch sizes,) in percent, and nats.

    Args:
        trained: The training whose final weights are evaluated.
        batch_sizes: Of the evaluations.
    """

    KIND = "evaluation"

    trained: Recipe
    batch_sizes: tuple[int, ...] = checked(batch_size_tuple)

    def work(self, dataset):
        samples, batches = len(dataset.x_test), sum(len(dataset.x_test) / size for size in self.batch_sizes)
        programs = frozenset(("evaluate", size) for size in self.batch_sizes)
        return Work(evaluated=samples * len(self.batch_sizes), seconds=SECONDS_PER_BATCH * batches, programs=programs)

    def table(self, run):
        ends = ((0, self.batch_sizes[0]), (-1, self.batch_sizes[-1]))
        return {f"{name}, B = {size}": run[name][:, i] for name in ("accuracy", "loss") for i, size in ends}

    def measure(self, context):
        trainer, rows = context.trainer, []
        trainer.set_weights(context.trained_weights())
        for size in self.batch_sizes:
            yield len(rows) / len(self.batch_sizes), Result({}, progress=0.0)
            rows.append(trainer.evaluate(*trainer.test_data, size))
        loss, accuracy = np.transpose(rows)
        yield 1.0, Result({"loss": loss, "accuracy": accuracy})

    def __str__(self):
        return f"evaluation of {self.trained}"
