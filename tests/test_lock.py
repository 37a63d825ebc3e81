"""Locks between processes, and what the lab does where another process is at the same question."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from bstudy import Lab, Recipe
from bstudy.errors import Interrupted
from bstudy.lock import Locks
from bstudy.measure import train
from bstudy.store import Store

KEY, OTHER = "a" * 64, "b" * 64
HOLD = """
import sys, time
from pathlib import Path
from bstudy.lock import Locks
with Locks(Path(sys.argv[1])).held(sys.argv[2]) as free:
    print(free, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """holder(folder, key) starts a process that holds this lock until its standard input ends."""
    started = []

    def start(folder, key):
        command = [sys.executable, "-c", HOLD, str(folder), key]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "True\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", ["killed", "left"])
def test_a_lock_is_for_one_key_and_is_free_when_its_process_is_gone(holder, tmp_path, end):
    locks, process = Locks(tmp_path), holder(tmp_path, KEY)
    with locks.held(KEY) as free, locks.held(OTHER) as other:
        assert (free, other) == (False, True)
    if end == "killed":
        process.kill()
    process.communicate()
    with locks.held(KEY) as free:
        assert free


def test_where_nothing_can_be_written_every_key_is_free(tmp_path):
    (tmp_path / "file").write_text("")
    with Locks(tmp_path / "file").held(KEY) as free:
        assert free


def test_what_a_killed_process_left_half_written_is_swept_and_what_is_being_written_is_not(holder, tmp_path):
    store = Store(tmp_path)
    holder(store.folder, KEY)
    for name in (f".{KEY}.npz.1", f".{OTHER}.npz.1", "notes.npz.1", ".notes.npz.1"):
        (store.folder / name).write_text("half")
    store.sweep()
    assert sorted(path.name for path in store.folder.iterdir()) == [
        f".{KEY}.npz.1", ".lock", ".notes.npz.1", "notes.npz.1",
    ]  # fmt: skip


RECIPE = Recipe.sgd(16, 0.1, 2)


def test_what_another_process_measures_is_waited_for_and_not_measured_again(holder, tiny, monkeypatch, capsys):
    *_, (_, result) = train.measure(RECIPE, tiny, 0)
    store, key = Store(), RECIPE.key(tiny, 0)
    process = holder(store.folder, key)

    def finish():
        store.write(key, result)
        process.communicate()

    timer = threading.Timer(1, finish)
    timer.start()
    monkeypatch.setattr(train, "measure", lambda *question: pytest.fail("it was measured twice"))
    run = Lab(tiny, 1).run({"run": RECIPE})["run"]
    np.testing.assert_array_equal(run["test_loss"][0], result.columns["test_loss"])
    assert capsys.readouterr().err.count("Another process measures 16 at 0.1 for 2 epochs, seed 0: waiting for it") == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_waiting_can_be_interrupted(holder, tiny):
    process = holder(Store().folder, RECIPE.key(tiny, 0))
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    asked = time.monotonic()
    with pytest.raises(Interrupted, match="0 of 1 results are kept"):
        Lab(tiny, 1, quiet=True).run({"run": RECIPE})
    assert time.monotonic() - asked < 5 and process.poll() is None
