"""Runs on a Dask cluster: the bits of one process, and nothing lost when workers, the client or the scheduler end."""

import contextlib
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import bstudy.worker
from bstudy import GradientTrials, Lab, Memory, Recipe
from bstudy.errors import BstudyError
from bstudy.models import MLP
from bstudy.store import Store

pytest.importorskip("distributed", reason="needs the extra 'cluster'")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
START = Recipe.sgd(25, 0.1, 2)
EXPERIMENTS = {"smaller": START.then(batch_size=10), "adam": Recipe.adam(50, 0.01, 1), "memory": Memory((50,))}
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
WALK = """
import contextlib
import time
from dataclasses import dataclass

import numpy as np

import bstudy.worker
from bstudy.experiments.base import Experiment, Work, checked, positive_int
from bstudy.store import Result

# these tasks need no TensorFlow, which takes seconds to start
bstudy.worker.start_devices = lambda devices: 1
bstudy.worker.environment = dict
bstudy.worker.keras_defaults = contextlib.nullcontext


@dataclass(frozen=True)
class Walk(Experiment):
    start: "int | Walk"
    steps: int

    KIND = "walk"

    def work(self, dataset):
        return Work(seconds=self.steps / 10)

    def measure(self, context):
        position, first = np.array(float(self.start)) if isinstance(self.start, int) else None, 0
        if context.required:
            position = context.required[0].state["position"]
        if context.resume_from is not None:
            position, first = context.resume_from.state["position"], int(context.resume_from.state["step"])
        for step in range(first, self.steps):
            time.sleep(0.1)
            position = np.sin(1000 * position + context.seed + 1)
            progress = (step + 1) / self.steps
            state = {"position": position, "step": np.array(step + 1)}
            yield progress, Result({"position": position, "first": np.array(first)}, state, progress=progress)

    def __str__(self):
        return f"walk of {self.steps}"
"""
WORKER = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--no-dashboard"]


class DaskCluster:
    """A scheduler and workers: processes on this machine."""

    def __init__(self, folder, **environment):
        self.folder, self.file, self.workers = folder, str(folder / "scheduler.json"), []
        self.environment = os.environ | environment
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_until(Path(self.file).exists)

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
    for key in one.keys(""):
        assert two.read(key).complete
        if two.read(key).metadata["kind"] != "memory":
            assert_same_bits(two.read(key, state=True), one.read(key, state=True))


@pytest.mark.slow
def test_two_workers_measure_the_bits_of_one_process(
    two_workers, tiny, tmp_path, shared_trainers, assert_same_bits, capsys
):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    Lab(tiny, 1, one, quiet=True, jobs=1).run(EXPERIMENTS)
    runs = Lab(tiny, 1, two, cluster=two_workers.file).run(EXPERIMENTS)
    assert_same_results(one, two, assert_same_bits)
    assert runs["adam"].metadata[0]["host"]
    assert runs["adam"].metadata[0]["cpu"] == runs["memory"].metadata[0]["cpu"]
    assert [path.name for path in two.folder.iterdir() if path.suffix not in (".npz", ".lock")] == []
    shown = capsys.readouterr().err.splitlines()
    assert "4 results, about" in shown[0]
    assert "1 of them on this machine" in shown[0]
    assert shown[-1].startswith("[4/4] 2 workers: ")


@pytest.mark.slow
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


@pytest.fixture
def unshared(monkeypatch):
    """No worker sees the store, as if it were on another machine."""

    def fail(store):
        raise OSError("read-only")

    monkeypatch.setattr(Store, "write_token", fail)


