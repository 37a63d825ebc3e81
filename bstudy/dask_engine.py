"""Where tasks run: on the workers of a Dask cluster, one task a worker at a time.

The client decides which worker measures what, so Dask orders and repeats nothing. What the workers do is in
`bstudy.dask_worker`. Times and memory are measured in the client.
"""

import contextlib
import logging
import os
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future

from bstudy.dask_worker import WorkerProcess, join, measure, versions
from bstudy.engines import ENDS, POLL_SECONDS, InProcess
from bstudy.errors import BstudyError, ClusterLost, in_one_line, printable
from bstudy.plan import Task
from bstudy.store import Store
from bstudy.worker import Setting, find_start

CONNECT_SECONDS = 20
TRANSFER_SECONDS = 120  # of data to a worker, or of a result from it

log = logging.getLogger(__name__)


def connect(cluster: str) -> Client:
    """Return a client of the cluster. TLS is configured as Dask's documentation says, by its own settings.

    Args:
        cluster: The address of the scheduler, such as tcp://host:8786, or the path of its scheduler file.

    Raises:
        ClusterLost: no scheduler answers.
    """
    where = {"scheduler_file": cluster} if os.path.exists(cluster) else {"address": cluster}
    for name in ("distributed", "distributed.client"):  # it prints tracebacks of what is reported here in a sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(**where, set_as_default=False, timeout=CONNECT_SECONDS)
    except Exception as error:  # of the network, of TLS, or of a damaged file
        raise ClusterLost(f"no scheduler of a Dask cluster answers at {cluster} ({in_one_line(error)})") from None


def workers_of(client: Client) -> set[str]:
    """Return the addresses of the workers that are there.

    Not from `scheduler_info`: in another thread, the client overwrites it every 2 s with one without workers.

    Raises:
        OSError: the scheduler does not answer.
    """
    return set(client.nthreads())


@dataclass(eq=False)
class Node:
    """A worker, as the client sees it: it joins, opens a process, and measures one task after another."""

    address: str
    step: str = "join"  # "open", "idle", "measure", "refused" or "stopped"
    future: Future | None = None  # of this step
    shares_store: bool = False
    process: Future | None = None  # the WorkerProcess, which stays there
    task: Task | None = None


