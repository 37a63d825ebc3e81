"""Experiments in, Runs out: stored results are read, missing ones are measured."""

import functools
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bstudy import distribute, machine, plan
from bstudy.data import Dataset, load
from bstudy.engines import InProcess, Processes
from bstudy.errors import BstudyError, Interrupted, InvalidInput, NotMeasured, WorkerDone
from bstudy.experiments.base import Experiment, Results, Runs, leaves, map_leaves, positive_int
from bstudy.models import MLP, ModelSpec, find_model
from bstudy.processes import in_notebook, stdout_to_stderr
from bstudy.progress import format_duration
from bstudy.runner import Runner, graceful_shutdown
from bstudy.store import Store
from bstudy.worker import Setting, Worker

MAX_SEED = 2**32 - 1  # that Keras takes


@dataclass(eq=False)
class Lab:
    """A data set, a model, seeds, and a store of results.

    `Lab("digits", seeds=3).run({"small": Recipe.sgd(64, 0.01, 30)})["small"].final("test_accuracy")`

    Args:
        dataset: A Dataset, or a name or file for `load`.
        seeds: The number of seeds, from 0 on, or a list of them.
        store: Where results are stored; in `data_dir()` by default.
        quiet: Whether to show no progress.
        devices: The number of devices that split each batch of a Recipe; "all"; or "cpu" for one CPU, even if there is
            a GPU. None for one device.
        model: The model to train, as `find_model` reads it.
        measure: Whether missing results may be measured.
        jobs: The number of parallel processes; None for as many as this machine can use.
        cluster: The scheduler of a Dask cluster that measures all but time and memory: its address, such as
            tcp://host:8786, or its scheduler file.

    Raises:
        InvalidInput: an argument is wrong.
        DataError: the data cannot be read.
    """

    dataset: Dataset | str | Path = "digits"
    seeds: int | Iterable[int] = 3
    store: Store = field(default_factory=Store)
    quiet: bool = False
    devices: int | str | None = None
    model: ModelSpec | str = "mlp"
    measure: bool = True
    jobs: int | None = None
    cluster: str | None = None

    def __post_init__(self):
        if self.cluster:
            self._check_cluster()
        self.dataset = load(self.dataset) if isinstance(self.dataset, str | Path) else self.dataset
        self.model = find_model(self.model) if isinstance(self.model, str) else self.model
        self.seeds = tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)
        if not self.seeds or min(self.seeds) < 0 or max(self.seeds) > MAX_SEED:
            raise InvalidInput(f"seeds must be at least one whole number from 0 to {MAX_SEED}, not {list(self.seeds)}")
        if self.devices not in (None, "all", "cpu"):
            self.devices = positive_int("devices", self.devices)
        if self.jobs is not None:
            self.jobs = positive_int("jobs", self.jobs)
        if distribute.is_cluster() and (self.jobs or 1) > 1:
            raise InvalidInput("jobs are processes of one machine, and TF_CONFIG names several: use one or the other")
        if not self.model.is_builtin:
            distribute.start_devices(self.devices)  # before the network is tried
        self.model = self.model.fitted_to(self.dataset)
        self._setting = Setting(self.dataset, self.model, self.devices)

    def _check_cluster(self):
        if distribute.is_cluster() or self.jobs is not None or self.devices == "all":
            raise InvalidInput("with a cluster, use neither TF_CONFIG nor jobs, and only a number or cpu as devices")
        if not os.path.exists(self.cluster) and not self.cluster.rpartition(":")[2].isdigit():
            raise InvalidInput(f"{self.cluster!r} is neither an address such as tcp://host:8786 nor a scheduler file")
        load_dask_engine()

    def run(self, experiments: Any) -> Any:
        """Return the same nested dicts with Runs in place of Experiments, measuring what is not stored.

        Raises:
            InvalidInput: the data do not allow one of the experiments; nothing is measured then.
            Interrupted: the user stopped the work.
            NotMeasured: something is not stored, and `measure` is False.
            WorkerDone: this machine only helped the chief of a cluster.
        """
        self.prepare(experiments)
        return self.read(experiments)

    def prepare(self, experiments: Any) -> None:
        """Measure what is not stored, as `run` does, without reading the results."""
        found = list(dict.fromkeys(leaves(experiments).values()))
        for experiment in found:
            experiment.validate(self.dataset)
        tasks = self._plan(found)
        if tasks and not self.measure:
            raise NotMeasured(f"{len(tasks)} result{'s are' if len(tasks) > 1 else ' is'} not measured yet")
        if self.measure and distribute.is_cluster():
            tasks = self._agree(tasks, found)
        if tasks:
            self._measure(tasks)
        if not distribute.is_chief():
            raise WorkerDone("the chief has the results")

    def read(self, experiments: Any) -> Any:
        """Return Runs, as `run` does, after `prepare` has measured the missing ones."""
        runs = map_leaves(self._runs, experiments)
        return Results(runs) if isinstance(runs, dict) else runs

    def missing(self, experiments: Any) -> tuple[int, float]:
        """Return how many results are not stored, and about how many seconds it takes to measure them."""
        tasks = self._plan(list(dict.fromkeys(leaves(experiments).values())))
        return len(tasks), self._expected_seconds(tasks)

    @functools.cached_property
    def replicas(self) -> int:
        """On how many devices a Recipe trains that leaves this open."""
        if self.devices == "all" or distribute.is_cluster():
            return distribute.start_devices(self.devices)
        return self.devices if isinstance(self.devices, int) else 1

    @functools.cached_property
    def _worker(self):
        """The worker of this process: what it compiled serves all runs of this lab."""
        return Worker(self._setting, self.store)

    def _key(self, experiment: Experiment, seed: int) -> str:
        return self._setting.key(experiment.with_replicas(self.replicas), seed)

    def _plan(self, experiments, stored=None):
        return plan.make_plan(
            [experiment.with_replicas(self.replicas) for experiment in experiments],
            self.seeds,
            self._key,
            functools.cache(stored or self.store.progress),
            self._seconds,
        )

    @property
    def _machine(self):
        # several machines must agree on the order of the tasks, which follows from the estimates
        return machine.TYPICAL if distribute.is_cluster() else machine.this_machine()

    def _seconds(self, experiment):
        multiplications = self.model.multiplications(self.dataset.input_shape)
        return self._machine.seconds(experiment.work(self.dataset), multiplications)

    def _expected_seconds(self, tasks, jobs=1):
        """Return how long these tasks take in this many processes, each of which compiles its programs."""
        programs = frozenset().union(*(task.experiment.work(self.dataset).programs for task in tasks))
        exclusive = sum(task.seconds for task in tasks if task.experiment.EXCLUSIVE)
        parallel = sum(task.seconds for task in tasks) - exclusive
        return exclusive + parallel / jobs + len(programs) * self._machine.compile_seconds

    def _agree(self, tasks, experiments):
        """Return the tasks that the chief of the cluster is missing, of which other machines help with the Recipes."""
        every = self._plan(experiments, stored=lambda key, with_state: 0.0)
        missing = distribute.agree_on_missing([task.key for task in every], {task.key for task in tasks})
        if not distribute.is_chief():
            every = [task for task in every if getattr(task.experiment, "replicas", None) == self.replicas]
        tasks = [task for task in every if task.key in missing]
        return [replace(task, after=task.after & {each.key for each in tasks}) for task in tasks]

    def _measure(self, tasks):
        client, jobs = None, self._choose_jobs(tasks)
        if self.cluster:
            engine = load_dask_engine()
            client = engine.connect(self.cluster)
            jobs = max(1, len(engine.workers_of(client)))
        expected = self._expected_seconds(tasks, jobs)
        if not self.quiet and not in_notebook():  # there the progress is one line
            model = "" if self.model == MLP else f" with the model {self.model}"
            processes = f" in {jobs} processes" if jobs > 1 else ""
            if client is not None:
                here = sum(task.experiment.EXCLUSIVE for task in tasks)
                processes = f" with {jobs} worker{'s' * (jobs > 1)}" + f", {here} of them on this machine" * (here > 0)
            print(
                f"Measuring on {self.dataset}{model}: {len(tasks)} result{'s' * (len(tasks) > 1)}, about "
                f"{format_duration(expected + machine.START_SECONDS)}{processes} (Ctrl-C stops and keeps them).",
                file=sys.stderr,
            )
        runner = Runner(tasks, expected, self.quiet, keep_going=client is not None)

        def stored():
            return f"{len(runner.done - self.store.in_memory.keys())} of {len(tasks)} results are stored"

        with graceful_shutdown(lambda: f"{stored()}, and a checkpoint of each running one follows") as stop:
            engine = self._make_engine(jobs, client, stop)
            try:
                with stdout_to_stderr():  # of a user's model
                    runner.run(engine, stop)
            finally:
                engine.close()
        if len(runner.done) < len(tasks):
            again = "cell" if in_notebook() else "command"
            raise Interrupted(f"stopped; {stored()}; the same {again} continues from there")

    def _make_engine(self, jobs, client, stop):
        if client is not None:
            # the worker of this process starts TensorFlow, which not every task needs
            return load_dask_engine().Cluster(client, self._setting, self.store, lambda: InProcess(self._worker, stop))
        if jobs > 1:
            return Processes(self._setting._replace(jobs=jobs), self.store)
        return InProcess(self._worker, stop)

    def _choose_jobs(self, tasks):
        if any(type(task.experiment).__module__ == "__main__" for task in tasks):
            return 1  # no other process can import it
        if self.jobs is not None or distribute.is_cluster() or self.replicas > 1:
            return min(self.jobs or 1, len(tasks))
        return machine.default_jobs(sum(not task.after and not task.experiment.EXCLUSIVE for task in tasks))

    def _runs(self, experiment):
        results = [self.store.read(self._key(experiment, seed)) for seed in self.seeds]
        shapes = [{name: column.shape for name, column in result.columns.items()} for result in results]
        if any(each != shapes[0] for each in shapes):
            keys = ", ".join(self._key(experiment, seed)[:10] for seed in self.seeds)
            raise BstudyError(
                f"the results of {experiment} do not have the same columns for all seeds; "
                f"delete the wrong one of {keys} with 'bstudy results KEY --clear'"
            )
        columns = {name: np.stack([result.columns[name] for result in results]) for name in results[0].columns}
        diverged, metadata = [result.diverged for result in results], [result.metadata for result in results]
        columns |= experiment.derived(columns, len(self.dataset.x_train))
        return Runs(experiment, self.seeds, columns, diverged, metadata, len(self.dataset.x_train))


def load_dask_engine() -> ModuleType:
    """Return `bstudy.dask_engine`.

    Raises:
        BstudyError: Dask, which is an extra, is not installed.
    """
    try:
        from bstudy import dask_engine
    except ModuleNotFoundError:
        raise BstudyError("--cluster needs Dask; install it with: pip install 'bstudy[cluster]'") from None
    return dask_engine
