"""What a worker of a Dask cluster does for the engine `bstudy.dask_engine`: it joins, and measures in a process.

The process (`bstudy.engines.Processes`) ends, with a checkpoint, if the worker is killed, if the client disconnects, or
if the scheduler ends.
"""

import contextlib
import importlib.metadata
import logging
import logging.handlers
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distributed import get_worker

from bstudy import __version__
from bstudy.distribute import start_devices
from bstudy.engines import ENDS, Processes
from bstudy.errors import BstudyError
from bstudy.models import ModelSpec, find_model
from bstudy.plan import Task
from bstudy.processes import Child
from bstudy.store import Result, Store
from bstudy.worker import Setting

PACKAGES = ("keras", "tensorflow", "numpy")  # on which the bits depend
ENDING = ("closing", "closing_gracefully", "closed", "failed")  # of a worker


def versions() -> dict[str, str]:
    """Return the versions that must be the same everywhere, without importing the packages."""
    found = {"bstudy": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def join(token: Path | None) -> tuple[dict[str, str], bool]:
    """Return the versions of this worker, and whether it sees the file that the client wrote into its store."""
    return versions(), token is not None and token.exists()


class WorkerProcess:
    """A process that measures for one client, on the machine of a worker. It ends when Dask forgets this object.

    Args:
        setting: Of all measurements.
        folder: Of the client's store, or None if this machine does not see it.

    Raises:
        BstudyError: the user's model cannot be imported here, or is another one.
    """

    def __init__(self, setting: Setting, folder: Path | None):
        model = setting.model if setting.model.is_builtin else find_model_here(setting)
        self._own = None if folder else Path(get_worker().local_directory) / f"bstudy-{uuid.uuid4().hex}"
        self._store = Store(folder or self._own)
        self._engine = Processes(setting._replace(model=model, jobs=1), self._store)

    def __del__(self):
        if engine := getattr(self, "_engine", None):
            engine.stop()  # does not wait for its end
            shutil.rmtree(self._own or "", ignore_errors=True)

    def measure(self, task: Task, is_wanted: Callable[[], bool], send: Callable) -> tuple[str, Any, Result | None]:
        """Measure a task; return its last message, and its result if it is not in the client's store.

        Args:
            task: To measure.
            is_wanted: Returns False when the task must end.
            send: Called with the kind and the value of the messages before the last one.
        """
        self._engine.submit(task)
        while True:
            if not is_wanted():
                self._engine.stop()
            if message := self._engine.next_message():
                _, kind, value = message
                if kind in ENDS:
                    break
                send(kind, value)
        result = self._store.in_memory.pop(task.key, None)
        if self._own is not None and kind == "done":
            result = result or self._store.read(task.key, state=True)
        return kind, value, result

    @contextlib.contextmanager
    def holding(self, results: dict[str, Result]):
        """Store what a task starts from; afterwards, remove everything from a store of this process's own."""
        for key, result in results.items():
            self._store.write(key, result)
        try:
            yield
        finally:
            self._store.in_memory.clear()
            if self._own is not None:
                shutil.rmtree(self._own, ignore_errors=True)


def measure(process: WorkerProcess, task: Task, results: dict[str, Result], topic: str):
    """Measure a task in the process of this worker, until the client does not want it any more.

    Args:
        process: Of this client.
        task: To measure.
        results: What it starts from, if the process cannot read it.
        topic: Where the client reads messages.
    """
    worker = get_worker()
    key = worker.get_current_task()
    state = worker.state.tasks[key]

    def is_wanted():
        return state.state == "executing" and worker.status.name not in ENDING

    def send(kind, value):
        worker.log_event(topic, [key, kind, value])

    to_client = SimpleNamespace(put_nowait=lambda record: send("log", [record.levelno, record.getMessage()]))
    handler = logging.handlers.QueueHandler(to_client)
    logging.getLogger("bstudy").addHandler(handler)
    try:
        with process.holding(results):
            return process.measure(task, is_wanted, send)
    finally:
        logging.getLogger("bstudy").removeHandler(handler)


def find_model_here(setting: Setting) -> ModelSpec:
    """Return the user's model as this machine finds it.

    Raises:
        BstudyError: there is none of this name, or it is another one.
    """
    child = Child(send_model, setting)
    try:
        found = child.connection.recv()
    except (EOFError, OSError):
        found = child.exit_reason()
    finally:
        child.kill()
    if isinstance(found, str):
        raise BstudyError(found)
    if found.digest != setting.model.digest:
        raise BstudyError(f"its model {found} is not that of the client; copy the same files there")
    return found


def send_model(connection, setting: Setting) -> None:
    """Send the user's model, or why there is none: in a process of its own, as it imports TensorFlow."""
    try:
        start_devices(setting.devices)
        connection.send(find_model(setting.model.name).fitted_to(setting.dataset))
    except BstudyError as error:
        connection.send(str(error))
