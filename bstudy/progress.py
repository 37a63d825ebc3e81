"""Tells on standard error how far a measurement has come: a live line on a terminal, plain lines elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 20


def duration(seconds):
    """Seconds as a reader says them: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Display:
    """Shows `work` seconds, as guessed, getting done; the time left follows what was measured on the way."""

    def __init__(self, work, quiet=False):
        self._work, self._quiet = work, quiet
        self._started = self._said = time.monotonic()
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal and not quiet:
            columns = BarColumn(20), TextColumn("{task.fields[left]:>14}"), TextColumn("{task.description}")
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("", total=work, left="")

    def __enter__(self):
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error):
        if self._bar:
            self._bar.stop()

    def show(self, text, done, milestone=False):
        """`done` of the work is behind us, `text` is under way; a milestone is worth a line of its own."""
        elapsed = time.monotonic() - self._started
        guess = self._work - done
        left = guess * elapsed / done if done > 0.02 * self._work and elapsed > 2 else guess
        words = f"{duration(left)} left" if left > 0.5 else "almost done"
        if self._bar:
            self._bar.update(self._task, completed=done, description=text, left=words)
        elif not self._quiet and (milestone or time.monotonic() - self._said > SECONDS_BETWEEN_LINES):
            self._said = time.monotonic()
            print(f"{text}, {words}", file=sys.stderr, flush=True)
