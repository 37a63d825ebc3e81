"""Survival: which learning rates a short training survives, with warm-ups of several lengths."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, check_batch_size, checked, positive_float, positive_int
from bstudy.experiments.recipe import warmup
from bstudy.experiments.sharpness import PRODUCTS, TOLERANCE, flatten, lanczos, make_hessian_product, unflatten
from bstudy.store import Result
from bstudy.trainer import SGD, Trainer, epoch_permutation, loss_and_gradients, train_subset

MAX_SEEDS = 1000  # of a Lab: the trials of different seeds differ
SAMPLES = 512  # of the training set, at most, for the final loss and the sharpness


def ascending(check: Callable, name: str, values: Iterable) -> tuple:
    """Return the checked values in ascending order, each once."""
    values = tuple(sorted({check(name, value) for value in values}))
    if not values:
        raise InvalidInput(f"{name} must hold at least one number")
    return values


def ascending_field(check: Callable) -> Any:
    return checked(partial(ascending, check))


@dataclass(frozen=True)
class Survival(Experiment):
    """Short trainings over a grid of learning rates and lengths of the warm-up: which of them survive.

    A trial has its own initial weights and batches, which all cells of the grid share. A training is a number of steps
    of SGD on consecutive parts of a permutation in each epoch, without the samples that do not fill a batch. With a
    warm-up of W steps, step t has the learning rate η min(1, t / W). A training survives if its loss stays finite and
    ends below half of ln(classes): half the loss of a model that guesses. This also excludes a network that only
    learned how frequent the classes are.

    Columns:
        final_loss: (trials, warm-ups, learning rates) in nats, on at most 512 training samples, the same for all; NaN
            if the training diverged.
        survived: (trials, warm-ups, learning rates) 1 or 0.
        initial_eigenvalue: () the sharpness λ before the first step of the first trial, on these samples.
        eigenvalue: () λ in the first trial after the longest warm-up to the smallest rate; NaN if it diverged before.

    Args:
        batch_size: Samples a step.
        learning_rates: η.
        warmup_steps: W, of each warm-up; 0 for none.
        steps: Of each training.
        trials: How many.
        kernel_scale: The initial kernels are multiplied by this: with larger ones the sharpness starts higher.
    """

    KIND = "survival"

    batch_size: int = checked(positive_int)
    learning_rates: tuple[float, ...] = ascending_field(positive_float)
    warmup_steps: tuple[int, ...] = ascending_field(warmup)
    steps: int = checked(positive_int)
    trials: int = checked(positive_int, default=3)
    kernel_scale: float = checked(positive_float, default=1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.warmup_steps[-1] >= self.steps:
            raise InvalidInput(f"warmup_steps must be below steps, {self.steps}, not {self.warmup_steps[-1]}")

    def validate(self, dataset):
        check_batch_size(self.batch_size, dataset)

    def work(self, dataset):
        steps = self.trials * len(self.learning_rates) * len(self.warmup_steps) * self.steps
        products = 6 * PRODUCTS
        programs = frozenset([(SGD, self.batch_size, self.KIND), (self.KIND, "product")])
        samples = steps * self.batch_size + products * min(SAMPLES, len(dataset.x_train))
        return Work(samples, steps + products, programs=programs)

    def table(self, run):
        survived = run["survived"].mean(axis=(1, 3))
        return {f"survived, W = {steps}": survived[:, i] for i, steps in enumerate(self.warmup_steps)}

    def measure(self, context):
        trainer, size, longest = context.trainer, self.batch_size, self.warmup_steps[-1]
        data, shape = trainer.cached(train_subset, SAMPLES), (len(self.warmup_steps), len(self.learning_rates))
        final_loss, eigenvalues = np.full((self.trials, *shape), np.nan), {}
        for number, (trial, *cell) in enumerate(np.ndindex(final_loss.shape)):
            yield number / final_loss.size, Result({}, progress=0.0)
            if not any(cell):
                initial, order = self.start(context, context.seed + MAX_SEEDS * trial)
            trainer.set_weights(initial)
            trainer.set_optimizer()
            if number == 0:
                eigenvalues["initial_eigenvalue"] = sharpness(trainer, data)
            warmup_steps, rate = self.warmup_steps[cell[0]], self.learning_rates[cell[1]]
            rates = rate * np.minimum(1, np.arange(1, self.steps + 1) / max(1, warmup_steps))
            # cut at the end of the longest warm-up, where the sharpness is measured
            survives = train(trainer, order[: longest * size], size, rates[:longest])
            if [trial, *cell] == [0, shape[0] - 1, 0]:
                eigenvalues["eigenvalue"] = sharpness(trainer, data) if survives else np.nan
            if survives and train(trainer, order[longest * size :], size, rates[longest:]):
                final_loss[trial, *cell] = trainer.evaluate(*data)[0]
        columns = {"final_loss": final_loss, "survived": final_loss < np.log(context.dataset.classes) / 2}
        columns |= eigenvalues
        yield 1.0, Result({name: np.asarray(column, np.float32) for name, column in columns.items()})

    def start(self, context, seed):
        """Return the initial weights and the order of the samples of all steps."""
        samples, size, scale = len(context.dataset.x_train), self.batch_size, np.float32(self.kernel_scale)
        full = samples // size
        parts = [epoch_permutation(samples, seed, epoch)[: full * size] for epoch in range(-(-self.steps // full))]
        initial = [w * scale if w.ndim > 1 else w for w in context.trainer.initial_weights(seed)]
        return initial, np.concatenate(parts)[: self.steps * size]

    def __str__(self):
        return f"{self.batch_size}: survival of {self.steps} steps"


def train(trainer: Trainer, order: np.ndarray, batch_size: int, rates: np.ndarray) -> bool:
    """Take a step with each of these learning rates; return False as soon as the loss is not finite."""
    segments = trainer.train_epoch(order, batch_size, learning_rates=rates.astype(np.float32)) if len(rates) else ()
    return all(np.isfinite(segment.values).all() for segment in segments)


def sharpness(trainer: Trainer, data: tuple) -> float:
    """Return the largest eigenvalue of the Hessian at the current weights, NaN if it is not finite."""
    variables = trainer.model.trainable_variables
    _, gradients = loss_and_gradients(trainer.model, variables, *data, training=False)

    def product(vector):
        return flatten(trainer.cached(make_hessian_product)(*data, unflatten(vector, variables)))

    for estimate in lanczos(product, flatten(gradients)):
        if not estimate[1] > TOLERANCE:  # also if it is NaN
            break
    return estimate[0]
