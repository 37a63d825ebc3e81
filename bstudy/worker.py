"""Measures one task after another in this process, each from its latest checkpoint."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from bstudy import __version__
from bstudy.backend import environment, keras_defaults
from bstudy.data import Dataset
from bstudy.distribute import is_chief, make_trainer, start_devices
from bstudy.errors import BstudyError, in_one_line
from bstudy.experiments.base import Context, Experiment
from bstudy.models import ModelSpec
from bstudy.plan import Task
from bstudy.store import Result, Store
from bstudy.trainer import Trainer

CHECKPOINT_SECONDS = 30
POLL_SECONDS = 0.3


class Setting(NamedTuple):
    """What all measurements of a Lab have in common."""

    dataset: Dataset
    model: ModelSpec
    devices: int | str | None = None
    jobs: int = 1

    def key(self, experiment: Experiment, seed: int) -> str:
        """Return the key of a result."""
        return experiment.key(self.dataset, self.model, seed)


def find_start(task: Task, setting: Setting, store: Store) -> tuple[str, Result | None, float]:
    """Return the longest stored result that a task can continue: its key, itself, and how much of the work it is."""
    partial = store.read(task.key, state=True)
    progress = partial.progress if partial is not None else 0.0
    for fraction, prefix in task.experiment.prefixes():
        if fraction <= progress:
            break
        key = setting.key(prefix, task.seed)
        stored = store.read(key, state=True)
        if stored is not None and stored.complete:
            return key, stored, fraction
    return task.key, partial, progress


class Worker:
    """Measures tasks into a store, with one trainer for each number of replicas.

    Args:
        setting: Data, model and devices.
        store: Where results and checkpoints go.
    """

    def __init__(self, setting: Setting, store: Store):
        self.setting, self.store = setting, store
        self._trainers: dict[int, Trainer] = {}
        start_devices(setting.devices)

    def get_trainer(self, replicas: int) -> Trainer:
        """Return this process's trainer on this number of replicas, made at its first use."""
        if replicas not in self._trainers:
            self._trainers[replicas] = make_trainer(self.setting.dataset, self.setting.model, replicas)
        return self._trainers[replicas]

    def measure(self, task: Task, stop: Callable[[], bool]) -> Iterator[tuple[str, Any]]:
        """Measure a task, or wait until another process has; yield messages as in `bstudy.engines`.

        Args:
            task: To measure.
            stop: Returns whether to store a checkpoint and end.
        """
        waiting = False
        while not stop():
            # only the chief of several machines uses the store, which they may share
            with self.store.try_lock(task.key) if is_chief() else contextlib.nullcontext(True) as acquired:
                if acquired:
                    with keras_defaults():
                        yield from self._measure_locked(task, stop)
                    return
            if not waiting:
                yield "waiting", None
            waiting = True
            time.sleep(POLL_SECONDS)
        yield "stopped", None

    def _measure_locked(self, task, stop):
        # the chief broadcasts to the others where it starts
        _, start, progress = find_start(task, self.setting, self.store) if is_chief() else ("", None, 0.0)
        yield "progress", progress
        if progress == 1:  # another process has measured it since it was planned
            yield "done", None
            return
        context = self._context(task, start)
        metadata, saved, saved_at = self._metadata(task), start, time.monotonic()
        began = saved_at - (start.metadata["seconds_total"] if start is not None else 0)
        result, stopping = start, False
        try:
            for progress, result in task.experiment.measure(context):
                result.metadata |= metadata | {"seconds_total": time.monotonic() - began}
                stopping = stop()
                due = stopping or time.monotonic() - saved_at > CHECKPOINT_SECONDS
                if result.complete or (due and result is not saved):
                    self._save(task, result, context)
                    saved, saved_at = result, time.monotonic()
                yield "progress", progress
                if stopping:
                    break
        except (Exception, SystemExit) as error:  # out of memory, without the other machines, or raised by a model
            if result is not saved:
                self._save(task, result, context)
            if reason := self._explain(error, task.experiment):
                raise BstudyError(reason) from error
            raise
        yield ("done" if result.complete else "stopped"), None

    def _context(self, task, start):
        required = task.experiment.requires() if is_chief() else ()  # the others only help with training
        results = tuple(self.store.read(self.setting.key(each, task.seed), state=True) for each in required)
        if None in results:
            raise BstudyError(f"a result that {task} starts from was deleted; run the same command again")
        return Context(self.setting.dataset, task.seed, self.get_trainer, results, start)

    def _save(self, task, result, context):
        diverged = bool(result.diverged) or any(each.diverged for each in context.required)
        if is_chief():
            self.store.write(task.key, replace(result, diverged=diverged))

    def _metadata(self, task):
        experiment = task.experiment
        about = {"experiment": repr(experiment), "kind": experiment.KIND, "label": str(experiment), "seed": task.seed}
        about |= {"dataset": self.setting.dataset.name, "model": self.setting.model.name, "bstudy": __version__}
        return environment() | about | {"jobs": 1 if experiment.EXCLUSIVE else self.setting.jobs}

    def _explain(self, error, experiment):
        """Return what went wrong, if the user can do something about it."""
        if type(error).__name__ == "ResourceExhaustedError":
            return f"{experiment} needs more memory than there is; a smaller batch size needs less"
        if isinstance(error, BstudyError) or self.setting.model.is_builtin:
            return None
        return f"the model {self.setting.model} failed at {experiment}: {in_one_line(error)}"
