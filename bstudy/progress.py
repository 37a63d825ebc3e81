"""Progress: a live line in a terminal, one line in a notebook, plain lines on stderr elsewhere."""

import contextlib
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bstudy.processes import in_notebook

SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_UPDATES = 20, 0.3


def format_duration(seconds: float) -> str:
    """Return seconds in words: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Display:
    """Shows how much of `expected` seconds of work is done; the time left follows the speed so far."""

    def __init__(self, expected: float, quiet: bool = False):
        self._expected, self._quiet = expected, quiet
        self._started = self._printed = time.monotonic()
        left, text = TextColumn("{task.fields[left]:>14}"), TextColumn("{task.description}", markup=False)
        console = Console(stderr=True)
        self._bar = Progress(BarColumn(20), left, text, console=console, transient=True)
        self._task = self._bar.add_task("", total=expected, left="")
        self._cell = CellLine() if in_notebook() and not quiet else None
        self._live = console.is_terminal and not console.is_dumb_terminal and not quiet

    def __enter__(self):
        if self._live:
            self._bar.start()
        if self._cell:
            words = f"about {format_duration(self._expected)}"
            self._cell.show(f"Measuring, {words}; interrupting the kernel keeps what is measured.")
        return self

    def __exit__(self, kind, *error):
        if self._live:
            self._bar.stop()
        if self._cell:
            outcome = "Measured in" if kind is None else "Stopped after"
            self._cell.show(f"{outcome} {format_duration(time.monotonic() - self._started)}.")

    def show(self, text: str, done: float, milestone: bool = False) -> None:
        """Show that `done` seconds of the work are done; a milestone gets a line of its own."""
        elapsed = time.monotonic() - self._started
        rest = self._expected - done
        left = rest * elapsed / done if done > 0.02 * self._expected and elapsed > 2 else rest
        words = f"{format_duration(left)} left" if left > 0.5 else "almost done"
        self._bar.update(self._task, completed=done, description=text, left=words)
        if self._live or self._quiet:
            return
        seconds = SECONDS_BETWEEN_UPDATES if self._cell else SECONDS_BETWEEN_LINES
        if milestone or time.monotonic() - self._printed > seconds:
            self._printed = time.monotonic()
            if self._cell:
                self._cell.show(f"{text}, {words}")
                return
            with contextlib.suppress(OSError):  # nobody reads it any more; the work continues
                print(f"{text}, {words}", file=sys.stderr, flush=True)


class CellLine:
    """One line below the cell of a notebook that runs; each text replaces the one before."""

    def __init__(self):
        self._handle = None

    def show(self, text: str) -> None:
        """Show this text."""
        from IPython.display import display

        content = {"text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
