"""Progress on stderr: a live line in a terminal, plain lines elsewhere."""

import contextlib
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 20


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
        self._bar = Progress(BarColumn(20), left, text, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=expected, left="")
        self._live = self._bar.console.is_terminal and not quiet

    def __enter__(self):
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *error):
        if self._live:
            self._bar.stop()

    def show(self, text: str, done: float, milestone: bool = False) -> None:
        """Show that `done` seconds of the work are done; a milestone gets a line of its own."""
        elapsed = time.monotonic() - self._started
        rest = self._expected - done
        left = rest * elapsed / done if done > 0.02 * self._expected and elapsed > 2 else rest
        words = f"{format_duration(left)} left" if left > 0.5 else "almost done"
        self._bar.update(self._task, completed=done, description=text, left=words)
        if self._live or self._quiet:
            return
        if milestone or time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            with contextlib.suppress(OSError):  # nobody reads it any more; the work continues
                print(f"{text}, {words}", file=sys.stderr, flush=True)
