"""How much training it takes to reach a test accuracy."""

import math
import numbers
from dataclasses import dataclass

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, checked
from bstudy.experiments.recipe import Phase, Recipe
from bstudy.store import Result
from bstudy.trainer import epoch_permutation

EVALUATIONS_PER_EPOCH = 16


def percent(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 1 < value <= 100:
        raise InvalidInput(f"the target {name} must be in percent, above 1 and at most 100 (such as 95), not {value!r}")
    return float(value)


@dataclass(frozen=True)
class TimeToTarget(Experiment):
    """Train until the test accuracy reaches a target, for at most the epochs of `phase`.

    The test set is evaluated sixteen times an epoch, or after every step if an epoch has fewer, so that the result is
    not rounded to whole epochs.

    Columns:
        steps, epochs, seconds: () of training, up to the first evaluation that reaches the target; infinite if none
            does, NaN if the run diverged.

    Args:
        phase: How to train.
        accuracy: The target, in percent.
    """

    KIND = "time_to_target"
    VERSION = 3  # 1 evaluated on a clock that depended on the machine's speed; 2 sometimes counted a step too many
    EXCLUSIVE = True

    phase: Phase
    accuracy: float = checked(percent)

    @classmethod
    def sgd(cls, batch_size: int, learning_rate: float, epochs: int, accuracy: float) -> "TimeToTarget":
        return cls(Phase(batch_size, learning_rate, epochs), accuracy)

    @property
    def batch_size(self) -> int:
        return self.phase.batch_size

    def validate(self, dataset):
        Recipe((self.phase,)).validate(dataset)

    def work(self, dataset):
        epochs = math.sqrt(self.phase.epochs)  # few runs need all of them
        evaluations = min(EVALUATIONS_PER_EPOCH, math.ceil(len(dataset.x_train) / self.batch_size))
        evaluation = Work(evaluated=epochs * evaluations * len(dataset.x_test))
        return evaluation.plus(Recipe((self.phase,)).first(1).work(dataset), times=epochs)

    def measure(self, context):
        trainer, phase, start = context.trainer, self.phase, context.resume_from
        samples = len(context.dataset.x_train)
        trainer.set_weights(trainer.initial_weights(context.seed))
        trainer.set_optimizer(phase.settings)
        epoch, seconds = 0, 0.0
        if start is not None:
            trainer.set_state(start.state)
            epoch, seconds = start.metadata["epoch"], start.metadata["training_seconds"]
        trainer.optimizer.learning_rate = phase.learning_rate
        steps_per_epoch = math.ceil(samples / phase.batch_size)
        steps_per_call = max(1, steps_per_epoch // EVALUATIONS_PER_EPOCH)
        checkpoint, steps, epochs = Result({}, progress=0.0), np.inf, np.inf

        while epoch < phase.epochs and steps == np.inf:
            order = epoch_permutation(samples, context.seed, epoch)
            rates = phase.warmup_rates(epoch, samples)
            for segment in trainer.train_epoch(
                order, phase.batch_size, steps_per_call=steps_per_call, learning_rates=rates
            ):
                seconds += segment.seconds
                loss, accuracy = trainer.evaluate(*trainer.test_data)
                if not (np.isfinite(segment.values).all() and np.isfinite(loss)):
                    steps = epochs = seconds = np.nan
                    break
                if accuracy >= self.accuracy:
                    epochs = epoch + segment.progress
                    seen = round(segment.progress * samples)
                    steps = epoch * steps_per_epoch + math.ceil(seen / phase.batch_size)
                    break
                yield (epoch + segment.progress) / phase.epochs, checkpoint
            epoch += 1
            metadata = {"epoch": epoch, "training_seconds": seconds}
            checkpoint = Result({}, trainer.get_state(), metadata, epoch / phase.epochs)

        columns = {"steps": steps, "epochs": epochs, "seconds": np.inf if steps == np.inf else seconds}
        columns = {name: np.float64(value) for name, value in columns.items()}
        yield 1.0, Result(columns, diverged=bool(np.isnan(steps)))

    def __str__(self):
        return f"{self.phase.batch_size} at {self.phase.learning_rate:g} to {self.accuracy:g} %"


def steps_and_best(grid: dict, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a column of a grid of TimeToTarget runs, at the first learning rate and at the best.

    Args:
        grid: {batch size: {learning rate: Runs}}, the learning rates in one order for all batch sizes.
        column: steps, epochs or seconds.

    Returns:
        (n,) batch sizes; (seeds, n) the column at the first learning rate; and (seeds, n) at the rate that takes the
        fewest steps. A rate at which a run diverged is not the best.
    """
    steps, values = (
        np.array([[run[name] for run in rates.values()] for rates in grid.values()]).transpose(2, 1, 0)
        for name in ("steps", column)
    )  # (seeds, rates, n)
    best = np.argmin(np.nan_to_num(steps, nan=np.inf), axis=1)[:, None]
    return np.array(list(grid)), values[:, 0], np.take_along_axis(values, best, axis=1)[:, 0]
