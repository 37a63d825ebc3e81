"""How much training it takes to reach an accuracy, at one learning rate or at the best one."""

import copy
import math
import numbers
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiments.base import Context, Experiment, Work, checked, one_of
from bstudy.experiments.recipe import Phase, Recipe
from bstudy.store import Result
from bstudy.trainer import epoch_permutation, train_subset

FIRST_EVALUATION = 1 / 8  # epoch
FAR, NEAR = 1.4, 1.05  # growth of the number of samples seen from one evaluation to the next
HOPELESS, HOPELESS_EPOCHS = 4, 5  # times the samples of the latest improvement, and the minimum
LATTICE = np.arange(-6, 7)  # of learning rates, as powers of 2
TYPICAL_RATES, TYPICAL_EVALUATIONS = 4, 15  # of a search, and of one run


def percent(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 1 < value <= 100:
        raise InvalidInput(f"the target {name} must be in percent, above 1 and at most 100 (such as 95), not {value!r}")
    return float(value)


@dataclass(frozen=True)
class TimeToTarget(Experiment):
    """Train until the accuracy reaches a target.

    It is evaluated after an eighth of an epoch, then whenever the number of samples seen has grown by 40 %, and by 5 %
    as soon as the error is at most twice that of the target. So the result is exact to about 5 %, or to one step. A run
    is hopeless, and ends, when it has seen five epochs and four times the samples of its latest improvement.

    Columns:
        steps, epochs: () of training, up to the first evaluation at which the accuracy is at least the target; infinite
            if there is none, NaN if the run diverged before.

    Args:
        phase: How to train, and for at most how many epochs.
        accuracy: The target, in percent.
        data: What is evaluated: the "test" set, or a fixed random subset of at most 1,000 "train" samples.
    """

    KIND = "time_to_target"
    VERSION = 5  # 4 evaluated more often; 1 to 3 evaluated the test set, 16 times an epoch
    TRAIN_SAMPLES: ClassVar[int] = 1000  # that are evaluated at most

    phase: Phase
    accuracy: float = checked(percent)
    data: str = checked(one_of("test", "train"), default="test")

    @classmethod
    def sgd(cls, batch_size: int, learning_rate: float, epochs: int, accuracy: float) -> "TimeToTarget":
        return cls(Phase(batch_size, learning_rate, epochs), accuracy)

    @property
    def batch_size(self) -> int:
        return self.phase.batch_size

    def validate(self, dataset):
        Recipe((self.phase,)).validate(dataset)

    def work(self, dataset):
        epochs = min(3.0, self.phase.epochs)  # few runs need all of them
        evaluated = TYPICAL_EVALUATIONS * len(dataset.x_test)
        return Work(evaluated=evaluated).plus(Recipe((replace(self.phase, epochs=1),)).work(dataset), times=epochs)

    def measure(self, context):
        run = _Run(self, self.phase, (self.data,), context, context.resume_from)
        for progress in run.train():
            yield progress, run.checkpoint
        steps, epochs = run.result(self.data)
        yield 1.0, Result({"steps": steps, "epochs": epochs}, diverged=run.diverged)

    def __str__(self):
        return f"{self.phase.batch_size} at {self.phase.learning_rate:g} to {self.accuracy:g} %"


@dataclass(frozen=True)
class TunedTimeToTarget(TimeToTarget):
    """Search the learning rate that reaches a target in the fewest steps, with factors of 2.

    The search starts at the learning rate of `phase`. It moves by factors of 2, until the rates above and below are no
    better. They are compared by `train_steps`: the test set has no part in the choice. A run that has taken as many
    steps as the best one without reaching the target ends early.

    Columns:
        learning_rate: () the best.
        steps, epochs: () as in TimeToTarget, at this learning rate.
        train_steps: () the steps at which at most 500 training samples reach the target.
        first_steps, first_epochs: () `steps` and `epochs` at the learning rate of `phase`.
        rates: (13,) from 1/64 to 64 times the learning rate of `phase`.
        tried: (13,) 1 for those that the search tried, else 0.
        rate_steps: (13,) `train_steps` of those; infinite if not reached or ended early, NaN if diverged.

    Args:
        phase: How to train, with the first learning rate of the search.
        accuracy: The target, in percent.
        data: What `steps` and `epochs` are of: the "test" set, or the "train" samples of `train_steps`.
    """

    KIND = "tuned_time_to_target"
    VERSION = 2  # 1 had factors of √2, 1,000 training samples, and the evaluations of version 4 of TimeToTarget
    TRAIN_SAMPLES = 500

    def work(self, dataset):
        return Work().plus(super().work(dataset), times=TYPICAL_RATES)

    def table(self, run):
        return {name: run[name] for name in ("learning_rate", "steps", "epochs", "first_steps", "first_epochs")}

    def measure(self, context):
        search = _Search(self.phase.learning_rate, context.resume_from)
        for number in search.candidates():
            phase = replace(self.phase, learning_rate=search.columns["rates"][number])
            run = _Run(self, phase, ("train", self.data), context)
            for _ in run.train(limit=search.columns["train_steps"]):
                yield search.checkpoint.progress, search.checkpoint
            search.add(number, run.result("train"), run.result(self.data))
        yield 1.0, Result(search.columns, diverged=bool(np.isnan(search.columns["steps"])))

    def __str__(self):
        return f"{self.phase.batch_size}, tuned, to {self.accuracy:g} %"


class _Run:
    """A training run on its way to a target."""

    def __init__(self, target: TimeToTarget, phase: Phase, names, context: Context, start: Result | None = None):
        self.phase, self.accuracy, self.seed, self.trainer = phase, target.accuracy, context.seed, context.trainer
        self.samples = len(context.dataset.x_train)
        sets = {"train": self.trainer.cached(train_subset, target.TRAIN_SAMPLES), "test": self.trainer.test_data}
        self.sets = {name: sets[name] for name in names}
        self.trainer.set_weights(self.trainer.initial_weights(context.seed))
        self.trainer.set_optimizer(phase.settings)
        self.epoch, self.next_evaluation, self.improved_at = 0, FIRST_EVALUATION * self.samples, 0
        self.best, self.reached = dict.fromkeys(self.sets, 0.0), {}  # accuracy, and samples seen
        self.diverged = False
        if start is not None:
            self.trainer.set_state(start.state)
            vars(self).update(copy.deepcopy(start.metadata["run"]))
        self.trainer.optimizer.learning_rate = phase.learning_rate
        self.checkpoint = self.make_checkpoint()

    def train(self, limit: float = np.inf) -> Iterator[float]:
        """Train until all sets reach the target, and yield the progress.

        Args:
            limit: The run also ends after this number of steps, unless the training set has reached the target.
        """
        size = self.phase.batch_size
        while self.epoch < self.phase.epochs:
            before = self.epoch * self.samples
            order = epoch_permutation(self.samples, self.seed, self.epoch)
            rates = self.phase.warmup_rates(self.epoch, self.samples)

            def next_stop(step, before=before):
                return max(step + 1, math.ceil((self.next_evaluation - before) / size))

            for segment in self.trainer.train_epoch(order, size, next_stop=next_stop, learning_rates=rates):
                seen = before + round(segment.progress * self.samples)
                self.diverged = not np.isfinite(segment.values).all()
                if not self.diverged and seen >= self.next_evaluation:
                    self.evaluate(seen)
                if self.is_over(seen, limit):
                    return
                yield seen / (self.samples * self.phase.epochs)
            self.epoch += 1
            self.checkpoint = self.make_checkpoint()

    def make_checkpoint(self) -> Result:
        """Return the state between two epochs."""
        names = ("epoch", "next_evaluation", "improved_at", "best", "reached")
        metadata = {"run": copy.deepcopy({name: getattr(self, name) for name in names})}
        return Result({}, self.trainer.get_state(), metadata, self.epoch / self.phase.epochs)

    def evaluate(self, seen: int) -> None:
        """Evaluate the sets that have not reached the target, and choose when to evaluate next."""
        for name in [each for each in self.sets if each not in self.reached]:
            loss, accuracy = self.trainer.evaluate(*self.sets[name])
            if not np.isfinite(loss):
                self.diverged = True
            if accuracy > self.best[name]:
                self.best[name], self.improved_at = accuracy, seen
            if accuracy >= self.accuracy:
                self.reached[name] = seen
        is_near = 100 - max(self.best.values()) <= 2 * (100 - self.accuracy)
        while self.next_evaluation <= seen:
            self.next_evaluation *= NEAR if is_near else FAR

    def is_over(self, seen: int, limit: float) -> bool:
        """Return whether to end the run: diverged, both targets reached, too slow, or hopeless."""
        if self.diverged or len(self.reached) == len(self.sets):
            return True
        is_late = "train" not in self.reached and self.steps(seen) >= limit
        return is_late or seen >= max(HOPELESS_EPOCHS * self.samples, HOPELESS * self.improved_at)

    def steps(self, seen: int) -> int:
        """Return the number of steps in which these samples are seen; the last batch of an epoch may be smaller."""
        epochs, rest = divmod(seen, self.samples)
        return epochs * math.ceil(self.samples / self.phase.batch_size) + math.ceil(rest / self.phase.batch_size)

    def result(self, name: str) -> tuple[np.float64, np.float64]:
        """Return the steps and the epochs to the target on a set."""
        if name not in self.reached:
            return (np.float64(np.nan if self.diverged else np.inf),) * 2
        seen = self.reached[name]
        return np.float64(self.steps(seen)), np.float64(seen / self.samples)


class _Search:
    """A search of the best learning rate: what it has tried so far."""

    def __init__(self, first_rate: float, start: Result | None):
        nothing = np.zeros(len(LATTICE))
        self.columns = {"rates": first_rate * 2.0**LATTICE, "tried": nothing, "rate_steps": nothing + np.nan}
        self.columns["train_steps"] = np.float64(np.inf)
        if start is not None:
            self.columns = dict(start.columns)
        self.checkpoint = self.make_checkpoint()

    def candidates(self) -> Iterator[int]:
        """Yield the number of the next learning rate to try, until those above and below the best are no better."""
        if not self.columns["tried"].any():
            yield len(LATTICE) // 2
        while untried := [number for number in self.neighbors() if not self.columns["tried"][number]]:
            yield untried[0]

    def neighbors(self) -> list[int]:
        """Return the numbers above and below the best one, inside the lattice."""
        best = self.best()
        return [number for number in (best + 1, best - 1) if 0 <= number < len(LATTICE)]

    def best(self) -> int:
        """Return the best number: the fewest steps; if none reached the target, the highest rate without divergence."""

        def badness(number):
            steps = self.columns["rate_steps"][number]
            return (2, number) if np.isnan(steps) else (1, -number) if np.isinf(steps) else (0, steps)

        return min(np.flatnonzero(self.columns["tried"]), key=badness)

    def add(self, number: int, chosen_by: tuple, judged_by: tuple) -> None:
        """Add the steps and epochs of a run, on the set that chooses and on the one that judges."""
        columns = {name: np.array(column) for name, column in self.columns.items()}
        if not columns["tried"].any():
            columns |= {"first_steps": judged_by[0], "first_epochs": judged_by[1]}
        columns["tried"][number], columns["rate_steps"][number] = 1, chosen_by[0]
        self.columns = columns
        if self.best() == number:
            found = dict(zip(("train_steps", "steps", "epochs"), (chosen_by[0], *judged_by), strict=True))
            self.columns |= found | {"learning_rate": columns["rates"][number]}
        self.checkpoint = self.make_checkpoint()

    def make_checkpoint(self) -> Result:
        """Return the state between two runs."""
        progress = 1 - 0.8 ** self.columns["tried"].sum()
        return Result(dict(self.columns), {}, {}, progress)