@pytest.mark.slow
def test_without_a_common_folder_results_travel(
    two_workers, unshared, tiny, tmp_path, shared_trainers, assert_same_bits
):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    experiments = EXPERIMENTS | {"trials": GradientTrials(START, batch_sizes=(4, 16), trials=2, samples=16)}
    Lab(tiny, 1, one, quiet=True, jobs=1).run(experiments)
    Lab(tiny, 1, two, quiet=True, cluster=two_workers.file).run({"trials": experiments["trials"]})
    assert len(two.keys()) == 2
    # longer: starts from the stored repetitions, which the worker does not see
    experiments["more"] = GradientTrials(START, batch_sizes=(4, 16), trials=4, samples=16)
    Lab(tiny, 1, one, quiet=True, jobs=1).run(experiments)
    Lab(tiny, 1, two, quiet=True, cluster=two_workers.file).run(experiments)
    assert_same_results(one, two, assert_same_bits)
    assert not list(two_workers.folder.rglob("*.npz"))


class Killer(threading.Thread):
    """Kills a random worker at random times, each replaced by a new one: two of three while a task is at work."""

    def __init__(self, dask, kills, monkeypatch):
        super().__init__(daemon=True)
        self.dask, self.kills, self.killed, self.over = dask, kills, 0, threading.Event()
        self.progress = threading.Event()
        monkeypatch.setattr("bstudy.progress.Display.show", lambda *_, **__: self.progress.set())

    def run(self):
        moments = random.Random(3)
        while self.killed < self.kills and not self.over.is_set():
            self.progress.clear()
            if self.killed % 3 and not self.progress.wait(1):
                continue
            self.over.wait(moments.uniform(0, 5))
            victim = moments.choice(self.dask.workers)
            victim.kill()
            victim.wait()
            self.dask.workers.remove(victim)
            self.killed += 1
            self.dask.add_worker()


