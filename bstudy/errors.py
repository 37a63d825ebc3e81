"""The errors that a user may see, each one sentence."""


class BstudyError(Exception):
    """Stops the work with one sentence; the command exits with `exit_status`."""

    exit_status = 1


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


class WorkerDone(BstudyError):
    """This machine helped the chief, which has the results."""

    exit_status = 0
