"""The norm of every step's gradient over one epoch, for each batch size."""

from dataclasses import dataclass

import numpy as np

from bstudy.experiments.base import Experiment, Work, batch_size_tuple, checked, for_typical_sizes, positive_float
from bstudy.experiments.recipe import Recipe
from bstudy.store import Result
from bstudy.trainer import epoch_permutation

FROZEN_LEARNING_RATE = 1e-30  # changes no gradient in float32
BINS = 20
QUANTILES = (0, 0.05, 0.5, 0.95, 1)


@dataclass(frozen=True)
class StepNorms(Experiment):
    """The norm of each step's gradient over one epoch, for each batch size, from trained weights.

    Every batch size sees the samples in the same order, so that the batches of its multiples are unions of its own.

    Columns, with batch sizes in ascending order:
        mean_norm: (batch sizes,) of the gradient of the mean loss, over all weights and biases; times the learning rate
            it is the length of a step.
        quantiles: (batch sizes, 5) of that norm: minimum, 5 %, 50 %, 95 %, maximum.
        mean_norm_over_time: (batch sizes, 20) its mean in each twentieth of the epoch; NaN in one without a step.
        triangle_slack: (batch sizes - 1,) min over the batches of the next size of (mean norm of their parts − own
            norm) / own norm; NaN if the next size is not a multiple.

    Args:
        trained: The training whose final weights the epoch starts from.
        batch_sizes: To compare.
        frozen: Whether the weights stay as they are, in place of moving with each step.
        learning_rate: Of the steps.
    """

    KIND = "step_norms"

    trained: Recipe
    batch_sizes: tuple[int, ...] = checked(batch_size_tuple, default=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024))
    frozen: bool = True
    learning_rate: float = checked(positive_float, default=0.01)

    def _epochs(self):
        return [Recipe.sgd(size, self.learning_rate, 1, record_norms=True) for size in self.batch_sizes]

    def validate(self, dataset):
        for recipe in (self.trained, *self._epochs()):
            recipe.validate(dataset)

    def work(self, dataset):
        total = Work()
        for recipe in self._epochs():
            total = total.plus(recipe.work(dataset), times=1.3)
        return total

    def table(self, run):
        return for_typical_sizes("norm", self.batch_sizes, run["mean_norm"])

    def measure(self, context):
        trainer, sizes = context.trainer, self.batch_sizes
        order, weights = epoch_permutation(len(context.dataset.x_train), context.seed, 0), context.trained_weights()
        trainer.set_optimizer(learning_rate=FROZEN_LEARNING_RATE if self.frozen else self.learning_rate)
        done = np.cumsum([0, *(1 / size for size in sizes)]) / sum(1 / size for size in sizes)  # of the steps
        names = ("mean_norm", "quantiles", "mean_norm_over_time", "triangle_slack")
        columns, checkpoint = {name: [] for name in names}, Result({}, progress=0.0)
        if context.resume_from is not None:
            checkpoint = context.resume_from
            columns = {name: list(checkpoint.columns[name]) for name in names}
        for i in range(len(columns["mean_norm"]), len(sizes)):
            trainer.set_weights(weights)
            parts = []
            for segment in trainer.train_epoch(order, sizes[i], record_norms=True):
                parts.append(segment.values[1])
                yield min(0.999, done[i] + segment.progress * (done[i + 1] - done[i])), checkpoint
            norms = np.concatenate(parts).astype(float)
            columns["mean_norm"].append(norms.mean())
            columns["quantiles"].append(np.quantile(norms, QUANTILES))
            columns["mean_norm_over_time"].append(mean_in_bins(norms, BINS))
            if i:
                columns["triangle_slack"].append(triangle_slack(sizes[i - 1 : i + 1], checkpoint.state["norms"], norms))
            arrays = {name: np.array(values, np.float32) for name, values in columns.items()}
            progress = 1.0 if i + 1 == len(sizes) else float(done[i + 1])
            checkpoint = Result(arrays, {"norms": norms}, progress=progress)
            checkpoint.diverged = not np.isfinite(arrays["mean_norm"]).all()
        yield 1.0, checkpoint

    def __str__(self):
        return f"steps after {self.trained}, weights {'frozen' if self.frozen else 'moving'}"


def mean_in_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Return (bins,) the mean of the values in each part of their course; NaN in a part without any."""
    bin_of = np.arange(len(values)) * bins // len(values)
    with np.errstate(invalid="ignore"):
        return np.bincount(bin_of, values, bins) / np.bincount(bin_of, minlength=bins)


def triangle_slack(sizes: tuple[int, int], parts: np.ndarray, norms: np.ndarray) -> float:
    """Return by how much the triangle inequality leaves room: see `StepNorms`, column `triangle_slack`."""
    joined, rest = divmod(sizes[1], sizes[0])
    full = len(parts) // joined
    if rest or not full:
        return np.nan
    means = parts[: full * joined].reshape(full, joined).mean(axis=1)
    return (means / norms[:full] - 1).min()