@pytest.fixture
def walks(tmp_path, monkeypatch):
    """Nested experiments without TensorFlow, two of which start from others."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "walk_experiment.py").write_text(WALK)
    for name in ("start_devices", "environment", "keras_defaults"):  # which the module replaces
        monkeypatch.setattr(bstudy.worker, name, getattr(bstudy.worker, name))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delitem(sys.modules, "walk_experiment", raising=False)
    from walk_experiment import Walk

    first = {number: Walk(number, 60) for number in (1, 2, 3)}
    return first | {"then": Walk(first[1], 30), "and then": Walk(Walk(first[2], 20), 20)}


@pytest.mark.slow
@pytest.mark.parametrize("store", ["shared", "unshared"])
def test_twenty_killed_workers_cost_nothing(
    walks, two_workers, store, request, tiny, tmp_path, monkeypatch, assert_same_bits, caplog
):
    undisturbed = Store(tmp_path / "undisturbed")
    Lab(tiny, 2, undisturbed, quiet=True, jobs=1).run(walks)
    if store == "unshared":
        request.getfixturevalue("unshared")
    killer, twice, runs, resumed = Killer(two_workers, 20, monkeypatch), 0, 0, 0
    killer.start()
    while killer.is_alive():
        runs += 1
        disturbed = Store(tmp_path / f"run {runs}")
        while True:
            try:
                Lab(tiny, 2, disturbed, cluster=two_workers.file).run(walks)
                break
            except BstudyError as error:
                assert "failed twice" in str(error)
                twice += 1
        for key in undisturbed.keys(""):
            one, two = undisturbed.read(key, state=True), disturbed.read(key, state=True)
            assert one.columns["position"] == two.columns["position"]
            assert one.state == two.state
            resumed += bool(two.columns["first"])
        assert disturbed.keys() == undisturbed.keys()
    again = caplog.text.count("trying once more")
    print(
        f"{store}: {killer.killed} workers killed in {runs} runs, {again} tasks measured again, {resumed} of them from "
        f"a checkpoint, {twice} commands repeated, no result lost"
    )
    assert killer.killed == 20
    assert again
    assert bool(resumed) == (store == "shared")


@pytest.mark.slow
def test_without_a_worker_the_client_waits_for_one(dask, tiny, caplog):
    threading.Timer(3, dask.add_worker).start()
    Lab(tiny, 1, quiet=True, cluster=dask.file).run(Recipe.sgd(25, 0.1, 1))
    assert caplog.text.count("No worker of the cluster can be used now; waiting for one") == 1


def start_command(dask, tiny_file, folder):
    words = [*STOPPABLE, "--dataset", str(tiny_file), "--cluster", dask.file]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(words)], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    shown, started = [], set()
    while started != {8, 16}:
        shown.append(process.stderr.readline())
        assert shown[-1], "".join(shown)
        found = re.search(r": (8|16) at .* epoch (?!0|1 )", shown[-1])
        started |= {int(found[1])} if found else set()
    return process


def progress_of(tiny, home):
    return [Store(home).progress(recipe.with_replicas(1).key(tiny, MLP, 0)) for recipe in LONG.values()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_when_the_client_ends_running_tasks_keep_a_checkpoint_and_end(
    two_workers, tiny, tiny_file, tmp_path, home, number
):
    process = start_command(two_workers, tiny_file, tmp_path)
    process.send_signal(number)
    _, printed = process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number), printed
    assert "Traceback" not in printed
    wait_until(lambda: all(0 < progress < 1 for progress in progress_of(tiny, home)), 100)
    wait_until(lambda: not child_processes(two_workers), 100)


def child_processes(dask):
    folders = [Path(f"/proc/{worker.pid}/task/{worker.pid}/children") for worker in dask.workers]
    return [process for folder in folders for process in folder.read_text().split()]


@pytest.mark.slow
def test_when_the_scheduler_ends_everything_measured_is_kept(two_workers, tiny, tiny_file, tmp_path, home):
    process = start_command(two_workers, tiny_file, tmp_path)
    two_workers.scheduler.kill()
    _, printed = process.communicate()
    assert process.returncode == 1
    assert printed.splitlines()[-1].startswith("bstudy: the scheduler of the cluster ended")
    assert "Traceback" not in printed
    wait_until(lambda: all(0 < progress < 1 for progress in progress_of(tiny, home)), 100)


@pytest.mark.slow
def test_a_users_model_is_trained_if_the_worker_finds_the_same(
    dask, tiny, small_model, tmp_path, shared_trainers, assert_same_bits, caplog
):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    folder = Path(importlib.util.find_spec("small_models").origin).parent
    other = tmp_path / "other"
    other.mkdir()
    (other / "small_models.py").write_text((folder / "small_models.py").read_text() + "\n# changed")
    dask.add_worker()
    dask.add_worker(PYTHONPATH=str(other))
    lab = Lab(tiny, 1, two, quiet=True, model=small_model, cluster=dask.file)
    timer = threading.Timer(5, dask.add_worker, kwargs={"PYTHONPATH": str(folder)})
    timer.start()
    lab.run(START)
    Lab(tiny, 1, one, quiet=True, model=small_model, jobs=1).run(START)
    assert_same_results(one, two, assert_same_bits)
    assert "is not used: there is no module 'small_models' in" in caplog.text
    assert "is not used: its model small_models:small is not that of the client" in caplog.text


@pytest.mark.slow
def test_tls_is_configured_by_dask(tmp_path, tiny, monkeypatch):
    import dask.config

    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    with contextlib.suppress(FileNotFoundError):
        subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    if not certificate.exists():
        pytest.skip("needs openssl")
    prefix = "DASK_DISTRIBUTED__COMM__"
    settings = {f"{prefix}REQUIRE_ENCRYPTION": "true", f"{prefix}TLS__CA_FILE": str(certificate)}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{prefix}TLS__{role}__CERT": str(certificate), f"{prefix}TLS__{role}__KEY": str(key)}
    folder = tmp_path / "dask"
    folder.mkdir()
    with DaskCluster(folder, **settings) as cluster:
        cluster.add_worker()
        assert "tls://" in Path(cluster.file).read_text()
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            dask.config.refresh()
            lab = Lab(tiny, 1, quiet=True, cluster=cluster.file)
            assert np.isfinite(lab.run(START)["loss"]).all()
    dask.config.refresh()
