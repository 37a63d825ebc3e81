"""The runner with made-up engines: order, retries, and signals."""

import os
import signal
import threading

import pytest

from bstudy import Recipe
from bstudy.errors import BstudyError, InvalidInput
from bstudy.plan import Task
from bstudy.runner import Runner, graceful_shutdown

ONE, TWO = (Task(name, Recipe.sgd(8, 0.1, epochs), 0, epochs, frozenset()) for name, epochs in (("a", 1), ("b", 2)))
AFTER = Task("c", Recipe.sgd(4, 0.1, 1), 0, 1.0, frozenset("a"))


class Engine:
    """Answers each task with its scripted messages."""

    def __init__(self, script, slots=2):
        self.script, self.slots = {name: [*messages] for name, messages in script.items()}, slots
        self.running, self.submitted, self.stopped = [], [], False

    def free_slots(self):
        return self.slots - len(self.running)

    def submit(self, task):
        self.submitted.append(task.key)
        self.running.append(task)

    def next_message(self):
        if not self.running:
            return None
        task = self.running[0]
        kind, value = ("stopped", None) if self.stopped else self.script[task.key].pop(0)
        if kind not in ("progress", "waiting"):
            self.running.remove(task)
        return task, kind, value

    def stop(self):
        self.stopped = True


def run(tasks, script, stop=None, **settings):
    runner, engine = Runner(tasks, 10.0, quiet=True), Engine(script, **settings)
    runner.run(engine, stop or threading.Event())
    return runner, engine


@pytest.fixture
def handler_of():
    """handler_of(number, handler) sets the handler of a signal for this test, and returns it."""
    before = {}

    def change(number, handler):
        before[number] = signal.signal(number, handler)
        return handler

    yield change
    for number, handler in before.items():
        signal.signal(number, handler)


DONE = [("progress", 0.0), ("progress", 1.0), ("done", None)]


def test_a_task_starts_when_what_it_builds_on_is_done():
    runner, engine = run([AFTER, ONE, TWO], {"a": DONE, "b": DONE, "c": DONE})
    assert engine.submitted == ["a", "b", "c"]
    assert runner.done == {"a", "b", "c"}


def test_a_task_that_fails_is_tried_once_more(caplog):
    runner, engine = run([ONE, TWO], {"a": [("failed", "status -6"), *DONE], "b": DONE})
    assert engine.submitted == ["a", "b", "a"]
    assert runner.done == {"a", "b"}
    assert "8 at 0.1 for 1 epoch, seed 0, failed in its process (status -6); trying once more." in caplog.text


def test_a_task_that_fails_twice_is_an_error():
    with pytest.raises(BstudyError, match=r"8 at 0.1 for 1 epoch, seed 0, failed twice .* \(second\)"):
        run([ONE], {"a": [("failed", "first"), ("failed", "second")]})


def test_a_task_that_is_refused_is_not_tried_again():
    with pytest.raises(InvalidInput, match="too large"):
        run([ONE], {"a": [("refused", InvalidInput("too large"))]})


def test_on_a_cluster_the_others_are_measured_before_an_error_is_raised(caplog):
    runner, engine = Runner([ONE, AFTER, TWO], 10.0, quiet=True, keep_going=True), Engine({"b": DONE}, slots=1)
    engine.script["a"] = [("refused", InvalidInput("too large"))]
    with pytest.raises(InvalidInput, match="too large"):
        runner.run(engine, threading.Event())
    assert engine.submitted == ["a", "b"]
    assert runner.done == {"b"}
    assert "8 at 0.1 for 1 epoch, seed 0, cannot be measured (too large); continuing with the others." in caplog.text


def test_waiting_for_another_process_is_reported(caplog):
    run([ONE], {"a": [("waiting", None), *DONE]})
    assert "Another process measures 8 at 0.1 for 1 epoch, seed 0; waiting for it" in caplog.text


def test_after_a_stop_running_tasks_end_and_no_other_starts():
    stop = threading.Event()
    stop.set()
    runner, engine = run([ONE], {}, stop)
    assert engine.submitted == []

    class Stopping(Engine):
        def next_message(self):
            stop.set()
            return super().next_message()

    stop.clear()
    runner, engine = Runner([ONE, TWO], 10.0, quiet=True), Stopping({"a": DONE}, slots=1)
    runner.run(engine, stop)
    assert engine.stopped
    assert engine.submitted == ["a"]
    assert runner.done == set()


def test_progress_counts_only_what_was_measured_now_and_ends_at_the_expected_seconds(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "bstudy.progress.Display.show", lambda self, text, done, milestone=False: shown.append((text, done))
    )
    run([TWO], {"b": [("progress", 0.5), ("progress", 0.75), ("done", None)]})
    assert shown == [
        ("[0/1] 8 at 0.1 for 2 epochs, seed 0, epoch 1 of 2", 0.0),
        ("[0/1] 8 at 0.1 for 2 epochs, seed 0, epoch 2 of 2", 5.0),
        ("[1/1] 8 at 0.1 for 2 epochs, seed 0", 10.0),
    ]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_sets_the_event_and_the_second_one_ends_the_process(name, capfd, handler_of):
    number = getattr(signal, name)
    before = handler_of(number, signal.SIG_DFL)
    with graceful_shutdown(lambda: "3 of 4 results are stored") as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) == before
    assert "Stopping: 3 of 4 results are stored." in capfd.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_signal_that_is_ignored_stays_ignored(handler_of):
    handler_of(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with graceful_shutdown(str) as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.is_set()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_without_a_terminal_the_signal_only_sets_the_event(monkeypatch, handler_of):
    def fail(*_):
        raise OSError("the terminal has closed")

    replaced = []
    handler_of(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr("os.write", fail)
    monkeypatch.setattr("os.dup2", lambda new, old: replaced.append(old))
    with graceful_shutdown(lambda: "all is stored") as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.is_set()
    assert replaced == [2]


def test_outside_the_main_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with graceful_shutdown(str) as stop:
            seen.append((stop.is_set(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_a_second_signal_does_not_end_the_kernel_of_a_notebook(monkeypatch):
    monkeypatch.setattr("bstudy.runner.in_notebook", lambda: True)
    with pytest.raises(KeyboardInterrupt), graceful_shutdown(str) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        signal.raise_signal(signal.SIGINT)
