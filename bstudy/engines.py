"""Where tasks run: in this process, or in several.

An engine has five methods: `free_slots`, `submit` a task, `next_message` (None if there is none for a while), `stop`
(running tasks store a checkpoint and end), and `close`. A message is (task, kind, value):

    ("progress", fraction), ("waiting", None)
    ("done", None), ("stopped", None)
    ("refused", BstudyError)    the task cannot be measured, and neither can it next time
    ("failed", text)            the task may succeed in another try

The number of workers of a cluster is a message (None, "workers", number). Its engine is in `bstudy.dask_engine`.
"""

import contextlib
import functools
import logging
import logging.handlers
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from bstudy.errors import BstudyError
from bstudy.plan import Task
from bstudy.processes import Child
from bstudy.store import Store
from bstudy.worker import Setting, Worker

POLL_SECONDS = 0.5
ENDS = ("done", "stopped", "refused", "failed")  # of a task


class Engine(Protocol):
    """Where tasks run."""

    def free_slots(self) -> int: ...
    def submit(self, task: Task) -> None: ...
    def next_message(self) -> tuple[Task | None, str, Any] | None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class InProcess:
    """Runs one task at a time in this process. An error in a task is raised by `next_message`."""

    def __init__(self, worker: Worker, stop: threading.Event):
        self._worker, self._stop = worker, stop
        self._task, self._messages = None, None

    def free_slots(self) -> int:
        return int(self._task is None)

    def submit(self, task: Task) -> None:
        self._task, self._messages = task, self._worker.measure(task, self._stop.is_set)

    def next_message(self) -> tuple[Task, str, Any]:
        task, (kind, value) = self._task, next(self._messages)
        if kind in ENDS:
            self._task = None
        return task, kind, value

    def stop(self) -> None:
        """Do nothing: the worker reads the same event."""

    def close(self) -> None:
        """Release the lock of a task that has not ended."""
        if self._messages is not None:
            self._messages.close()


class Processes:
    """Runs each task in one of several processes; each is started when it is first needed."""

    def __init__(self, setting: Setting, store: Store):
        self._setting, self._store = setting, store
        self._children: dict[Connection, Child] = {}
        self._tasks: dict[Connection, Task] = {}

    def free_slots(self) -> int:
        return self._setting.jobs - len(self._tasks)

    def submit(self, task: Task) -> None:
        idle = [connection for connection in self._children if connection not in self._tasks]
        if not idle:
            child = Child(worker_main, self._setting, self._store.folder.parent)
            self._children[child.connection] = child
            idle = [child.connection]
        self._tasks[idle[0]] = task
        self._children[idle[0]].send((task, self._store.in_memory))

    def next_message(self) -> tuple[Task, str, Any] | None:
        for connection in wait(list(self._tasks), timeout=POLL_SECONDS):
            task = self._tasks[connection]
            try:
                kind, value = connection.recv()
            except (EOFError, OSError):
                kind, value = "failed", self._children.pop(connection).exit_reason()
            if kind == "log":
                logging.getLogger(value.name).handle(value)
            elif kind == "in memory":
                self._store.in_memory[task.key] = value
            else:
                if kind in ENDS:
                    del self._tasks[connection]
                return task, kind, value
        return None

    def stop(self) -> None:
        for child in self._children.values():
            child.send(None)

    def close(self) -> None:
        self.stop()
        for child in self._children.values():
            child.join()


def worker_main(connection: Connection, setting: Setting, folder: Path) -> None:
    """Run in a child process: measure the tasks that the parent sends, until it sends None or ends."""

    def send(kind, value=None):
        with contextlib.suppress(OSError):  # the parent has ended
            connection.send((kind, value))

    logger, to_parent = logging.getLogger("bstudy"), SimpleNamespace(put_nowait=functools.partial(send, "log"))
    logger.addHandler(logging.handlers.QueueHandler(to_parent))
    store, worker = Store(folder), None
    with contextlib.suppress(EOFError, OSError):
        while message := connection.recv():
            task, in_memory = message
            store.in_memory.update(in_memory)
            try:
                worker = worker or Worker(setting, store)
                for kind, value in worker.measure(task, stop=connection.poll):
                    if kind in ENDS and task.key in store.in_memory:
                        send("in memory", store.in_memory[task.key])
                    send(kind, value)
            except BstudyError as error:
                send("refused", error)
            except Exception as error:
                send("failed", f"{type(error).__name__}: {error}".splitlines()[0])
