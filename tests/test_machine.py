"""What this machine can do: speeds that are measured once, and the number of processes."""

import json
import math

import pytest

from bstudy import machine
from bstudy.experiments.base import Work
from bstudy.machine import Machine, default_jobs, measure_machine, this_machine

HALF = Machine(multiplications_per_second=1e9, bytes_per_second=1e9)
FULL = Machine(multiplications_per_second=2e9, bytes_per_second=2e9)


@pytest.fixture(autouse=True)
def forget():
    """Forget the speeds that other tests measured, and those of this test."""
    this_machine.cache_clear()
    yield
    this_machine.cache_clear()


def test_a_faster_machine_takes_less_time_for_everything_but_waiting():
    work = Work(samples=1000, steps=10, evaluated=500, seconds=3)
    slow, fast = HALF.seconds(work, 1e6), FULL.seconds(work, 1e6)
    assert slow > fast > 3
    assert (slow - 3) / (fast - 3) == pytest.approx(2)
    assert HALF.compile_seconds == 2 * FULL.compile_seconds


@pytest.mark.parametrize("more", [Work(samples=1), Work(steps=1), Work(evaluated=1), Work(seconds=1)])
def test_each_kind_of_work_takes_time(more):
    assert HALF.seconds(more, 1e6) > 0


def test_the_speeds_are_measured_once_and_stored(home, monkeypatch):
    calls = []
    monkeypatch.setattr(machine, "measure_machine", lambda: calls.append(1) or HALF)
    assert this_machine() == HALF
    assert this_machine() == HALF
    this_machine.cache_clear()
    assert this_machine() == HALF
    assert len(calls) == 1
    assert [path.name for path in home.iterdir()] == ["machine.json"]


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"products": 1}'])
def test_a_damaged_file_of_speeds_is_measured_again(home, monkeypatch, content):
    monkeypatch.setattr(machine, "measure_machine", lambda: HALF)
    home.mkdir()
    (home / "machine.json").write_text(content)
    assert this_machine() == HALF
    assert set(json.loads((home / "machine.json").read_text()).values()) == {1e9}


def test_speeds_that_cannot_be_stored_are_used(home, monkeypatch):
    monkeypatch.setattr(machine, "measure_machine", lambda: HALF)
    (home / "machine.json").mkdir(parents=True)
    assert this_machine() == HALF


def test_the_measured_speeds_are_plausible():
    found = measure_machine()
    assert 1e8 < found.multiplications_per_second < 1e14
    assert 1e8 < found.bytes_per_second < 1e13


@pytest.mark.parametrize(
    ("cores", "gigabytes", "tasks", "jobs"),
    [
        (8, 64, 100, 4),
        (8, 64, 3, 3),
        (8, 64, 0, 1),
        (2, 64, 100, 1),
        (1, 64, 100, 1),
        (64, 4, 100, 2),
        (8, 1, 100, 1),
        (8, math.inf, 100, 4),
    ],
)
def test_the_number_of_processes_follows_cores_memory_and_tasks(monkeypatch, cores, gigabytes, tasks, jobs):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(machine, "available_memory", lambda: min(2.0**60, gigabytes * 1e9))
    assert default_jobs(tasks) == jobs


def test_the_available_memory_is_that_of_the_system():
    assert 1e7 < machine.available_memory() <= 2**60
