"""A child process that runs one function, connected to its parent by a pipe of messages."""

import contextlib
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Listener
from pathlib import Path

from bstudy.backend import check_temporary_folder

# SIGHUP is sent when the terminal closes; Windows does not have it
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
LAST_LINES = 100  # of a child's output, for messages
CLOSE_SECONDS = 10  # for a child to end: to store a checkpoint, and to remove TensorFlow's temporary files
# -P keeps the working directory off the path: a student's random.py must not replace Python's
COMMAND = [sys.executable, "-P", "-c", "from bstudy.processes import child_main; child_main()"]


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def working_directory() -> str:
    """Return the path of the working directory, or "" if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what is printed inside, by Python or by libraries: stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # one of them is closed
            sys.__stdout__.flush()
            stdout = os.dup(1)
            stack.callback(os.close, stdout)
            stack.callback(os.dup2, stdout, 1)
            os.dup2(2, 1)
        yield


class Child:
    """A new Python process that calls `function(connection, *arguments)` and then ends.

    The function is imported there by its name; `__main__` is not imported again. The child ignores Ctrl-C, and its end
    of the connection closes when this process ends, for whatever reason. What it prints is hidden.
    """

    def __init__(self, function: Callable, *arguments):
        check_temporary_folder()
        key = secrets.token_bytes(16)
        path = [entry for entry in sys.path if entry not in ("", working_directory())]
        path += filter(None, [os.environ.get("PYTHONPATH")])
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with Listener(authkey=key) as listener:
            self._process = subprocess.Popen(COMMAND, env=os.environ | {"PYTHONPATH": os.pathsep.join(path)}, **streams)
            self._lines = deque(maxlen=LAST_LINES)
            self._reader = threading.Thread(target=self._read_output, args=(listener.address, key), daemon=True)
            self._reader.start()
            pickle.dump((listener.address, key), self._process.stdin)
            self._process.stdin.close()
            self.connection = listener.accept()
        self.send((function, arguments))

    def _read_output(self, address, key) -> None:
        """Read what the child prints; at its end, release `accept`, if the child has not connected."""
        with self._process.stdout as output:
            self._lines.extend(output)
        with contextlib.suppress(OSError, EOFError):
            Client(address, authkey=key).close()

    def send(self, message: object) -> None:
        """Send a message; a child that has ended is noticed when its messages are read."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def exit_reason(self) -> str:
        """Wait for the end of the child, and return its status and the last line that it printed."""
        status = self._process.wait()
        self.kill()
        lines = [line.decode(errors="replace").strip() for line in self._lines if line.strip()]
        errors = [line for line in lines if "Error: " in line] or lines  # TensorFlow prints more after its error
        return f"status {status}: {errors[-1] if errors else 'it printed nothing'}"

    def join(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait so long for the child to end, then end it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End the child at once, if it has not ended yet, and close its files."""
        self._process.kill()
        self._process.wait()
        self._reader.join(CLOSE_SECONDS)  # longer, if another process has the child's output open
        self.connection.close()


def load_matplotlib() -> None:
    """Import matplotlib in a process of bstudy, without the user's settings, which may be damaged.

    The book has a style of its own. Keras imports matplotlib too.
    """
    os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    elsewhere = Path(__file__).with_name("styles")  # a matplotlibrc in the working directory would be read too
    with contextlib.suppress(OSError), contextlib.chdir(elsewhere):
        import matplotlib  # noqa: F401


def child_main() -> None:
    """Run in the child: connect to the parent, receive a function and its arguments, and call it."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent receives them too, and decides
    load_matplotlib()
    address, key = pickle.load(sys.stdin.buffer)
    with Client(address, authkey=key) as connection:
        function, arguments = connection.recv()
        function(connection, *arguments)
