"""The race and the comparison with neighbors, on a noisy quadratic whose best setting is known."""

import math

import numpy as np
import pytest

from bstudy.advice.epochs import EpochRefinement, affordable_samples, race_epochs
from bstudy.advice.search import PROGRESS, Refinement, Setting, Training, race, target_of

DIRECTIONS = np.arange(1, 61)
SIZES = 2 ** np.arange(3, 12)


class Quadratic:
    """Σ h v / 2 in expectation: gradient descent on a quadratic with noise in proportion to the curvature h.

    Each step has v ← (1 − η h)² v + η² c / B. A step at batch size B takes t₀ + t₁ B seconds, and the budget is spent
    by training only.
    """

    samples = 10**6

    def __init__(self, random, budget):
        self.curvature = DIRECTIONS ** -random.uniform(0.8, 1.4)
        self.noise = 10 ** random.uniform(0.5, 2.5) * self.curvature
        self.overhead = 2 ** random.uniform(2, 7)  # t₀ in units of t₁
        self.scale = 1.0  # seconds of a sample
        self.random, self.budget, self.used = random, budget, 0.0

    def step_seconds(self, batch_size):
        return (self.overhead + batch_size) * self.scale

    def seconds_left(self):
        return self.budget - self.used

    def start(self, setting, seed):
        return QuadraticRun(self, setting)

    def noise_scale(self):
        """tr Σ / ‖g‖² at the start, where v is 1, known to a factor of 2 (one standard deviation)."""
        return self.noise.sum() / (self.curvature**2).sum() * 2 ** self.random.normal()

    def exact_seconds(self, setting, target):
        """Return the time to a loss, without noise in the evaluation."""
        run = QuadraticRun(self, setting, measured=False)
        low, high = 0, 1
        while run.at(high) > target:
            low, high = high, 2 * high
            if high > 2**24:
                return math.inf
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if run.at(middle) <= target else (middle, high)
        return high * self.step_seconds(setting.batch_size)


class QuadraticRun:
    def __init__(self, problem, setting, measured=True):
        self.problem, self.setting, self.measured, self.v = problem, setting, measured, np.ones(len(DIRECTIONS))
        self.steps = 0

    def _after(self, v, steps, rate):
        factor = (1 - rate * self.problem.curvature) ** 2
        added = rate**2 * self.problem.noise / self.setting.batch_size
        with np.errstate(over="ignore", invalid="ignore"):
            power = factor**steps
            return power * v + added * (1 - power) / (1 - factor)

    def at(self, steps):
        v = self._after(np.ones(len(DIRECTIONS)), steps, self.setting.learning_rate)
        return float((self.problem.curvature * v).sum() / 2)

    def train(self, steps, decay=None):
        if decay is None:
            self.v = self._after(self.v, steps, self.setting.learning_rate)
        else:
            for factor in decay:
                self.v = self._after(self.v, 1, factor * self.setting.learning_rate) if factor else self.v
        self.steps += steps
        self.problem.used += steps * self.problem.step_seconds(self.setting.batch_size)

    def loss(self):
        exact = float((self.problem.curvature * self.v).sum() / 2)
        return exact * math.exp(0.03 * self.problem.random.normal()) if self.steps else exact


def settings(problem, step=2**0.5):
    edge = 0.97 * 2 / problem.curvature.max()
    rates = edge / step ** np.arange(24)
    return [Setting(int(size), float(rate)) for size in SIZES for rate in rates]


def recommend(problem, first_size, seconds):
    """Return the winner of a race at `first_size` and of the comparison, within these seconds."""
    problem.used, problem.budget = 0.0, 0.65 * seconds
    trainings = race(problem, first_size, 2 / problem.curvature.max() / 2, problem.budget)
    problem.budget = seconds
    refinement = Refinement(problem, trainings[0], target_of(trainings), lambda size: 8 <= size <= 2048)
    refinement.run()
    return refinement


def rule(problem):
    """Return the batch size of the rule √(noise scale · t₀ / t₁), as a power of two."""
    return int(2 ** np.clip(round(math.log2(problem.noise_scale() * problem.overhead) / 2), 3, 11))


def regrets(count, trainings):
    found = []
    for seed in range(count):
        problem = Quadratic(np.random.default_rng(seed), math.inf)
        start = float(problem.curvature.sum() / 2)
        target = (1 - PROGRESS) * start
        grid = settings(problem)
        best = min(problem.exact_seconds(setting, target) for setting in grid)
        winner = recommend(problem, rule(problem), trainings * best).winner.setting
        found.append(problem.exact_seconds(winner, target) / best)
    return np.array(found)


@pytest.mark.slow
def test_with_time_for_fifty_trainings_it_comes_near_the_best():
    found = regrets(40, trainings=50)
    assert np.median(found) <= 1.1
    assert np.mean(found <= 1.3) >= 0.9


