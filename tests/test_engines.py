"""Several processes: the same bits as in one, and no result lost when a process or all of them end."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bstudy import GradientTrials, Lab, Recipe
from bstudy.errors import BstudyError, InvalidInput
from bstudy.models import MLP
from bstudy.store import Store

START = Recipe.sgd(25, 0.1, 2)
EXPERIMENTS = {
    "smaller": START.then(batch_size=10),
    "adam": Recipe.adam(50, 0.01, 1),
    "trials": GradientTrials(START, batch_sizes=(4, 16), trials=2, samples=16),
}
CRASHING = """
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bstudy.experiments.base import Experiment, Work
from bstudy.store import Result


@dataclass(frozen=True)
class Crashing(Experiment):
    marker: str
    times: int

    KIND = "crashing"

    def work(self, dataset):
        return Work(seconds=100)

    def measure(self, context):
        marker = Path(self.marker)
        crashes = len(marker.read_text()) if marker.exists() else 0
        if crashes < self.times:
            marker.write_text("x" * (crashes + 1))
            if crashes:
                raise RuntimeError("out of everything")
            print("terminate called", file=open(2, "w", closefd=False))
            os.abort()
        yield 1.0, Result({"crashes": np.array(crashes)})

    def __str__(self):
        return "crashing"
"""
STOPPABLE = ["chapter", "1", "--seeds", "1", "--jobs", "2", "--set", "batch_sizes=8,16"]
STOPPABLE += ["--set", "tiny_batch_size=8", "--set", "epochs=20000", "--set", "learning_rate=0.001"]
PROGRAM = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None  # only the children load them
from bstudy import progress
progress.SECONDS_BETWEEN_LINES = 0
from bstudy.cli import main
main({!r})
"""


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    """crashing(n) ends its process the first time, and raises up to the n-th."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "crashing_experiment.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "crashing_experiment", raising=False)
    from crashing_experiment import Crashing

    return lambda times: Crashing(str(tmp_path / f"{times} crashes"), times)


def test_two_processes_measure_the_bits_of_one_and_a_crash_costs_one_task(
    tiny, small_model, crashing, tmp_path, monkeypatch, shared_trainers, assert_same_bits, capsys, caplog
):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    Lab(tiny, 1, one, quiet=True, model=small_model, jobs=1).run(EXPERIMENTS)
    (tmp_path / "random.py").write_text("raise RuntimeError('not the random module')")
    monkeypatch.chdir(tmp_path)
    runs = Lab(tiny, 1, two, model=small_model, jobs=2).run(EXPERIMENTS | {"crashing": crashing(1)})
    for key in one.keys(""):
        assert_same_bits(two.read(key, state=True), one.read(key, state=True))
        assert two.read(key).complete
    assert len(two.keys()) == len(one.keys()) + 1
    assert runs["adam"].metadata[0]["jobs"] == 2
    assert runs["crashing"]["crashes"].tolist() == [1]
    reason = f"status {-signal.SIGABRT}: terminate called"
    assert f"crashing, seed 0, failed in its process ({reason}); trying once more" in caplog.text
    shown = capsys.readouterr().err.splitlines()
    assert "5 results, about" in shown[0]
    assert "in 2 processes" in shown[0]
    assert shown[-1].startswith("[5/5]")


@pytest.mark.slow
def test_a_task_that_fails_twice_ends_the_run_and_the_others_keep_a_checkpoint(tiny, crashing):
    lab, other = Lab(tiny, 1, jobs=2, quiet=True), Recipe.sgd(16, 0.001, 20000)
    with pytest.raises(BstudyError, match=r"crashing, seed 0, failed twice .*\(RuntimeError: out of everything\)"):
        lab.run({"crashing": crashing(2), "other": other})
    assert 0 < lab.store.progress(other.with_replicas(1).key(tiny, MLP, 0)) < 1


def test_several_machines_and_several_processes_are_not_mixed(tiny, monkeypatch):
    cluster = {"cluster": {"worker": ["one:1", "two:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(InvalidInput, match="use one or the other"):
        Lab(tiny, jobs=2)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_on_a_full_disk_two_processes_exchange_their_results_in_memory(tiny, caplog):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = Store()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        runs = Lab(tiny, 1, store, quiet=True, jobs=2).run(EXPERIMENTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert np.isfinite(runs["trials"]["norm"]).all()
    assert {START.with_replicas(1).key(tiny, MLP, 0)} <= store.in_memory.keys()
    assert 1 <= caplog.text.count("(File too large); continuing with it in memory") <= 2
    assert not [path for path in store.folder.iterdir() if path.suffix != ".npz"]


def is_running(process):
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_when_the_parent_is_stopped_or_killed_all_processes_end_with_a_checkpoint(
    tiny, tiny_file, tmp_path, home, number
):
    command = [sys.executable, "-c", PROGRAM.format([*STOPPABLE, "--dataset", str(tiny_file)])]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    started = set()
    while started != {"8", "16"}:
        found = re.match(r"\[0/2\] (8|16) at .* epoch (?!0|1 )", process.stderr.readline())
        started |= {found[1]} if found else set()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, printed = process.communicate()
    while any(is_running(child) for child in children):
        time.sleep(0.1)
    assert process.returncode == (130 if number == signal.SIGINT else -number), printed
    assert "Traceback" not in printed
    for size in (8, 16):
        recipe = Recipe.sgd(size, 0.001, 20000).with_replicas(1)
        assert 0 < Store(home).progress(recipe.key(tiny, MLP, 0)) < 1
