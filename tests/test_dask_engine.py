"""Runs on a Dask cluster: the bits of one process, and nothing lost when workers, the client or the scheduler end."""

import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bstudy import Cost, GradientTrials, Lab, Recipe
from bstudy.errors import BstudyError, ClusterLost, InvalidInput
from bstudy.models import MLP
from bstudy.store import Store

pytest.importorskip("distributed", reason="needs the extra 'cluster'")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
START = Recipe.sgd(25, 0.1, 2)
EXPERIMENTS = {"smaller": START.then(batch_size=10), "adam": Recipe.adam(50, 0.01, 1), "cost": Cost(50, 1)}
LONG = {size: Recipe.sgd(size, 0.001, 20000) for size in (8, 16)}
PROGRAM = """
import sys
from bstudy import progress
progress.SECONDS_BETWEEN_LINES = 0
from bstudy.cli import main
main({!r})
"""
STOPPABLE = ["chapter", "1", "--seeds", "1", "--set", "batch_sizes=8,16", "--set", "tiny_batch_size=8"]
STOPPABLE += ["--set", "epochs=20000", "--set", "learning_rate=0.001"]
WORKER = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--no-dashboard"]


class DaskCluster:
    """A scheduler and workers: processes on this machine."""

    def __init__(self, folder, **environment):
        self.folder, self.file, self.workers = folder, str(folder / "scheduler.json"), []
        self.environment = os.environ | environment
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")

    def start(self, kind, *words, **environment):
        with open(self.folder / f"{kind}.log", "ab") as output:
            command = [sys.executable, "-m", "dask", kind, "--scheduler-file", self.file, *words]
            return subprocess.Popen(
                command, stdout=output, stderr=output, cwd=self.folder, env=self.environment | environment
            )

    def add_worker(self, **environment):
        words = [*WORKER, "--host", "127.0.0.1", "--local-directory", str(self.folder), "--death-timeout", "60"]
        self.workers.append(self.start("worker", *words, **environment))
        return self.workers[-1]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture
def dask(tmp_path):
    folder = tmp_path / "dask"
    folder.mkdir()
    with DaskCluster(folder) as cluster:
        yield cluster


@pytest.fixture
def two_workers(dask):
    dask.add_worker()
    dask.add_worker()
    return dask


def assert_same_results(one, two, assert_same_bits):
    assert one.keys() == two.keys()
    for key in one.keys():
        assert two.read(key).complete
        if two.read(key).metadata["kind"] != "cost":
            assert_same_bits(two.read(key, state=True), one.read(key, state=True))


def test_two_workers_measure_the_bits_of_one_process(
    two_workers, tiny, tmp_path, shared_trainers, assert_same_bits, capsys
):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    Lab(tiny, 1, one, quiet=True, jobs=1).run(EXPERIMENTS)
    runs = Lab(tiny, 1, two, cluster=two_workers.file).run(EXPERIMENTS)
    assert_same_results(one, two, assert_same_bits)
    assert runs["adam"].metadata[0]["host"]
    assert runs["adam"].metadata[0]["cpu"] == runs["cost"].metadata[0]["cpu"]
    assert [path.name for path in two.folder.iterdir() if path.suffix not in (".npz", ".lock")] == []
    shown = capsys.readouterr().err.splitlines()
    assert "4 results, about" in shown[0]
    assert "1 of them on this machine" in shown[0]
    assert shown[-1].startswith("[4/4] 2 workers: ")


def test_a_task_notices_that_nobody_wants_it_any_more(dask, tmp_path):
    """Guards what `measure` reads of Dask's worker, which is not in its documentation."""
    from distributed import Client

    def wait(path):
        from distributed import get_worker

        worker = get_worker()
        state = worker.state.tasks[worker.get_current_task()]
        Path(path, f"began {worker.status.name}").touch()
        while state.state == "executing":
            time.sleep(0.05)
        Path(path, "ended").touch()

    dask.add_worker()
    with Client(scheduler_file=dask.file, set_as_default=False) as client:
        future = client.submit(wait, str(tmp_path))
        wait_until((tmp_path / "began running").exists)
        client.cancel([future])
        wait_until((tmp_path / "ended").exists)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
