"""Processes that work side by side, each on one task at a time. Knows nothing of what a task is.

Both ends speak in pickles over pipes. A worker stops, and keeps what it has, when its standard input ends: so it
outlives neither its parent's wish nor its parent.
"""

import contextlib
import io
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading

DONE = "done"  # the kind of a task's last message
ENDED = "ended"  # the kind of a worker's last message: with its exit status and the last line it wrote


class Workers:
    """At most `number` processes that run `program`, which calls `serve`; each is started when it is first needed."""

    def __init__(self, number, program, settings):
        self.busy = {}  # worker -> the name of its task
        self._number, self._program, self._settings = number, program, settings
        self._idle, self._all, self._messages = [], [], queue.SimpleQueue()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()
        for worker in self._all:
            worker.listener.join()

    @property
    def free(self):
        return len(self.busy) < self._number

    def give(self, name, task):
        """Have a free worker do the task."""
        if self._idle:
            worker = self._idle.pop()
        else:
            worker = _Process(self._program, self._messages)
            self._all.append(worker)
            worker.send(self._settings)
        self.busy[worker] = name
        worker.send(task)

    def listen(self, seconds=0.5):
        """(name of the task, kind, value) of the next message, or None where none comes for so long."""
        try:
            worker, kind, value, said = self._messages.get(timeout=seconds)
        except queue.Empty:
            return None
        sys.stderr.write(said)
        if kind not in (DONE, ENDED):
            return self.busy[worker], kind, value
        if kind == ENDED and worker in self._idle:
            self._idle.remove(worker)
        name = self.busy.pop(worker, None)
        if kind == DONE:
            self._idle.append(worker)
        return (name, kind, value) if name is not None else None

    def stop(self):
        """Let every worker keep what it has, and end."""
        for worker in self._all:
            worker.stop()


class _Process:
    def __init__(self, program, messages):
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        environment = os.environ | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}  # else the first one takes all of a GPU
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._noise}
        self._process = subprocess.Popen([sys.executable, "-c", program], env=environment, **pipes)
        self.listener = threading.Thread(target=self._listen, args=(messages,), daemon=True)
        self.listener.start()

    def send(self, message):
        with contextlib.suppress(OSError, ValueError):  # it has ended, which its listener tells
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def stop(self):
        with contextlib.suppress(OSError):  # the same
            self._process.stdin.close()

    def _listen(self, messages):
        with contextlib.suppress(Exception):  # however it was cut off
            while True:
                messages.put((self, *pickle.load(self._process.stdout)))
        self.stop()
        self._process.stdout.close()
        status = self._process.wait()
        self._noise.seek(0)
        lines = self._noise.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        messages.put((self, ENDED, f"status {status}: {last}", ""))


def serve(prepare):
    """In a worker: do one task after another, `for kind, value in prepare(settings, stop)(task)`, until `stop` is set.

    What Python says on standard error goes with the messages; what libraries write there tells why a worker ended.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent gets them too, and decides
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    tasks, stop = queue.SimpleQueue(), threading.Event()

    def receive():
        with contextlib.suppress(Exception):  # the end of the pipe, wherever it comes
            while True:
                tasks.put(pickle.load(source))
        stop.set()
        tasks.put(None)

    def say(kind, value=None):
        with contextlib.suppress(OSError):  # the parent was killed: what there is to keep is kept all the same
            pickle.dump((kind, value, said.getvalue()), answers)
            answers.flush()
        said.seek(0)
        said.truncate()

    threading.Thread(target=receive, daemon=True).start()
    settings = tasks.get()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        work = prepare(settings, stop)
        while (task := tasks.get()) is not None and not stop.is_set():
            for message in work(task):
                say(*message)
            say(DONE)
