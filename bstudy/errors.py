"""What can go wrong, as sentences: the only errors that a user is meant to see."""


class BstudyError(Exception):
    """Something that stops the work, told in one sentence. The command exits with `exit_status`."""

    exit_status = 1


class InvalidInput(BstudyError, ValueError):
    """What was asked for cannot be: a wrong value, name or combination."""

    exit_status = 2


class DataError(BstudyError):
    """A data set that cannot be found, downloaded or read."""


class NotMeasured(BstudyError):
    """The store was asked for what is not in it yet."""


class Interrupted(BstudyError):
    """Stopped by the user; what was measured is kept."""

    exit_status = 130


class Followed(BstudyError):
    """This process only helped another one, which has the results."""

    exit_status = 0