class Cluster:
    """Runs each task on one of the workers. Workers may come and go.

    Args:
        client: Of the cluster.
        setting: Of all measurements.
        store: Where results go: the workers write to it if they see its folder.
        measure_here: Returns an engine of this process, for exclusive tasks.
    """

    def __init__(self, client: Client, setting: Setting, store: Store, measure_here: Callable[[], InProcess]):
        self._client, self._setting, self._store, self._measure_here = client, setting, store, measure_here
        self._here: InProcess | None = None
        self._nodes: dict[str, Node] = {}
        self._unsent: list[Task] = []
        self._messages: deque[tuple[Task | None, str, Any]] = deque()
        self._events: queue.SimpleQueue = queue.SimpleQueue()  # of other threads; None for the end of a step
        self._looked, self._count, self._is_waiting, self._token = 0.0, None, False, None
        self._topic = f"bstudy-{uuid.uuid4().hex}"
        client.subscribe_topic(self._topic, lambda event: self._events.put(event[1]))
        with contextlib.suppress(OSError):  # then no worker sees it
            self._token = store.write_token()

    def free_slots(self) -> int:
        is_busy = self._here or self._unsent or any(node.task for node in self._nodes.values())
        idle = sum(node.step == "idle" for node in self._nodes.values())
        return max(idle - len(self._unsent), int(not is_busy))  # one for a task that waits, or is measured here

    def submit(self, task: Task) -> None:
        if task.experiment.EXCLUSIVE:
            self._here = self._measure_here()
            self._here.submit(task)
            self._exclusive = task
        else:
            self._unsent.append(task)

    def next_message(self) -> tuple[Task | None, str, Any] | None:
        if self._here is not None:
            return self._next_message_here()
        self._watch_workers()
        self._send_tasks()
        if not self._messages:
            with contextlib.suppress(queue.Empty):
                if event := self._events.get(timeout=POLL_SECONDS):
                    self._read_event(*event)
        return self._messages.popleft() if self._messages else None

    def stop(self) -> None:
        """Have all workers store a checkpoint, if they see the store, and end."""
        stopped = [node for node in self._nodes.values() if node.task is not None]
        if stopped:
            self._client.cancel([node.future for node in stopped])
        self._messages.extend((task, "stopped", None) for task in [*self._unsent, *(node.task for node in stopped)])
        self._unsent = []
        for node in stopped:
            node.task, node.step = None, "stopped"

    def close(self) -> None:
        if self._here is not None:
            self._here.close()
        if self._token is not None:
            self._token.unlink(missing_ok=True)
        self._client.close()

    def _next_message_here(self):
        try:
            message = self._here.next_message()
        except BstudyError as error:
            message = self._exclusive, "refused", error
        except Exception as error:
            message = self._exclusive, "failed", in_one_line(error)
        if message[1] in ENDS:
            self._here.close()
            self._here = None
        return message

    def _read_event(self, key, kind, value):
        node = next((each for each in self._nodes.values() if each.task and each.future.key == key), None)
        if kind == "log":
            log.log(*value)
        elif node is not None:  # not a late one of a task that ended
            self._messages.append((node.task, kind, value))

    def _watch_workers(self):
        """Note which workers came, went, or finished a step."""
        self._check_connection()
        if time.monotonic() - self._looked > POLL_SECONDS:
            self._looked = time.monotonic()
            with contextlib.suppress(OSError):  # if the connection has ended, the client's status reports it
                self._compare_workers(workers_of(self._client))
        self._check_connection()
        for node in list(self._nodes.values()):
            if node.future is not None and node.future.done():
                self._finish_step(node)
        self._report_workers()

    def _check_connection(self):
        if self._client.status != "running":
            raise ClusterLost(
                "the scheduler of the cluster ended, or the connection to it; all measured results are stored, and the "
                "same command continues from there"
            )

    def _compare_workers(self, there):
        for address in self._nodes.keys() - there:
            self._drop(self._nodes[address])
        for address in there - self._nodes.keys():
            node = self._nodes[address] = Node(address)
            self._start(node, "join", join, self._token)

    def _report_workers(self):
        steps = [node.step for node in self._nodes.values()]
        count = steps.count("idle") + steps.count("measure")
        if count != self._count:
            self._messages.append((None, "workers", count))
        self._count = count
        is_waiting = bool(self._unsent) and not {"idle", "measure", "join", "open"} & set(steps)
        if is_waiting and not self._is_waiting:
            log.warning("No worker of the cluster can be used now; waiting for one (Ctrl-C stops waiting).")
        self._is_waiting = is_waiting

    def _send_tasks(self):
        for node in list(self._nodes.values()):
            if self._unsent and node.step == "idle":
                node.task = self._unsent.pop(0)
                results = self._store.in_memory if node.shares_store else self._starting_results(node.task)
                self._start(node, "measure", measure, node.process, node.task, {**results}, self._topic)

    def _starting_results(self, task):
        """Return {key: result} of what this task starts from, for a worker that does not see the store."""
        key, start, _ = find_start(task, self._setting, self._store)
        needed = {self._setting.key(each, task.seed) for each in task.experiment.requires()}
        results = {name: self._store.read(name, state=True) for name in needed} | {key: start}
        return {name: result for name, result in results.items() if result is not None}

    def _start(self, node, step, function, *arguments):
        """Start the next step on a worker. Large arguments go there first, as Dask wants it."""
        node.step = step
        try:
            arguments = [self._send(node, each) if is_large(each) else each for each in arguments]
            node.future = self._client.submit(
                function, *arguments, key=f"bstudy-{uuid.uuid4().hex}", workers=[node.address], retries=0
            )
        except Exception:  # the worker, or the connection to the scheduler, has ended
            self._drop(node)
        else:
            node.future.add_done_callback(lambda _: self._events.put(None))

    def _send(self, node, value):
        [future] = self._client.scatter([value], workers=[node.address], hash=False, timeout=TRANSFER_SECONDS)
        return future

    def _drop(self, node):
        """Forget a worker that ended. If it is still there, it joins again."""
        del self._nodes[node.address]
        if node.future is not None:
            self._client.cancel([node.future])
        if node.task is not None:
            self._messages.append((node.task, "failed", f"the worker {node.address} was lost"))

    def _finish_step(self, node):
        future, node.future = node.future, None
        value = None
        if future.status == "finished" and node.step != "open":  # a process stays on its worker
            try:
                value = future.result(timeout=TRANSFER_SECONDS)
            except Exception:  # it ended before it could send the value
                return self._drop(node)
        if future.status == "error" and node.step != "measure":
            return self._refuse(node, self._reason(future))
        if future.status not in ("finished", "error"):
            return self._drop(node)
        if node.step == "join":
            self._check(node, *value)
        elif node.step == "open":
            node.step, node.process = "idle", future
        else:
            task, node.task, node.step = node.task, None, "idle"
            kind, value, result = value or ("failed", self._reason(future), None)
            if result is not None:
                self._store.write(task.key, result)
            # the worker was stopped: this client was not
            kind, value = ("failed", f"the worker {node.address} ended") if kind == "stopped" else (kind, value)
            self._messages.append((task, kind, value))

    def _reason(self, future):
        error = future.exception()
        return str(error) if isinstance(error, BstudyError) else in_one_line(error)

    def _check(self, node, its_versions, shares_store):
        """Open a process on a worker that has joined, if its versions are those of the client."""
        ours = versions()
        differences = [
            f"{name} {its_versions.get(name, 'missing')} in place of {ours.get(name, 'none')}"
            for name in {**ours, **its_versions}
            if its_versions.get(name) != ours.get(name)
        ]
        if differences:
            self._refuse(node, f"it has {', '.join(differences)}; install the same versions")
            return
        node.shares_store = shares_store
        self._start(node, "open", WorkerProcess, self._setting, self._store.folder.parent if shares_store else None)

    def _refuse(self, node, reason):
        node.step = "refused"
        log.warning("The worker %s is not used: %s.", node.address, printable(reason))


def is_large(argument: object) -> bool:
    """Whether it holds data or results."""
    return isinstance(argument, Setting) or (isinstance(argument, dict) and bool(argument))
