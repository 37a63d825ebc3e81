"""Ended at any moment, by any signal: the next call goes on, and ends on the bits of a run that nothing disturbed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from bstudy.cli import main
from bstudy.store import Store

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
# saved after every part of the work, and not each half a minute, so that most kills meet half a result
PROGRAM = """
import sys
from bstudy import lab, progress
from bstudy.cli import main

lab.SECONDS_BETWEEN_SAVES = progress.SECONDS_BETWEEN_LINES = 0
write = lab.Store.write

def told(store, key, result):
    write(store, key, result)
    if result.complete:
        print("wrote", key, file=sys.stderr)

lab.Store.write = told
main({!r})
"""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)


def start(folder, home, words):
    environment = os.environ | {"BSTUDY_HOME": str(home)}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PROGRAM.format(list(words))]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def finished(folder, home, words):
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, words, env={"BSTUDY_HOME": str(home)})
    assert done.exit_code == 0 and "Traceback" not in done.stderr and "damaged" not in done.stderr, done.stderr


def content(home):
    """{key: (columns, state)} of all that is stored whole, but for seconds, which are never the same."""
    found = {}
    for key in sorted(Store(home).keys()):
        result = Store(home).read(key, state=True)
        assert result is not None and result.complete
        found[key] = {name: array for name, array in result.columns.items() if name != "seconds"}, result.state
    return found


def killed_again_and_again(folder, words, kills, signals=SIGNALS):
    """Start the command and end it so often, at random times; then let it run to its end.

    Gives how often it met an end before its own, and how often something was stored by then that was not whole.
    """
    moments = random.Random(2)
    finished(folder, folder / "undisturbed", words)
    home, met, partial = folder / "home", 0, 0
    for number in range(kills):
        process, how = start(folder, home, words), signals[number % len(signals)]
        if number % 3:  # each third time while it starts, and else at work, which its second line tells
            process.stderr.readline()
            process.stderr.readline()
        time.sleep(moments.uniform(0, 4))
        process.send_signal(how)
        _, told = process.communicate(timeout=60)
        assert "Traceback" not in told and "damaged" not in told, told
        met += process.returncode != 0
        assert process.returncode in (0, -how, 130), told
        partial += any(not Store(home).read(key).complete for key in sorted(Store(home).keys()))
    finished(folder, home, words)
    finished(folder, home, ["results"])
    np.testing.assert_equal(content(home), content(folder / "undisturbed"))
    left = {path.name for path in (home / "results").iterdir() if path.suffix != ".npz"}
    assert left == {".lock"}
    return met, partial


def tiny_words(tiny_file):
    settings = ["small=8", "large=32", "epochs=40", "learning_rate=0.001"]
    return ["chapter", "2", "--dataset", str(tiny_file), "--seeds", "1", *(w for s in settings for w in ("--set", s))]


def test_a_few_kills_cost_nothing(tmp_path, tiny_file):
    met, _ = killed_again_and_again(tmp_path, tiny_words(tiny_file), 2, (signal.SIGKILL, signal.SIGTERM))
    assert met


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "jobs"), [("training", "1"), ("gradients", "1"), ("training", "2")])
def test_thirty_kills_cost_nothing(tmp_path, chapter, jobs):
    words = {
        "training": ["chapter", "1", "--set", "epochs=40", "--set", "batch_sizes=4,64", "--seeds", "1"],
        "gradients": ["chapter", "4", "--set", "trials=6", "--set", "late=10", "--seeds", "1"],
    }[chapter]
    met, partial = killed_again_and_again(tmp_path, [*words, "--jobs", jobs], 30)
    print(f"{chapter}, {jobs} jobs: 30 signals, {met} met it at work, {partial} left a result that was not whole")
    assert met > 10


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_the_old_entry_or_the_new_one(tmp_path):
    """Writing is all that this process does, so that every kill meets it there."""
    program = """
import sys, numpy as np
from pathlib import Path
from bstudy.store import Result, Store
store = Store(Path(sys.argv[1]))
with store.locks.held("a" * 64):
    print("begun", flush=True)
    for number in range(10**9):
        store.write("a" * 64, Result({"number": np.array(number)}, {"w": np.full(10**6, number)}, {}, 0.5))
"""
    moments, store, temporaries = random.Random(1), Store(tmp_path), 0
    for _ in range(100):
        command = [sys.executable, "-c", program, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(moments.uniform(0.05, 0.2))
        process.kill()
        process.communicate()
        temporaries += len([path for path in store.folder.iterdir() if path.name.startswith(".a")])
        store.sweep()
        found = store.read("a" * 64, state=True)
        assert found is None or (found.state["w"] == found.columns["number"]).all()
        assert {path.name for path in store.folder.iterdir()} <= {".lock", f"{'a' * 64}.npz"}
    print(f"100 kills, {temporaries} left something half written")
    assert temporaries > 10 and found is not None


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 8])
def test_processes_that_run_the_same_chapter_at_once_measure_nothing_twice(tmp_path, processes):
    words = ["chapter", "1", "--set", "epochs=30", "--set", "batch_sizes=16,64", "--seeds", "2"]
    finished(tmp_path, tmp_path / "undisturbed", words)
    folders = [tmp_path / f"process {number}" for number in range(processes)]
    for folder in folders:
        folder.mkdir()
    told = [
        process.communicate(timeout=600)[1]
        for process in [start(folder, tmp_path / "home", words) for folder in folders]
    ]
    assert not [each for each in told if "Traceback" in each or "damaged" in each]
    assert any("Another process measures" in each for each in told)
    np.testing.assert_equal(content(tmp_path / "home"), content(tmp_path / "undisturbed"))
    written = [line for each in told for line in each.splitlines() if "wrote" in line]
    assert len(written) == 4
