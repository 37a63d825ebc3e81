"""Survival: which learning rates a short training survives, with warm-ups of several lengths."""

from dataclasses import dataclass

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, ascending, check_batch_size, checked, positive_float, positive_int
from bstudy.experiments.recipe import warmup
from bstudy.experiments.sharpness import PRODUCTS, TOLERANCE, flatten, lanczos, make_hessian_product, unflatten
from bstudy.store import Result
from bstudy.trainer import SGD, Trainer, epoch_permutation, loss_and_gradients, train_subset

SAMPLES = 512  # of the training set, at most, for the final loss and the sharpness


@dataclass(frozen=True)
class Survival(Experiment):
    """Short trainings over a grid of learning rates and lengths of the warm-up: which of them survive.

    All take the same number of steps of SGD, from the same weights with the same batches: consecutive parts of a
    permutation in each epoch, without the samples that do not fill a batch. With a warm-up of W steps, step t has the
    learning rate η min(1, t / W). A training survives if its loss stays finite and ends below half of ln(classes): half
    the loss of a model that guesses. This also excludes a network that only learned how frequent the classes are.

    Columns:
        final_loss: (warm-ups, learning rates) in nats, on at most 512 training samples, the same for all; NaN if the
            training diverged.
        survived: (warm-ups, learning rates) 1 or 0.
        initial_eigenvalue: () the sharpness λ before the first step, on these samples.
        eigenvalue: (learning rates,) λ at the end of the longest warm-up; NaN if the training does not survive.

    Args:
        batch_size: Samples a step.
        learning_rates: η.
        warmup_steps: W, of each warm-up; 0 for none.
        steps: Of each training.
        kernel_scale: The initial kernels are multiplied by this: with larger ones the sharpness starts higher.
    """

    KIND = "survival"

    batch_size: int = checked(positive_int)
    learning_rates: tuple[float, ...] = checked(ascending(positive_float))
    warmup_steps: tuple[int, ...] = checked(ascending(warmup))
    steps: int = checked(positive_int)
    kernel_scale: float = checked(positive_float, default=1.0)

    def __post_init__(self):
        super().__post_init__()
        if self.warmup_steps[-1] >= self.steps:
            raise InvalidInput(f"warmup_steps must be below steps, {self.steps}, not {self.warmup_steps[-1]}")

    def validate(self, dataset):
        check_batch_size(self.batch_size, dataset)

    def work(self, dataset):
        steps = len(self.learning_rates) * len(self.warmup_steps) * self.steps
        products = 3 * PRODUCTS * (1 + len(self.learning_rates))
        programs = frozenset([(SGD, self.batch_size, self.KIND), (self.KIND, "product")])
        samples = steps * self.batch_size + products * min(SAMPLES, len(dataset.x_train))
        return Work(samples, steps + products, programs=programs)

    def table(self, run):
        return {
            f"survived, W = {steps}": run["survived"][:, i].mean(axis=1) for i, steps in enumerate(self.warmup_steps)
        }

    def measure(self, context):
        trainer, scale = context.trainer, np.float32(self.kernel_scale)
        initial = [w * scale if w.ndim > 1 else w for w in trainer.initial_weights(context.seed)]
        samples, size = len(context.dataset.x_train), self.batch_size
        epochs = -(-self.steps // (samples // size))
        parts = [epoch_permutation(samples, context.seed, epoch)[: samples // size * size] for epoch in range(epochs)]
        order = np.concatenate(parts)[: self.steps * size]
        limit = np.log(context.dataset.classes) / 2
        data, shape = trainer.cached(train_subset, SAMPLES), (len(self.warmup_steps), len(self.learning_rates))
        trainer.set_weights(initial)
        columns = {"final_loss": np.full(shape, np.nan), "initial_eigenvalue": sharpness(trainer, data)}
        columns["eigenvalue"] = np.full(shape[1], np.nan)
        longest = self.warmup_steps[-1]
        for i, (warmup_steps, number) in enumerate((w, n) for w in range(shape[0]) for n in range(shape[1])):
            yield i / np.prod(shape), Result({}, progress=0.0)
            length, rate = self.warmup_steps[warmup_steps], self.learning_rates[number]
            trainer.set_weights(initial)
            trainer.set_optimizer()
            rates = rate * np.minimum(1, np.arange(1, self.steps + 1) / max(1, length))
            # cut at the end of the longest warm-up, where the sharpness is measured
            if not train(trainer, order[: longest * size], size, rates[:longest]):
                continue
            at_end_of_warmup = trainer.get_weights()
            if not train(trainer, order[longest * size :], size, rates[longest:]):
                continue
            columns["final_loss"][warmup_steps, number] = loss = trainer.evaluate(*data)[0]
            if length == longest and loss < limit:
                trainer.set_weights(at_end_of_warmup)
                columns["eigenvalue"][number] = sharpness(trainer, data)
        columns["survived"] = columns["final_loss"] < limit
        yield 1.0, Result({name: np.asarray(column, np.float32) for name, column in columns.items()})

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
