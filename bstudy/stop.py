"""Stopping on a signal: what was asked to stop ends by itself, soon and whole."""

import contextlib
import os
import signal
import threading


@contextlib.contextmanager
def stoppable(kept):
    """An event that the first SIGINT or SIGTERM sets, saying what is `kept()`; the second ends the process at once."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first(*_):
        stop.set()
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
        # not print, which raises where the signal came in the middle of another print
        os.write(2, f"\nStopping: {kept()}.\n".encode(errors="replace"))

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, first) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
