"""Questions about what happens inside a batch, from a trained start. Answered by `measure/gradients.py`."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiment import Experiment, count, positive
from bstudy.experiment.train import Recipe
from bstudy.stats import noise_scale


def ascending(batch_sizes, most=2**20):
    sizes = tuple(sorted({count("batch_sizes", size) for size in batch_sizes}))
    if not sizes or sizes[-1] > most:
        raise InvalidInput(f"batch_sizes must be whole numbers from 1 to {most}, not {batch_sizes!r}")
    return sizes


@dataclass(frozen=True)
class GradientTrials(Experiment):
    """What batches of each size make of the same samples, from the same weights.

    A trial draws `samples` training samples with replacement, and for each batch size goes back to the end of `start`
    and steps once through them: SGD on the mean loss, with update="sgd"; with update="frozen" the weights stay. Its
    gradient G is that of the last layer's kernel, each batch's mean weighted by its share of the samples. The same
    seed and trial draw the same samples, whatever the other fields say. After Shen (2018).

    Its answer has columns, with batch sizes in ascending order
      norm                             (batch sizes, trials)  the Euclidean norm of G
      cosine_to_smallest, _to_largest  (batch sizes, trials)  of G, to that of the smallest or largest batch size
      power_sums  (batch sizes, blocks, 4)  of G's entries to the powers 1 to 4; trial i belongs to block i modulo 5
      histogram   (batch sizes, blocks, edges + 1)  of G's entries: below the first edge, between two, above the last
      edges       (edges,)  symmetric about zero, with steps of a twentieth of a decade
      extremes    (batch sizes, 2)  the smallest and the largest entry
    and, summed from the histogram,
      counts      (batch sizes, edges + 1)  the histogram of all blocks
      entries     (batch sizes, blocks)  how many entries there are
    """

    start: Recipe
    batch_sizes: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512, 1024)
    trials: int = 100
    update: str = "sgd"
    samples: int = 1024
    learning_rate: float = 0.01

    DERIVED: ClassVar = {
        "counts": lambda columns: columns["histogram"].sum(axis=2),
        "entries": lambda columns: columns["histogram"].sum(axis=3),
    }

    def __post_init__(self):
        set_field = object.__setattr__
        set_field(self, "trials", count("trials", self.trials, most=100_000))
        set_field(self, "samples", count("samples", self.samples))
        set_field(self, "batch_sizes", ascending(self.batch_sizes, self.samples))
        set_field(self, "learning_rate", positive("learning_rate", self.learning_rate))
        if self.update not in ("sgd", "frozen"):
            raise InvalidInput(f"update must be 'sgd' or 'frozen', not {self.update!r}")

    def starts(self):
        return (self.start,)

    def beginnings(self):
        return ((trials / self.trials, replace(self, trials=trials)) for trials in range(self.trials - 1, 0, -1))

    def guess(self, dataset):
        weights = dataset.architecture.multiplications()
        steps = sum(-(-self.samples // size) for size in self.batch_sizes)
        return self.trials * weights * (steps * 10 / 3e10 + len(self.batch_sizes) * self.samples * 6 / 2e11)

    def reached(self, share):
        return f"trial {share * self.trials:.0f} of {self.trials}"

    def summary(self, run):
        return {
            f"norm, B = {size}": run["norm"][:, i].mean(1)
            for i, size in enumerate(self.batch_sizes)
            if size in (1, 64, 1024)
        }

    def __str__(self):
        return f"gradients after {self.start}, weights {'frozen' if self.update == 'frozen' else 'moving'}"


@dataclass(frozen=True)
class SingleBatches(Experiment):
    """The gradient of the summed loss over one batch, at the weights that `start` ends with, for each batch size.

    Its answer has columns
      norm                   (batch sizes, draws)  of the gradient of the last layer's kernel, over samples drawn with
          replacement
      noise_trace            ()  tr Σ, the trace of the covariance of a single sample's gradient over the training set
      squared_gradient_norm  ()  |g|², of the mean gradient over the training set
    For such draws E |S_B|² = B tr Σ + B² |g|².
    """

    start: Recipe
    batch_sizes: tuple[int, ...] = GradientTrials.batch_sizes
    draws: int = 300

    def __post_init__(self):
        object.__setattr__(self, "draws", count("draws", self.draws))
        object.__setattr__(self, "batch_sizes", ascending(self.batch_sizes))

    def starts(self):
        return (self.start,)

    def guess(self, dataset):
        passes = len(dataset.x_train) * dataset.architecture.multiplications()
        return 2e-6 * self.draws * sum(self.batch_sizes) + 2 * passes / 1e11

    def summary(self, run):
        squares = np.square(run["norm"], dtype=np.float64).mean(axis=2)
        return {
            f"norm, B = {size}": squares[:, i] ** 0.5
            for i, size in enumerate(self.batch_sizes)
            if size in (1, 64, 1024)
        }

    def __str__(self):
        return f"single batches after {self.start}"


@dataclass(frozen=True)
class StepNorms(Experiment):
    """The norm of each step's gradient over one epoch, for each batch size, from the weights that `start` ends with.

    With update="sgd" the steps are taken, with update="frozen" the weights stay. Every batch size sees the samples in
    the same order, so that the batches of one size are joined in those of its multiples.

    Its answer has columns, with batch sizes in ascending order
      mean       (batch sizes,)  of the norm of all weights' and biases' gradient, of the mean loss; a step is as much
          times the learning rate
      quantiles  (batch sizes, 5)  of that norm: smallest, 5 %, 50 %, 95 %, largest
      path       (batch sizes, 20)  its mean in each twentieth of the epoch; NaN where a twentieth has no step
      slack      (batch sizes - 1,)  the least, over the batches of the next size, of: the mean norm of the batches that
          it joins, less its own, as a share of that; NaN where the next size is not a multiple
    """

    start: Recipe
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    update: str = "frozen"
    learning_rate: float = 0.01

    GAPS = ("path", "slack")

    def __post_init__(self):
        object.__setattr__(self, "batch_sizes", ascending(self.batch_sizes))
        object.__setattr__(self, "learning_rate", positive("learning_rate", self.learning_rate))
        if self.update not in ("sgd", "frozen"):
            raise InvalidInput(f"update must be 'sgd' or 'frozen', not {self.update!r}")

    def starts(self):
        return (self.start,)

    def epochs(self):
        return [Recipe.sgd(size, self.learning_rate, 1) for size in self.batch_sizes]

    def check(self, dataset):
        for recipe in (self.start, *self.epochs()):
            recipe.check(dataset)

    def guess(self, dataset):
        return 1.3 * sum(recipe.guess(dataset) for recipe in self.epochs())

    def summary(self, run):
        return {
            f"norm, B = {size}": run["mean"][:, i]
            for i, size in enumerate(self.batch_sizes)
            if size in (1, 2, 64, 1024)
        }

    def __str__(self):
        return f"steps after {self.start}, weights {'frozen' if self.update == 'frozen' else 'moving'}"


@dataclass(frozen=True)
class NoiseScale(Experiment):
    """How noisy a single sample's gradient is, beside the mean gradient, at the weights that `at` ends with.

    Of `batches` batches of `large` samples, drawn with replacement, and of their parts of `small` samples, the squared
    norms of the gradient of the mean loss, over all weights and biases, give two unbiased estimates from each batch:

        |G|²  =  (large |G_large|² - small |G_small|²) / (large - small)
        tr Σ  =  (|G_small|² - |G_large|²) / (1 / small - 1 / large)

    with |G_small|² the mean over the parts. The simple noise scale is the ratio of their means, `stats.noise_scale`;
    a mean of ratios would be biased. After McCandlish, Kaplan, Amodei et al. (2018), appendix A.1.

    Its answer has columns
      noise_trace            (batches,)  of tr Σ, the trace of the covariance of a single sample's gradient
      squared_gradient_norm  (batches,)  of |G|², of the mean gradient; single ones can be negative
    """

    at: Recipe
    small: int = 32
    large: int = 1024
    batches: int = 30

    def __post_init__(self):
        for name in ("small", "large", "batches"):
            object.__setattr__(self, name, count(name, getattr(self, name)))
        if self.large <= self.small or self.large % self.small:
            raise InvalidInput(f"large must be a multiple of small, {self.small}, not {self.large}")

    def starts(self):
        return (self.at,)

    def beginnings(self):
        return ((batches / self.batches, replace(self, batches=batches)) for batches in range(self.batches - 1, 0, -1))

    def guess(self, dataset):
        return self.batches * self.large * dataset.architecture.multiplications() * (6 / 2e11 + 24 / self.small / 3e10)

    def reached(self, share):
        return f"batch {share * self.batches:.0f} of {self.batches}"

    def summary(self, run):
        return {"noise scale": noise_scale(run["noise_trace"], run["squared_gradient_norm"])}

    def __str__(self):
        return f"noise scale after {self.at}"
