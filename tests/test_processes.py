"""Child processes: what they import, and how their end is noticed."""

import os
import subprocess
import sys
import time

import pytest

from bstudy.processes import Child

HELPERS = """
import os, random, signal, sys, time
from pathlib import Path

def environment(connection, *arguments):
    connection.send((arguments, random.__file__, getattr(sys.modules["__main__"], "__file__", None), sys.path))

def answer(connection):
    connection.send(connection.recv() + 1)

def print_much(connection):
    for number in range(10**5):
        print("line", number)
    sys.stdout.flush()
    connection.send("printed")
    sys.exit("the last line")

def draw(connection):
    import matplotlib
    connection.send(matplotlib.rcParams["backend"])

def hang_up(connection):
    os.kill(os.getpid(), signal.SIGHUP)
    connection.send("still here")

def fail(connection):
    print("out of everything", file=sys.stderr)
    os._exit(7)

def wait_for_parent(connection, marker):
    connection.send("ready")
    try:
        connection.recv()
    except EOFError:
        Path(marker).write_text("the parent has ended")
"""
PARENT = """
import sys
print("imported", flush=True)
from bstudy.processes import Child
import helpers
child = Child(helpers.wait_for_parent, sys.argv[1])
print(child.connection.recv(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "helpers.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "helpers", raising=False)
    import helpers

    return helpers


@pytest.fixture
def start():
    """Start a Child that is ended after the test."""
    children = []

    def run(function, *arguments):
        children.append(Child(function, *arguments))
        return children[-1]

    yield run
    for child in children:
        child.kill()


def test_a_child_imports_neither_main_nor_the_working_directory(helpers, start, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    (here / "random.py").write_text("raise RuntimeError('this is not the random module')")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    arguments, random_file, main_file, path = start(helpers.environment, 1, "two").connection.recv()
    assert arguments == (1, "two")
    assert random_file == __import__("random").__file__
    assert main_file is None
    assert str(here) not in path
    assert "" not in path
    assert str(tmp_path / "modules") in path


def test_messages_go_both_ways(helpers, start):
    child = start(helpers.answer)
    child.send(4)
    assert child.connection.recv() == 5


def test_a_child_that_fails_reports_its_status_and_last_line(helpers, start):
    child = start(helpers.fail)
    with pytest.raises(EOFError):
        child.connection.recv()
    assert child.exit_reason() == "status 7: out of everything"
    child.send("ignored")


def test_a_child_does_not_read_the_users_settings_of_matplotlib(helpers, start, tmp_path, monkeypatch):
    (tmp_path / "matplotlibrc").write_bytes(b"axes.grid: \xff")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    assert start(helpers.draw).connection.recv() == "agg"


def test_a_child_may_print_much(helpers, start):
    child = start(helpers.print_much)
    assert child.connection.recv() == "printed"
    assert child.exit_reason() == "status 1: the last line"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_child_leaves_the_end_of_the_terminal_to_its_parent(helpers, start):
    assert start(helpers.hang_up).connection.recv() == "still here"


def test_a_child_that_ends_before_it_connects_does_not_block_the_parent(start, monkeypatch):
    monkeypatch.setattr("bstudy.processes.COMMAND", [sys.executable, "-c", "import time; time.sleep(0.2); 1 / 0"])
    child = start(time.sleep, 1)
    with pytest.raises((EOFError, OSError)):
        child.connection.recv()
    assert child.exit_reason() == "status 1: ZeroDivisionError: division by zero"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_child_notices_that_its_parent_was_killed_and_the_script_runs_once(helpers, tmp_path):
    (tmp_path / "script.py").write_text(PARENT)
    marker = tmp_path / "marker"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "modules")}
    command = [sys.executable, str(tmp_path / "script.py"), str(marker)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **streams) as parent:
        printed = [parent.stdout.readline(), parent.stdout.readline()]
        parent.kill()
    assert printed == ["imported\n", "ready\n"]
    while not marker.exists() or not marker.read_text():
        time.sleep(0.05)
