"""What is missing, in which order to measure it, and how long that takes: pure functions."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from bstudy.experiments.base import Experiment


@dataclass(frozen=True)
class Task:
    """One measurement that is missing."""

    key: str
    experiment: Experiment
    seed: int
    seconds: float  # expected
    after: frozenset[str]  # keys of the missing tasks that it builds on

    def __str__(self):
        return f"{self.experiment}, seed {self.seed}"


def make_plan(
    experiments: Iterable[Experiment],
    seeds: Iterable[int],
    key: Callable[[Experiment, int], str],
    stored: Callable[[str, bool], float],
    seconds: Callable[[Experiment], float],
) -> list[Task]:
    """Return the missing tasks in the order to measure them: dependencies first, then the longest.

    Args:
        experiments: Those that are asked for.
        seeds: For each experiment.
        key: (experiment, seed) -> the key of the result.
        stored: (key, with its state) -> how much of the result is stored, in [0, 1].
        seconds: Experiment -> how long it takes from its start.
    """
    missing = find_missing(experiments, seeds, key, stored)
    tasks = {}
    for name, (experiment, seed) in missing.items():
        progress, after = stored(name, False), {key(required, seed) for required in experiment.requires()}
        for fraction, shorter in experiment.prefixes():
            if fraction <= progress:
                break
            prefix = key(shorter, seed)
            if prefix in missing or stored(prefix, True) == 1:
                progress = fraction
                after.add(prefix)
        rest = seconds(experiment) * (1 - progress)
        tasks[name] = Task(name, experiment, seed, rest, frozenset(after & missing.keys()))
    return order(tasks)


def find_missing(experiments, seeds, key, stored) -> dict[str, tuple[Experiment, int]]:
    """Return {key: (experiment, seed)} of what is not complete, with everything that it requires."""
    missing = {}

    def visit(experiment, seed, with_state=False):
        name = key(experiment, seed)
        if name not in missing and stored(name, with_state) < 1:
            missing[name] = experiment, seed
            for required in experiment.requires():
                visit(required, seed, with_state=True)

    for seed in seeds:
        for experiment in experiments:
            visit(experiment, seed)
    return missing


def order(tasks: Mapping[str, Task]) -> list[Task]:
    """Return tasks with dependencies first, then the longest; those that must run alone come last if they can."""
    ordered: dict[str, Task] = {}

    def add(task):
        if task.key not in ordered:
            for name in sorted(task.after, key=lambda name: -tasks[name].seconds):
                add(tasks[name])
            ordered[task.key] = task

    for task in sorted(tasks.values(), key=lambda task: (task.experiment.EXCLUSIVE, -task.seconds)):
        add(task)
    return list(ordered.values())


def next_task(waiting: Iterable[Task], done: Collection[str], running: Collection[Task]) -> Task | None:
    """Return the first task that can start now, or None. An exclusive one runs only while no other does."""
    if any(task.experiment.EXCLUSIVE for task in running):
        return None
    for task in waiting:
        if task.after.issubset(done) and not (task.experiment.EXCLUSIVE and running):
            return task
    return None
