"""How much training it takes to reach a test accuracy. Answered by `measure/target.py`."""

import math
from dataclasses import dataclass

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiment import Experiment
from bstudy.experiment.train import Phase, Recipe


@dataclass(frozen=True)
class Target(Experiment):
    """Train as `phase` says until the test accuracy reaches `accuracy`, for at most its epochs.

    The test set is evaluated sixteen times an epoch, or after every step where an epoch has fewer: the answer is not
    rounded to whole epochs.

    Its answer has columns
      steps, epochs, seconds  ()  of training, up to the first evaluation that reaches the target; infinite where none
          does, NaN where the run diverged
    """

    phase: Phase
    accuracy: float

    ALONE = True

    def __post_init__(self):
        if isinstance(self.accuracy, bool) or not 0 < self.accuracy <= 1:
            raise InvalidInput(f"the target accuracy must lie between 0 and 1, not {self.accuracy!r}")

    @classmethod
    def sgd(cls, batch_size, learning_rate, epochs, accuracy):
        return cls(Phase(batch_size, learning_rate, epochs), accuracy)

    @property
    def batch_size(self):
        return self.phase.batch_size

    def check(self, dataset):
        Recipe((self.phase,)).check(dataset)

    def guess(self, dataset):
        epoch = Recipe((Phase(self.batch_size, 1, 1),)).guess(dataset)
        return self.phase.epochs * epoch * math.sqrt(1 / self.phase.epochs) + 0.5  # few runs need them all

    def summary(self, run):
        return {name: run[name] for name in ("steps", "epochs", "seconds")}

    def __str__(self):
        return f"{self.phase.batch_size} at {self.phase.learning_rate:g} to {100 * self.accuracy:g} %"


def to_target(runs, what):
    """Of the Runs of Targets over a grid of batch sizes and learning rates, in one order for every batch size:

    (n,) the batch sizes; (seeds, n) the column `what` at the first learning rate for all; and at that of the grid which
    takes the fewest steps.
    """
    runs = list(runs)
    sizes = np.array(sorted({run.experiment.batch_size for run in runs}))
    shape = len(sizes), len(runs) // len(sizes), -1
    steps, found = (np.stack([run[name] for run in runs]).reshape(shape).T for name in ("steps", what))
    best = np.argmin(np.nan_to_num(steps, nan=np.inf), axis=1)[:, None]  # (seeds, rates, n): over the rates
    return sizes, found[:, 0], np.take_along_axis(found, best, axis=1)[:, 0]
