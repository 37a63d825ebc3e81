"""Measures what an Advice needs, within a budget of time: speeds, the noise of the gradient, and races of trainings."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bstudy.advice import epochs as whole
from bstudy.advice.data import make_arrays
from bstudy.advice.measured import Goal, Noise, Speed
from bstudy.advice.model import Network, find_network
from bstudy.advice.page import Advice
from bstudy.advice.problem import SMALL, KerasProblem
from bstudy.advice.search import RATES, STEP_OF_RATES, Refinement, Setting, Training, race, target_of
from bstudy.backend import start
from bstudy.errors import BstudyError, Interrupted, InvalidInput
from bstudy.machine import available_memory
from bstudy.processes import in_notebook
from bstudy.progress import CellLine
from bstudy.runner import graceful_shutdown

SMALLEST, FACTOR = 8, 4  # the first batch size whose speed is measured, and from one to the next
LARGEST = 8192
SPEED_GAIN = 1.05  # of samples a second that makes a larger size worth a trial
SPEED_END, EDGE_END, NOISE_END, RACE_END = 0.13, 0.18, 0.23, 0.7  # of the budget, when each part is over
EDGE_LEAST, RACE_LEAST = 0.05, 0.4  # of the budget, whatever came before
RACES, LEAST_PROGRESS = 3, 0.1  # with other rates, as long as the loss falls by less than this fraction
FLAT = 1.15  # the race is at the smallest batch size that takes at most this factor of the least predicted time
RACE_SHARE = 0.7  # of the time of the race that is training; the rest is evaluation and compiling
MEMORY_SHARE = 0.8  # of the free memory that a trial may be expected to take
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


@dataclass
class Budget:
    """A time to measure, of which each part ends at a fraction."""

    seconds: float
    stop: threading.Event
    until: float = 1.0  # the fraction at which the present part ends

    def __post_init__(self):
        self.started = time.monotonic()

    @property
    def used(self) -> float:
        return time.monotonic() - self.started

    def left(self) -> float:
        """Return the seconds that the present part has left."""
        return 0.0 if self.stop.is_set() else self.until * self.seconds - self.used


def read_goal(text: str) -> Goal:
    """Return the goal of "time", "epochs=10" or "memory=2GB".

    Raises:
        InvalidInput: it is none of them.
    """
    if text == "time":
        return Goal()
    match = re.fullmatch(r"(epochs|memory)=(\d{1,9}(?:\.\d+)?) ?([KMG]?B?)", text)
    if match and float(match[2]) > 0 and (match[1] == "memory" or not match[3]):
        number = float(match[2])
        return Goal(epochs=number) if match[1] == "epochs" else Goal(memory=number * UNITS[match[3].rstrip("B")])
    raise InvalidInput(f"the goal must be time, epochs=10 or memory=2GB, with your number, not {text!r}")


def advise(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    model: Any = "mlp",
    optimizer: str | None = None,
    goal: str = "time",
    budget: float = 120.0,
    quiet: bool = False,
) -> Advice:
    """Recommend a batch size and a learning rate for a model, measured on this machine.

    Args:
        x_train, y_train: Samples and labels of any shape, (n, ...) each.
        x_test, y_test: Held-out ones; a fifth of the training set if there are none.
        model: A compiled Keras model, whose loss, optimizer and metrics are used, and whose weights are the start of
            each training and stay as they are; or a function that returns one; or a function of (input_shape, classes)
            that returns a classifier with logits, not compiled; or "mlp", or "cnn".
        optimizer: "sgd" or "adam", for a model that is not compiled.
        goal: "time", the least time to the same loss; "epochs=10", the lowest loss after 10 epochs;
            "memory=2GB", the least time among the batch sizes with which this process needs no more.
        budget: About how many seconds to measure.
        quiet: Whether to show no progress.

    Raises:
        InvalidInput: the data, the model or the goal cannot be used.
        Interrupted: the user stopped before any learning rates had been compared.
        BstudyError: no learning rate lowers the loss.
    """
    arrays = make_arrays("your data", x_train, y_train, x_test, y_test)
    line = CellLine() if in_notebook() else None
    log = None if quiet else (lambda text: line.show(f"Measuring {text} ...")) if line else print_progress
    start()
    return measure_advice(find_network(model, arrays, optimizer), read_goal(goal), budget, log)


def print_progress(text: str) -> None:
    """Print what is measured next on standard error."""
    import click

    click.echo(f"Measuring {text} ...", err=True)


def measure_advice(network: Network, goal: Goal, budget: float, log: Callable[[str], None] | None = None) -> Advice:
    """Measure an Advice, and leave the weights of the model as they are; see `advise` for the errors.

    Args:
        network: Model and data.
        goal: What for.
        budget: Seconds.
        log: Called with what is measured next.
    """
    before = [variable.numpy() for variable in network.model.variables]
    with graceful_shutdown(lambda: "the advice rests on what was measured until now") as stop:
        try:
            return Measurement(network, goal, Budget(budget, stop), log or (lambda text: None)).advice()
        finally:
            for variable, value in zip(network.model.variables, before, strict=True):
                variable.assign(value)


class Measurement:
    """The parts of an advice, in their order.

    Args:
        network: Model and data.
        goal: What for.
        budget: How long.
        log: Called with what is measured next.
    """

    def __init__(self, network: Network, goal: Goal, budget: Budget, log: Callable[[str], None]):
        self.network, self.goal, self.budget, self.log = network, goal, budget, log
        self.problem = KerasProblem(network, budget.left)

    def advice(self) -> Advice:
        """Measure, and return what follows."""
        self.log(f"whether {self.network.name} can be trained on {self.network.arrays}")
        self.problem.check()
        with self.part(SPEED_END):
            speed = self.measure_speed()
        small = min(SMALL, self.problem.samples)
        with self.part(EDGE_END, at_least=EDGE_LEAST):
            self.log("up to which learning rate training is stable")
            edge = self.problem.highest_rate(small, self.budget.left())
        with self.part(NOISE_END):
            self.log("how noisy the gradient is")
            early = self.problem.noise_scale(self.problem.start(Setting(small, edge / 2), 0))
        first = self.first_size(speed, early)
        with self.part(RACE_END, at_least=RACE_LEAST):
            trainings = self.race(first, edge)
        refinement = self.refine(speed, trainings)
        late = self.late_noise(refinement)
        winner = refinement.winner
        if winner.setting.batch_size not in speed.batch_sizes:
            speed = speed.with_size(*self.measure_size(winner.setting.batch_size))
        return Advice(
            network=self.network,
            goal=self.goal,
            speed=speed,
            noise=Noise(early, late),
            race=tuple(trainings),
            refinement=refinement,
            epochs=self.samples_seen / self.problem.samples if self.goal.epochs else None,
            metrics=self.metrics(winner.trainings[max(winner.trainings)]),
            budget=self.budget.seconds,
            seconds=self.budget.used,
            stopped=self.budget.stop.is_set(),
        )

    @contextlib.contextmanager
    def part(self, end: float, at_least: float = 0.0) -> Iterator[None]:
        """Limit what is measured inside: it ends at a fraction of the budget, or later if it has had too little."""
        self.budget.until = max(end, self.budget.used / self.budget.seconds + at_least)
        yield
        self.budget.until = 1.0

    def measure_size(self, batch_size: int) -> tuple[int, float, float]:
        return batch_size, self.problem.step_seconds(batch_size), self.problem.memory(batch_size)

    def measure_speed(self) -> Speed:
        """Measure larger and larger batches, until they are no faster, do not fit, or the time is over."""
        rows, size = [], min(SMALLEST, self.problem.samples)
        while True:
            self.log(f"how fast it trains at a batch size of {size}")
            try:
                rows.append(self.measure_size(size))
            except Exception as error:  # out of memory
                if not rows or type(error).__name__ != "ResourceExhaustedError":
                    raise
                return Speed.of(rows, f"A batch of {size} does not fit into the memory.")
            if limit := self.limit(rows, size * FACTOR):
                return Speed.of(rows, limit)
            size *= FACTOR

    def limit(self, rows: list[tuple[int, float, float]], following: int) -> str:
        """Return why no larger batch is tried, in a sentence; "" to try it."""
        per_second = [size / seconds for size, seconds, _ in rows]
        if following > self.problem.samples:
            return "No larger batch was tried: it would hold more than the training set."
        if following > LARGEST:
            return f"Batches larger than {rows[-1][0]} were not tried."
        if len(rows) > 2 and per_second[-1] < SPEED_GAIN * max(per_second[:-1]):
            return f"Beyond {rows[-2][0]} it gets almost no faster."
        if len(rows) > 1 and self.budget.left() <= 0:
            return f"Batches larger than {rows[-1][0]} were not timed for lack of time: use a larger --budget."
        if len(rows) > 1:
            growth = FACTOR * max(0.0, rows[-1][2] - rows[-2][2])
            if growth > MEMORY_SHARE * available_memory():
                return f"A batch of {following} would need about {growth / 1e9:.1f} GB more, too much for this machine."
            if self.goal.memory and rows[-1][2] > self.goal.memory:
                return "Larger batches need more memory than you allow."
        return ""

    def allowed(self, speed: Speed) -> Callable[[int], bool]:
        """Return which batch sizes may be tried: those that the data hold, and that fit into the memory."""
        largest = min(self.problem.samples, FACTOR * int(speed.batch_sizes[-1]))
        if self.goal.memory:
            fitting = [size for size in powers_of_two(largest) if not speed.memory_at(size) > self.goal.memory]
            if not fitting:
                needed = np.nanmin(speed.memory) / 1e9
                raise BstudyError(f"a batch size of {SMALLEST} needs {needed:.2f} GB already, more than you allow")
            largest = fitting[-1]
        return lambda size: 1 <= size <= largest

    def first_size(self, speed: Speed, noise_scale: float) -> int:
        """Return the batch size to race at: nearly the least time by the rule; for fixed epochs the noise scale / 4."""
        is_allowed = self.allowed(speed)
        sizes = [size for size in powers_of_two(int(speed.batch_sizes[-1])) if size >= SMALLEST and is_allowed(size)]
        sizes = sizes or [size for size in powers_of_two(int(speed.batch_sizes[-1])) if is_allowed(size)]
        if self.goal.epochs:
            return max([size for size in sizes if size <= noise_scale / 4] or sizes[:1])
        times = np.array([speed.time_at(size, noise_scale) for size in sizes])
        return sizes[int(np.argmax(times <= FLAT * times.min()))]

    def race(self, batch_size: int, edge: float) -> list[Training]:
        """Race learning rates at a batch size; if none lowers the loss by a tenth, lower or higher ones."""
        if batch_size != SMALL and self.budget.left() > 0:
            self.log(f"up to which learning rate training is stable at a batch size of {batch_size}")
            edge = self.problem.highest_rate(batch_size, self.budget.left() / 5)
        highest = edge
        for _ in range(RACES):
            self.log(f"eight learning rates from {highest:.2g} down, in a race at a batch size of {batch_size}")
            trainings = self.race_from(highest, batch_size)
            if self.budget.stop.is_set() and all(len(each.losses) < 3 for each in trainings):
                raise Interrupted("stopped before any learning rates had been compared")
            first, lowest = trainings[0].losses[0], trainings[0].lowest_loss()
            if first - lowest > LEAST_PROGRESS * abs(first):
                return trainings
            has_diverged = any(each.has_diverged for each in trainings)
            highest *= STEP_OF_RATES ** (-RATES if has_diverged else RATES - 1)
        if lowest < first:
            return trainings
        raise BstudyError(f"no learning rate up to {edge:.2g} lowers the held-out loss; is the budget too small?")

    def race_from(self, highest: float, batch_size: int) -> list[Training]:
        """Race the highest learning rate and lower ones, as the goal asks."""
        self.samples_seen = 0
        if not self.goal.epochs:
            return race(self.problem, batch_size, highest, max(0.0, RACE_SHARE * self.budget.left()))
        seconds = RACE_SHARE * (self.budget.seconds - self.budget.used)
        per_sample = self.problem.step_seconds(batch_size) / batch_size
        self.samples_seen = whole.affordable_samples(self.goal.epochs, self.problem.samples, per_sample, seconds)
        return whole.race_epochs(self.problem, batch_size, highest, self.samples_seen)

    def refine(self, speed: Speed, trainings: list[Training]) -> Refinement:
        """Compare the winner of the race with its neighbors in batch size and learning rate."""

        def log(text):
            self.log(f"the best so far against {text}")

        if not self.goal.epochs:
            refinement = Refinement(self.problem, trainings[0], target_of(trainings), self.allowed(speed), log)
        elif min(each.losses[-1] for each in trainings) <= 0:
            raise InvalidInput("the goal of a number of epochs needs a loss that is always positive")
        else:
            refinement = whole.EpochRefinement(self.problem, trainings[0], self.samples_seen, self.allowed(speed), log)
        refinement.run()
        return refinement

    def late_noise(self, refinement: Refinement) -> float:
        """Return the noise scale where the best training reached its target."""
        trainings = refinement.winner.trainings
        run = trainings[max(trainings)].run
        return self.problem.noise_scale(run) if run.setting.batch_size > 1 else np.nan

    def metrics(self, training: Training) -> dict[str, float]:
        """Return the model's own metrics of the recommended training, on the held-out samples."""
        model, arrays = self.network.model, self.network.arrays
        self.problem.use(training.run)
        found = model.evaluate(arrays.x_test, arrays.y_test, batch_size=500, verbose=0, return_dict=True)
        return {name: float(value) for name, value in found.items() if np.ndim(value) == 0}


def powers_of_two(largest: int) -> list[int]:
    """Return 1, 2, 4, ... up to `largest`."""
    return [2**exponent for exponent in range(int(largest).bit_length())]
