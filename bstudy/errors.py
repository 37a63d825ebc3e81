"""The errors that a user may see, each one sentence."""

import re


def printable(text: object) -> str:
    """Return a text as one line for a terminal or a page: it has spaces for line breaks, and no control characters."""
    return "".join(each if each.isprintable() else " " if each.isspace() else repr(each)[1:-1] for each in str(text))


class BstudyError(Exception):
    """Stops the work with one sentence; the command exits with `exit_status`."""

    exit_status = 1

    def __init__(self, sentence: object):
        super().__init__(printable(sentence))  # it may have the name of a file in it, or another library's message

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class InvalidInput(BstudyError, ValueError):
    """A wrong value, name or combination was asked for."""

    exit_status = 2


class DataError(BstudyError):
    """A data set cannot be found, downloaded or read."""


class BackendError(BstudyError):
    """TensorFlow or Keras cannot be used here."""


class NotMeasured(BstudyError):
    """A result is not stored yet, and measuring was not allowed."""


class Interrupted(BstudyError):
    """The user stopped the work; all measured results are stored."""

    exit_status = 130


class ClusterLost(BstudyError):
    """The scheduler of a Dask cluster does not answer; all measured results are stored."""


class WorkerDone(BstudyError):
    """This machine helped the chief, which has the results."""

    exit_status = 0


def in_one_line(error: BaseException) -> str:
    """Return the type of an error and its reason, in one line: Keras prints the reason in bold, TensorFlow last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = next((line for line in lines if "Error: " in line), f"{type(error).__name__}: {lines[0]}")
    bold = re.search(r"\x1b\[1m(.+)\x1b\[0m", str(error))
    return f"{line.partition(':')[0]}: {bold[1]}" if bold else line
