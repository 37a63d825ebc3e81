"""Questions about what a batch size costs, and what evaluation makes of it. Answered by `measure/cost.py`."""

from dataclasses import dataclass

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiment import Experiment, count, positive
from bstudy.experiment.gradients import ascending
from bstudy.experiment.train import Phase, Recipe


@dataclass(frozen=True)
class Cost(Experiment):
    """The time and the memory of one batch size, measured in a fresh process on random data of the data set's shape:
    they decide neither, and loading real ones would be the peak.

    A pass trains for an epoch, or evaluates as many samples; a first one, which compiles, is not counted.

    Its answer has columns
      seconds           (passes,)  of each pass
      compile_seconds   ()  that the first pass took longer
      memory            ()  bytes: the peak of the device, or of the process on a CPU, less what was used before a pass;
          NaN where neither can be read
      parameters        ()  of the model
      weight_bytes, gradient_bytes, activation_bytes  ()  what the model says that a step needs: its weights, a gradient
          for each in training, and each layer's output for every sample, in training also its gradient
    """

    batch_size: int
    task: str = "training"
    passes: int = 5

    GAPS = ("memory",)
    ALONE = True

    def __post_init__(self):
        object.__setattr__(self, "batch_size", count("batch_size", self.batch_size))
        object.__setattr__(self, "passes", count("passes", self.passes))
        if self.task not in ("training", "evaluation"):
            raise InvalidInput(f"task must be 'training' or 'evaluation', not {self.task!r}")

    def check(self, dataset):
        Recipe.sgd(self.batch_size, 1, 1).check(dataset)

    def guess(self, dataset):
        epoch, batches = Recipe.sgd(self.batch_size, 1, 1).guess(dataset), len(dataset.x_train) / self.batch_size
        return 7 + (self.passes + 1) * (epoch if self.task == "training" else epoch / 6 + 6e-4 * batches)

    def summary(self, run):
        return {
            "seconds a pass": np.median(run["seconds"], axis=1),
            "seconds to compile": run["compile_seconds"],
            "memory (MB)": run["memory"] / 1e6,
            "parameters": run["parameters"],
        }

    def __str__(self):
        return f"{self.batch_size}: cost of {self.task}"


@dataclass(frozen=True)
class Throughput(Experiment):
    """How fast training takes steps of one batch size, as Cost measures it, but for about so many `seconds`.

    Its answer has columns
      step_seconds  (calls,)  of a step, the mean over each of several compiled calls
      memory        ()  bytes, as of a Cost
    """

    batch_size: int
    optimizer: str = "sgd"
    seconds: float = 1.0

    GAPS = ("memory",)
    ALONE = True
    VERSION = 3

    def __post_init__(self):
        phase = Phase(self.batch_size, 1, 1, self.optimizer)  # which says what batch sizes and optimizers there are
        object.__setattr__(self, "batch_size", phase.batch_size)
        object.__setattr__(self, "seconds", positive("seconds", self.seconds))

    def check(self, dataset):
        Recipe.sgd(self.batch_size, 1, 1).check(dataset)

    def guess(self, dataset):
        return 7 + 1.5 * self.seconds

    def summary(self, run):
        return {"samples a second": self.batch_size / run["step_seconds"].min(axis=1)}

    def __str__(self):
        return f"{self.batch_size}: throughput with {self.optimizer}"


@dataclass(frozen=True)
class Evaluation(Experiment):
    """The same trained weights evaluated on the test set in batches of each size.

    Its answer has columns
      accuracy, loss  (batch sizes,)  in ascending order of the batch size, in double precision
    """

    of: Recipe
    batch_sizes: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "batch_sizes", ascending(self.batch_sizes))

    def starts(self):
        return (self.of,)

    def guess(self, dataset):
        return sum(len(dataset.x_test) / size * 3e-4 + 0.5 for size in self.batch_sizes)

    def summary(self, run):
        return {f"{name}, B = {self.batch_sizes[i]}": run[name][:, i] for name in ("accuracy", "loss") for i in (0, -1)}

    def __str__(self):
        return f"evaluation of {self.of}"
