"""Which batch size and learning rate reach a loss in the least time: a race of rates, then of their neighbors.

Nothing here knows Keras: a `Problem` says how long a step takes, and starts trainings. Time is the number of steps
times the measured seconds of a step, so that other work of the machine does not decide a race.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

PROGRESS = 0.9  # of the way from the first loss to the lowest one, that is the target
EVALUATION_GROWTH = 1.08  # of the number of steps from one evaluation to the next
RATES, STEP_OF_RATES = 8, 2.0  # of the race
ROUNDS = ((1, 3), (3, 1), (9, 1))  # of the race: how long, in units of the first round, and how many remain
RACE_UNITS = RATES + 3 * 2 + 6  # of all rounds together
PATIENCE, PATIENT_STEPS = 4, 50  # a training ends at this multiple of the steps of its lowest loss
MARGIN = 1.3  # a challenger that is slower than the best by more is given up
SEEDS, LEAST_SEEDS = 2, 10  # of each candidate, and of the best
CLOSE = 1.15  # a rival that is slower by less is nearly as good
PASSES = ((CLOSE, 10), (1.3, 30))  # (factor, seeds): rivals within it have more seeds; if time is left, others too
NEAREST = 2  # rivals have more seeds, however much slower they are
TINY = 1e-30  # in place of 0, of which there is no logarithm
HOPELESS = 10.0  # times the first loss: the training has diverged
# (factors of 2 in the batch size, factors of √2 in the rate) of the neighbors
NEIGHBORS = ((0, 1), (0, -1), (1, 1), (-1, -1), (1, 0), (-1, 0), (1, 2), (-1, -2))
FARTHER = ((-2, -1), (2, 1), (-3, -2), (3, 2))  # tried last: between two valleys all neighbors are slower


class Setting(NamedTuple):
    """What the search varies."""

    batch_size: int
    learning_rate: float


class Run(Protocol):
    """A training in progress."""

    def train(self, steps: int, decay: np.ndarray | None = None) -> None:
        """Take steps; `decay` (steps,) multiplies the learning rate."""
        ...

    def loss(self) -> float:
        """Return the held-out loss."""
        ...


class Problem(Protocol):
    """Something to train."""

    def start(self, setting: Setting, seed: int) -> Run: ...
    def step_seconds(self, batch_size: int) -> float: ...
    def seconds_left(self) -> float:
        """Return the seconds until this part of the search must end."""
        ...


@dataclass(eq=False)
class Training:
    """A training and its curve of held-out loss against time.

    Args:
        problem: What is trained.
        setting: Batch size and learning rate.
        seed: Of the initial weights and the order.
    """

    problem: Problem
    setting: Setting
    seed: int = 0
    steps: list[int] = field(default_factory=lambda: [0])
    losses: list[float] = field(default_factory=list)

    def __post_init__(self):
        self.run = self.problem.start(self.setting, self.seed)
        self.losses.append(self.run.loss())

    @property
    def step_seconds(self) -> float:
        return self.problem.step_seconds(self.setting.batch_size)

    @property
    def seconds(self) -> np.ndarray:
        """(evaluations,) after which the losses were evaluated."""
        return np.array(self.steps) * self.step_seconds

    @property
    def has_diverged(self) -> bool:
        return not math.isfinite(self.losses[-1]) or self.losses[-1] > HOPELESS * abs(self.losses[0])

    @property
    def is_over(self) -> bool:
        """Whether more training is useless: it diverged, or has not improved for long."""
        best = self.steps[int(np.nanargmin(self.losses))] if np.isfinite(self.losses).any() else 0
        return self.has_diverged or self.steps[-1] > PATIENCE * max(best, PATIENT_STEPS)

    def advance(self, seconds: float, target: float = -math.inf) -> None:
        """Train until this number of seconds after the start, until a loss, or until the budget ends."""
        last = math.inf if math.isinf(seconds) else math.ceil(seconds / self.step_seconds)
        while self.steps[-1] < last and self.losses[-1] > target and not self.is_over:
            if self.problem.seconds_left() <= 0:
                return
            steps = min(last, max(self.steps[-1] + 1, int(EVALUATION_GROWTH * self.steps[-1])))
            self.run.train(steps - self.steps[-1])
            self.steps.append(steps)
            self.losses.append(self.run.loss())

    def lowest_loss(self) -> float:
        """Return the lowest loss; infinite if there is none."""
        return float(np.nanmin(self.losses)) if np.isfinite(self.losses).any() else math.inf

    def time_to(self, target: float) -> float:
        """Return the seconds to this loss, between two evaluations by its logarithm; infinite if not reached."""
        reached = np.flatnonzero(np.array(self.losses) <= target)
        if len(reached) == 0:
            return math.inf
        after = int(reached[0])
        if after == 0:
            return 0.0
        high, low = self.losses[after - 1], self.losses[after]
        fraction = (high - target) / (high - low) if math.isfinite(high) else 1.0
        before, steps = self.steps[after - 1], self.steps[after]
        return (before + fraction * (steps - before)) * self.step_seconds


@dataclass
class Candidate:
    """A setting, and its trainings to the target: one a seed."""

    setting: Setting
    trainings: dict[int, Training] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)  # seed -> seconds to the target

    def ratio(self, other: "Candidate") -> float:
        """Return the geometric mean over common seeds of this time divided by the other's.

        It is infinite if this setting fails to reach the target with one of them, and 0 if only the other does.
        """
        seeds = self.times.keys() & other.times.keys()
        mine, others = (np.array([max(TINY, each.times[seed]) for seed in sorted(seeds)]) for each in (self, other))
        if len(seeds) == 0 or not np.isfinite(mine).all():
            return math.inf
        return float(np.exp(np.mean(np.log(mine) - np.log(others))))

    @property
    def seconds(self) -> float:
        """The geometric mean of the times of the seeds that reached the target."""
        times = [max(TINY, time) for time in self.times.values() if math.isfinite(time)]
        return float(np.exp(np.mean(np.log(times)))) if times else math.inf

    @property
    def failures(self) -> int:
        """With how many seeds it did not reach the target."""
        return sum(math.isinf(time) for time in self.times.values())

    @property
    def longest(self) -> float:
        """The seconds of its longest training, whether or not it reached the target."""
        return max(float(each.seconds[-1]) for each in self.trainings.values())


def target_of(trainings: Iterable[Training]) -> float:
    """Return the loss at 90 % of the way from the first one to the lowest one of all trainings."""
    trainings = list(trainings)
    first, lowest = trainings[0].losses[0], min(each.lowest_loss() for each in trainings)
    return first - PROGRESS * (first - lowest)


def raced_settings(batch_size: int, max_rate: float) -> list[Setting]:
    """Return the settings of a race: the largest learning rate, a half of it, a quarter, ..."""
    return [Setting(batch_size, float(rate)) for rate in max_rate / STEP_OF_RATES ** np.arange(RATES)]


def race(problem: Problem, batch_size: int, max_rate: float, seconds: float) -> list[Training]:
    """Race learning rates at one batch size by successive halving at equal time, all with the same start and order.

    Args:
        problem: What to train.
        batch_size: Of all trainings.
        max_rate: The largest learning rate; the others are a half, a quarter, ... of it.
        seconds: Of training, of all together.

    Returns:
        The trainings, best first: by the time to the target, and by the lowest loss where it is not reached.
    """
    trainings = [Training(problem, setting) for setting in raced_settings(batch_size, max_rate)]
    racing, unit = trainings, seconds / RACE_UNITS
    for length, kept in ROUNDS:
        for training in racing:
            training.advance(length * unit)
        target = target_of(trainings)
        trainings = sorted(trainings, key=lambda each: (each.time_to(target), each.lowest_loss()))
        racing = [each for each in trainings if each in racing][:kept]
    return trainings


class Refinement:
    """Compares the winner of a race with its neighbors by the time to the target, with two seeds or more.

    A candidate is a point of a lattice: factors of 2 in the batch size, of √2 in the learning rate.

    Args:
        problem: What to train.
        winner: Of the race.
        aim: The loss to reach; for an EpochRefinement, how many samples each training sees.
        allowed: Returns whether a batch size may be tried.
        log: Called with what is compared next.
    """

    def __init__(
        self,
        problem: Problem,
        winner: Training,
        aim: float,
        allowed: Callable[[int], bool],
        log: Callable[[str], None] = lambda text: None,
    ):
        self.problem, self.aim, self.allowed, self.log = problem, aim, allowed, log
        self.origin = winner.setting
        first = Candidate(winner.setting, {0: winner}, {0: self.score(winner)})
        self.candidates = {(0, 0): first}
        self.best = (0, 0)
        self.close, self.max_seeds = PASSES[0]

    @property
    def target(self) -> float:
        """The loss to reach."""
        return self.aim

    @property
    def winner(self) -> Candidate:
        return self.candidates[self.best]

    def score(self, training: Training) -> float:
        """Return what is compared: the seconds to the target."""
        return training.time_to(self.target)

    def run(self) -> None:
        """Move to better neighbors until there is none, then measure rivals with more seeds."""
        for self.close, self.max_seeds in PASSES:
            while self.problem.seconds_left() > 0:
                point = next(self.untried(), None)
                if point is not None:
                    self.challenge(point)
                elif not self.add_seeds():
                    break

    def untried(self) -> Iterator[tuple[int, int]]:
        """Yield the neighbors of the best that were not measured yet, and points farther away."""
        for doublings, roots in NEIGHBORS + FARTHER:
            point = self.best[0] + doublings, self.best[1] + roots
            if point not in self.candidates and self.allowed(self.setting(point).batch_size):
                yield point

    def setting(self, point: tuple[int, int]) -> Setting:
        """Return the setting of a point of the lattice."""
        size = self.origin.batch_size * 2.0 ** point[0]
        return Setting(int(size) if size >= 1 else 0, self.origin.learning_rate * 2 ** (point[1] / 2))

    def challenge(self, point: tuple[int, int]) -> None:
        """Measure a neighbor until it is clearly slower; if it is faster, it becomes the best."""
        candidate = self.candidates[point] = Candidate(self.setting(point))
        self.log(
            f"batch size {candidate.setting.batch_size} at a learning rate of {candidate.setting.learning_rate:.2g}"
        )
        for seed in range(SEEDS):
            if not self.measure(self.winner, seed) or not self.measure(candidate, seed):
                break
            if candidate.ratio(self.winner) > MARGIN:
                return
        if candidate.times.keys() >= set(range(SEEDS)) and candidate.ratio(self.winner) < 1:
            self.best = point

    def measure(self, candidate: Candidate, seed: int) -> bool:
        """Train a candidate to the target, unless it is measured or is clearly slower; return whether it was done."""
        if seed in candidate.times:
            return True
        limit = math.inf
        if candidate is not self.winner:
            limit = MARGIN**2 * self.winner.times[seed]
        elif candidate.times:
            limit = 2 * MARGIN * candidate.seconds
        training = Training(self.problem, candidate.setting, seed)
        training.advance(limit, self.target)
        if self.problem.seconds_left() <= 0 and training.losses[-1] > self.target:
            return False
        candidate.trainings[seed] = training
        candidate.times[seed] = self.score(training)
        return True

    def rivals(self) -> list[tuple[int, int]]:
        """Return the points nearly as fast as the best, fastest first, without the best; at least two if there are."""
        ratios = {point: each.ratio(self.winner) for point, each in self.candidates.items() if point != self.best}
        reached = sorted((point for point, ratio in ratios.items() if math.isfinite(ratio)), key=ratios.get)
        return [point for place, point in enumerate(reached) if place < NEAREST or ratios[point] < self.close]

    def add_seeds(self) -> bool:
        """Measure the best and its close rivals with one more seed; return whether there was anything to do."""
        seed, rivals = len(self.winner.times), self.rivals()
        if not rivals and self.winner.failures:
            self.retreat()
            return True
        behind = [point for point in rivals if len(self.candidates[point].times) < seed]
        if behind:
            candidate = self.candidates[behind[0]]
            self.measure(candidate, len(candidate.times))
        elif seed < (self.max_seeds if rivals else LEAST_SEEDS):
            self.measure(self.winner, seed)
        else:
            return False
        self.best = min([self.best, *self.rivals()], key=self._compared)
        return True

    def retreat(self) -> None:
        """Leave a setting that does not always reach the target, and has no rival, for half its learning rate."""
        self.best = self.best[0], self.best[1] - 2
        candidate = self.candidates[self.best] = Candidate(self.setting(self.best))
        self.measure(candidate, 0)

    def _compared(self, point):
        """Return the ratio of a candidate's time to the best's; 1 until it has all seeds of the best."""
        candidate = self.candidates[point]
        is_complete = candidate.times.keys() >= self.winner.times.keys()
        return candidate.ratio(self.winner) if is_complete else 1.0
