"""Questions measured side by side: the same bits as one after another, and nothing lost where a process is."""

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

from bstudy import Cost, GradientTrials, Lab, Recipe, Target
from bstudy.errors import BstudyError, InvalidInput
from bstudy.jobs import Order
from bstudy.store import Store

NO_TENSORFLOW = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
START = Recipe.sgd(16, 0.1, 2)
QUESTIONS = {
    "smaller": START.then(batch_size=8),
    "adam": Recipe.adam(50, 0.01, 1),
    "trials": GradientTrials(START, batch_sizes=(4, 16), trials=2, samples=16),
}


def stored(store):
    """{key: (columns, state)} of everything in a store, but for the seconds, which are never the same."""
    found = {key: store.read(key, state=True) for key in sorted(store.keys())}
    assert all(result.complete for result in found.values())
    return {
        key: ({name: column for name, column in result.columns.items() if name != "seconds"}, result.state)
        for key, result in found.items()
    }


def test_two_processes_measure_the_bits_that_one_does(tiny, tmp_path, capsys):
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    Lab(tiny, 1, one, quiet=True).run(QUESTIONS)
    runs = Lab(tiny, 1, two, jobs=2).run(QUESTIONS)
    np.testing.assert_equal(stored(two), stored(one))
    assert len(two.keys()) == 4
    told = capsys.readouterr().err.splitlines()
    assert "4 results, 0 more are stored" in told[0] and "[4/4]" in told[-1] and told[-1].endswith("almost done")
    assert {about["jobs"] for about in runs["adam"].about} == {2}
    assert one.read(QUESTIONS["adam"].key(tiny, 0)).about["jobs"] == 1


def test_what_others_begin_from_comes_first_and_what_measures_time_runs_alone(tiny):
    cost, target, short, long = Cost(16), Target.sgd(16, 0.1, 9, 0.9), Recipe.sgd(16, 0.1, 3), Recipe.sgd(16, 0.1, 30)
    after, quick = short.then(batch_size=8), Recipe.sgd(50, 0.1, 1)
    plan = {e.key(tiny, 0): (e, 0, e.guess(tiny)) for e in (cost, target, after, quick, long, short)}
    names = {key: experiment for key, (experiment, *_) in plan.items()}
    order, answers, running, taken = Order(plan, tiny), {}, [], []
    while order.waiting:
        key = order.take(answers, running)
        if key is None:
            answers[running.pop(0)] = "measured"
            continue
        assert not running or not (names[key].ALONE or any(names[other].ALONE for other in running))
        running.append(key)
        taken.append(names[key])
    assert taken.index(short) < min(taken.index(long), taken.index(after))
    assert taken[0] == short and set(taken[-2:]) == {cost, target}


@pytest.mark.slow
def test_the_parent_loads_no_tensorflow_and_the_page_is_the_same(tiny_file, tmp_path):
    words = ["chapter", "2", "--dataset", str(tiny_file), "--seeds", "1", "--set", "small=8", "--set", "large=32"]
    words += ["--set", "epochs=1"]
    printed = []
    for before, jobs in ((NO_TENSORFLOW, ["--jobs", "2"]), ("", [])):
        program = before + f"from bstudy.cli import main; main({words + jobs!r})"
        environment = os.environ | {"BSTUDY_HOME": str(tmp_path / f"home{len(jobs)}")}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == printed[1] and "Traceback" not in done.stderr


EXPERIMENT = """
from dataclasses import dataclass
from bstudy.experiment import Experiment

@dataclass(frozen=True)
class Deadly(Experiment):
    marker: str
    deaths: int

    def guess(self, dataset):
        return 1.0

    def __str__(self):
        return "deadly"
"""
MEASURE = """
import os
from pathlib import Path
import numpy as np
from bstudy.store import Result

def measure(experiment, dataset, seed, begun, starts):
    marker = Path(experiment.marker)
    deaths = marker.read_text() if marker.exists() else ""
    if len(deaths) < experiment.deaths:
        marker.write_text(deaths + "x")
        if deaths:
            raise RuntimeError("out of everything")
        print("terminate called", file=open(2, "w", closefd=False))
        os.abort()
    yield 1.0, Result({"deaths": np.array(len(deaths))}, {}, {}, 1.0)
"""


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """deadly(n) asks a question whose measurement kills its process the first time, and fails up to the n-th."""
    (tmp_path / "deadly_experiment.py").write_text(EXPERIMENT)
    (tmp_path / "deadly_measure.py").write_text(MEASURE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    from deadly_experiment import Deadly

    return lambda deaths: Deadly(str(tmp_path / f"{deaths} deaths"), deaths)


@pytest.mark.slow
def test_what_kills_its_process_is_told_and_tried_once_more(tiny, deadly, capsys):
    runs = Lab(tiny, 1, jobs=2).run({"deadly": deadly(1), "other": START})
    assert runs["deadly"]["deaths"][0] == 1 and np.isfinite(runs["other"]["test_loss"]).all()
    assert "trying once more" in capsys.readouterr().err


@pytest.mark.slow
def test_what_fails_twice_is_told_and_the_rest_is_kept(tiny, deadly, capsys):
    lab = Lab(tiny, 1, jobs=2)
    with pytest.raises(BstudyError, match=r"deadly, seed 0, failed twice .*\(RuntimeError: out of everything\)"):
        lab.run({"deadly": deadly(2), "other": Recipe.sgd(16, 0.1, 20000)})
    told = capsys.readouterr().err
    assert f"deadly, seed 0, failed in its process (status {-signal.SIGABRT}: terminate called); trying once" in told


def test_several_machines_and_several_processes_are_not_mixed(tiny, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(InvalidInput, match="use one or the other"):
        Lab(tiny, jobs=2)


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); "


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_on_a_disk_without_room_for_results_the_figure_is_still_made(tiny_file, tmp_path, jobs):
    words = ["chapter", "3", "--dataset", str(tiny_file), "--seeds", "1", "--set", "small=8", "--set", "large=32"]
    words += ["--set", "epochs=1", "--jobs", str(jobs)]
    program = LIMIT + f"from bstudy.cli import main; main({words!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 1 <= done.stderr.count("(File too large); going on with it in memory") <= jobs
    assert json.loads((tmp_path / "bstudy-out/ch03.json").read_text())["chapter"] == 3
    left = [path.name for path in (tmp_path / "home" / "results").iterdir()]
    assert left == [".lock"], "nothing half written stays"


def still_runs(number):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_stopped_or_killed_all_processes_end_and_what_is_running_is_kept(
    tiny, tiny_file, tmp_path, home, talkative, how
):
    words = ["chapter", "1", "--dataset", str(tiny_file), "--seeds", "1", "--jobs", "2"]
    words += ["--set", "batch_sizes=8,16", "--set", "epochs=20000", "--set", "learning_rate=0.001"]
    command = [sys.executable, "-c", talkative + f"from bstudy.cli import main; main({words!r})"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    begun = set()
    while begun != {"8", "16"}:
        found = re.match(r"\[0/2\] (8|16) at .* epoch (?!0|1 )", process.stderr.readline())
        begun |= {found[1]} if found else set()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
    _, told = process.communicate(timeout=60)
    ended = time.monotonic() + 30
    while any(still_runs(child) for child in children):
        assert time.monotonic() < ended
        time.sleep(0.2)
    assert process.returncode == (130 if how == signal.SIGINT else -how), told
    assert "Traceback" not in told
    for size in (8, 16):
        assert 0 < Store(home).read(Recipe.sgd(size, 0.001, 20000).key(tiny, 0)).share < 1
