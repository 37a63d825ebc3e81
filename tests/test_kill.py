"""Ended at any moment by any signal: the next call continues, and ends on the bits of an undisturbed run."""

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
# a checkpoint after every part of the work, and not each half a minute, so that most kills meet one
PROGRAM = """
import sys
from bstudy import progress, worker
from bstudy.store import Store

worker.CHECKPOINT_SECONDS = progress.SECONDS_BETWEEN_LINES = 0
write = Store.write

def reported(store, key, result):
    write(store, key, result)
    if result.complete:
        print("wrote", key, file=sys.stderr)

Store.write = reported
from bstudy.cli import main
main({!r})
"""
WRITER = """
import sys
import numpy as np
from bstudy.store import Result, Store
store = Store(sys.argv[1])
print("ready", flush=True)
for number in range(10**9):
    store.write("a" * 64, Result({"number": np.array(number)}, {"w": np.full(10**6, number)}, progress=0.5))
"""
NAMES = ("SIGKILL", "SIGKILL", "SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
FAILURES = ("Traceback", "damaged")


def start(folder, home, words):
    environment = os.environ | {"BSTUDY_HOME": str(home)}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PROGRAM.format(list(words))]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def finish(folder, home, words):
    """Run the command to its end, in this process."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, words, env={"BSTUDY_HOME": str(home)})
    assert done.exit_code == 0, done.stderr
    assert not [failure for failure in FAILURES if failure in done.stderr], done.stderr


def contents(home):
    """Return {key: (columns, state)} of all results, which are complete, without their seconds."""
    found = {}
    for key in Store(home).keys(""):
        result = Store(home).read(key, state=True)
        assert result.complete
        found[key] = {name: array for name, array in result.columns.items() if name != "seconds"}, result.state
    return found


def kill_repeatedly(folder, words, kills, signals=SIGNALS):
    """Start the command and end it, at random times; then let it run to its end.

    Returns:
        How many were ended before their own end, and how many left a checkpoint.
    """
    moments = random.Random(2)
    finish(folder, folder / "undisturbed", words)
    home, ended, checkpoints = folder / "home", 0, 0
    for number in range(kills):
        process, sent = start(folder, home, words), signals[number % len(signals)]
        if number % 3:  # a third of them are ended while they start, the others at work
            process.stderr.readline()
            process.stderr.readline()
        time.sleep(moments.uniform(0, 4))
        process.send_signal(sent)
        _, printed = process.communicate()
        assert not [failure for failure in FAILURES if failure in printed], printed
        assert process.returncode in (0, -sent, 130), printed
        ended += process.returncode != 0
        checkpoints += any(Store(home).progress(key) < 1 for key in Store(home).keys(""))
    finish(folder, home, words)
    finish(folder, home, ["results"])  # removes temporary files
    np.testing.assert_equal(contents(home), contents(folder / "undisturbed"))
    others = [path.name for path in (home / "results").iterdir() if path.suffix not in (".npz", ".lock")]
    assert others == []
    return ended, checkpoints


@pytest.mark.slow
def test_a_few_kills_cost_nothing(tmp_path, tiny_file):
    words = ["train", "--batch-size", "10", "--learning-rate", "0.001", "--epochs", "60", "--then", "batch_size=25"]
    words += ["--dataset", str(tiny_file)]
    ended, _ = kill_repeatedly(tmp_path, words, 2, (signal.SIGKILL, signal.SIGHUP))
    assert ended


THIRTY = {
    "training": ["chapter", "1", "--set", "epochs=300", "--set", "batch_sizes=4,64", "--seeds", "1"],
    "gradients": ["chapter", "4", "--set", "trials=60", "--set", "late_epochs=100", "--seeds", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "jobs"), [("training", "1"), ("gradients", "1"), ("training", "2")])
def test_thirty_kills_cost_nothing(tmp_path, chapter, jobs):
    ended, checkpoints = kill_repeatedly(tmp_path, [*THIRTY[chapter], "--jobs", jobs], 30)
    print(f"{chapter}, {jobs} jobs: 30 signals, {ended} ended it at work, {checkpoints} left a checkpoint")
    assert ended > 10


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_the_old_entry_or_the_new_one(tmp_path):
    moments, store, temporary_files = random.Random(1), Store(tmp_path), 0
    for _ in range(100):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(moments.uniform(0.05, 0.2))
        process.kill()
        process.communicate()
        temporary_files += len([path for path in store.folder.iterdir() if path.name.startswith(".a")])
        store.remove_temporary_files()
        found = store.read("a" * 64, state=True)
        assert found is None or (found.state["w"] == found.columns["number"]).all()
        assert {path.name for path in store.folder.iterdir()} <= {f"{'a' * 64}.npz"}
    print(f"100 kills left {temporary_files} temporary files")
    assert temporary_files > 10
    assert found is not None


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 8])
def test_processes_that_run_the_same_chapter_measure_nothing_twice(tmp_path, processes):
    words = ["chapter", "1", "--epochs", "20", "--batch-sizes", "16,64", "--tiny-batch-size", "8", "--seeds", "2"]
    words += ["--jobs", "1"]
    finish(tmp_path, tmp_path / "undisturbed", words)
    folders = [tmp_path / f"process {number}" for number in range(processes)]
    for folder in folders:
        folder.mkdir()
    running = [start(folder, tmp_path / "home", words) for folder in folders]
    printed = [process.communicate()[1] for process in running]
    assert not [text for text in printed if any(failure in text for failure in FAILURES)]
    assert any("Another process measures" in text for text in printed)
    np.testing.assert_equal(contents(tmp_path / "home"), contents(tmp_path / "undisturbed"))
    written = [line for text in printed for line in text.splitlines() if "wrote" in line]
    assert len(written) == len(contents(tmp_path / "home")) == 6