@pytest.mark.slow
def test_with_time_for_a_dozen_trainings_half_of_its_settings_are_near_the_best():
    assert np.median(regrets(40, trainings=12)) <= 1.3


def test_a_worse_noise_scale_changes_little():
    """The neighbors in batch size make up for a wrong first one."""
    found = []
    for seed in range(10):
        problem = Quadratic(np.random.default_rng(seed), math.inf)
        target = (1 - PROGRESS) * float(problem.curvature.sum() / 2)
        best = min(problem.exact_seconds(setting, target) for setting in settings(problem))
        first = int(np.clip(rule(problem) * 8, 8, 2048))
        winner = recommend(problem, first, 100 * best).winner.setting
        found.append(problem.exact_seconds(winner, target) / best)
    assert np.median(found) <= 1.15


class Curve:
    """A training whose losses are given: one a step."""

    samples = 1000

    def __init__(self, losses, left=math.inf):
        self.losses, self.left, self.at = losses, left, 0

    def start(self, setting, seed):
        return self

    def step_seconds(self, batch_size):
        return 0.5

    def seconds_left(self):
        return self.left

    def train(self, steps, decay=None):
        self.at += steps

    def loss(self):
        return self.losses[min(self.at, len(self.losses) - 1)]


def test_the_time_to_a_loss_is_between_two_evaluations():
    training = Training(Curve([4.0, 3.0, 1.0]), Setting(8, 0.1))
    training.advance(1.0)
    assert training.time_to(3.0) == 0.5
    assert training.time_to(2.0) == 0.75
    assert training.time_to(0.5) == math.inf
    assert training.time_to(4.0) == 0.0


def test_a_training_ends_when_it_diverges_or_no_longer_improves_or_the_time_is_over():
    diverged = Training(Curve([1.0, math.nan]), Setting(8, 0.1))
    diverged.advance(1e9)
    assert diverged.has_diverged
    assert diverged.steps[-1] == 1
    flat = Training(Curve([1.0, 0.9]), Setting(8, 0.1))
    flat.advance(1e9)
    assert flat.is_over
    assert flat.steps[-1] < 300
    late = Training(Curve([1.0, 0.9], left=0), Setting(8, 0.1))
    late.advance(1e9)
    assert late.steps == [0]


class Unreliable(Curve):
    """A loss of 1 / (1 + rate · steps). From a rate of 0.3 on, training fails with seed 3; from 0.5 on, it diverges."""

    def start(self, setting, seed):
        rate = setting.learning_rate
        if rate >= 0.5:
            return Curve([1.0, math.nan])
        return Curve([1.0] if rate >= 0.3 and seed == 3 else list(1 / (1 + rate * np.arange(2000))))


def test_a_setting_that_fails_with_a_seed_is_not_recommended():
    problem = Unreliable([])
    winner = Training(problem, Setting(8, 0.4))
    winner.advance(100.0, 0.2)
    refinement = Refinement(problem, winner, 0.2, lambda size: size == 8)
    refinement.run()
    assert refinement.winner.setting.learning_rate == pytest.approx(0.4 / 2**0.5)
    assert np.isfinite(refinement.winner.seconds)
    assert len(refinement.winner.times) >= 5


def test_the_target_is_nine_tenths_of_the_way_to_the_lowest_loss():
    trainings = [Training(Curve([2.0, 1.5, low]), Setting(8, 0.1)) for low in (1.0, 0.5)]
    for training in trainings:
        training.advance(1.0)
    assert target_of(trainings) == pytest.approx(0.65)


def test_for_a_number_of_epochs_the_final_loss_decides():
    problem = Quadratic(np.random.default_rng(0), math.inf)
    problem.samples = 1024
    trainings = race_epochs(problem, 8, 2 / problem.curvature.max() / 2, 4096)
    finals = [each.losses[-1] for each in trainings]
    assert finals == sorted(finals)
    assert {each.steps[-1] for each in trainings} == {512}
    refinement = EpochRefinement(problem, trainings[0], 4096, lambda size: 8 <= size <= 64)
    refinement.run()
    assert refinement.winner.seconds <= finals[0]
    assert all(each.steps[-1] == 4096 // each.setting.batch_size for each in refinement.winner.trainings.values())


def test_a_final_decay_lowers_the_loss_of_a_noisy_gradient():
    problem = Quadratic(np.random.default_rng(0), math.inf)
    rate = 1 / problem.curvature.max() / 2
    constant = Training(problem, Setting(8, rate))
    constant.advance(512 * problem.step_seconds(8))
    assert race_epochs(problem, 8, rate, 4096)[0].losses[-1] < constant.losses[-1]


def test_a_budget_that_is_too_small_shortens_the_trainings():
    assert affordable_samples(10, 1000, 1e-6, 60) == 10_000
    assert affordable_samples(10, 1000, 1e-3, 60) == 3000
