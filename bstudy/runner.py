"""Executes a plan on an engine: progress, retries, and an orderly stop."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

from bstudy.engines import Engine
from bstudy.errors import BstudyError
from bstudy.plan import Task, next_task
from bstudy.processes import STOP_SIGNALS, in_notebook
from bstudy.progress import Display

log = logging.getLogger(__name__)


@contextlib.contextmanager
def graceful_shutdown(message: Callable[[], str]) -> Iterator[threading.Event]:
    """Yield an event that the first of STOP_SIGNALS sets, printing `message()`; the second one ends the process,
    or raises KeyboardInterrupt in a notebook."""
    stop, before = threading.Event(), {}

    def on_signal(*_):
        stop.set()
        for number, handler in before.items():  # a kernel keeps its variables
            signal.signal(number, handler if in_notebook() else signal.SIG_DFL)
        try:  # not print, which raises if the signal came during another print
            os.write(2, f"\nStopping: {message()}.\n".encode(errors="replace"))
        except OSError:  # the terminal has closed
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop
        return
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
            before[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Runner:
    """Runs tasks on an engine, and knows which are done.

    Args:
        tasks: In the order of a plan.
        expected: Seconds of all tasks together.
        quiet: Whether to show no progress.
        keep_going: Whether a task that cannot be measured is reported at the end, when all others are done.
    """

    def __init__(self, tasks: Sequence[Task], expected: float, quiet: bool, keep_going: bool = False):
        self.total, self._scale = len(tasks), expected / (sum(task.seconds for task in tasks) or 1)
        self.waiting = list(tasks)
        self.running: dict[str, Task] = {}
        self.done: set[str] = set()
        self._failed: set[str] = set()  # once
        self._first: dict[str, float] = {}  # the progress at which a task began
        self._seconds: dict[str, float] = {}  # of the expected ones, done
        self._keep_going, self._errors = keep_going, []
        self._workers = ""  # how many there are, in words
        self._display = Display(expected, quiet)

    def run(self, engine: Engine, stop: threading.Event) -> None:
        """Run all tasks, until `stop` is set.

        Raises:
            BstudyError: a task cannot be measured, or failed twice.
        """
        with self._display:
            while self.running or (self.waiting and not stop.is_set()):
                if stop.is_set():
                    engine.stop()
                else:
                    self._submit_tasks(engine)
                if message := engine.next_message():
                    self._handle(*message, retry=not stop.is_set())
        if self._errors and not stop.is_set():
            raise self._errors[0]

    def _submit_tasks(self, engine):
        while engine.free_slots():
            task = next_task(self.waiting, self.done, self.running.values())
            if task is None:
                return
            self.waiting.remove(task)
            self.running[task.key] = task
            engine.submit(task)

    def _handle(self, task, kind, value, retry):
        if kind == "workers":
            self._workers = f"{value} worker{'s' * (value != 1)}: "
        elif kind == "waiting":
            log.warning("Another process measures %s; waiting for it (Ctrl-C stops waiting).", task)
        elif kind == "progress":
            first = self._first.setdefault(task.key, value)
            self._seconds[task.key] = task.seconds * (value - first) / ((1 - first) or 1)
            self._show(f"{task}, {task.experiment.progress_text(value)}")
        else:
            del self.running[task.key]
            if kind == "refused":
                self._give_up(task, value)
            if kind == "failed" and retry:
                self._retry(task, value)
            if kind == "done":
                self.done.add(task.key)
                self._seconds[task.key] = task.seconds
                self._show(str(task), milestone=True)

    def _retry(self, task, reason):
        if task.key in self._failed:
            self._give_up(task, BstudyError(f"{task}, failed twice in a process of its own ({reason})"))
            return
        log.warning("%s, failed in its process (%s); trying once more.", task, reason)
        self._failed.add(task.key)
        self.waiting.insert(0, task)

    def _give_up(self, task, error):
        """Raise the error, or measure first all that does not build on this task."""
        if not self._keep_going:
            raise error
        log.warning("%s, cannot be measured (%s); continuing with the others.", task, error)
        self._errors.append(error)
        lost = {task.key}
        for each in self.waiting:  # in the order of a plan
            if each.after & lost:
                lost.add(each.key)
        self.waiting = [each for each in self.waiting if each.key not in lost]

    def _show(self, text, milestone=False):
        done = self._scale * sum(self._seconds.values())  # of the expected seconds, which include compilation
        self._display.show(f"[{len(self.done)}/{self.total}] {self._workers}{text}", done, milestone)
