"""Locks between processes, one for each key, which the system frees with the process that holds them.

All are in one file: a key's lock is one byte, so that none is left behind. They save double work, and nothing more
rests on them: where a file system has no locks, every key is free.
"""

import contextlib
import os

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt


class Locks:
    """`with locks.held(key) as free:` free says whether no other process held it.

    Within one process they exclude nobody.
    """

    def __init__(self, folder):
        self._path = folder / ".lock"

    @contextlib.contextmanager
    def held(self, key):
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = open(self._path, "ab")  # noqa: SIM115 - closed below, which frees the lock
        except OSError:  # nothing can be written there, so that nobody waits for what is
            yield True
            return
        with file:
            yield _taken(file.fileno(), int(key[:7], 16))


def _taken(descriptor, byte):
    """Take the lock on this byte, which need not exist, unless another process has it."""
    try:
        if os.name == "nt":
            os.lseek(descriptor, byte, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
