"""Results on disk, one file each, found by the key of what was measured.

An entry is an `.npz` file of the columns, the state and the metadata. A zip file has a CRC-32 of every member, which is
compared when the member is read. Files are written under a temporary name and then renamed, so that a process that is
killed leaves the old entry or the new one, never half of one.
"""

import contextlib
import errno
import glob
import io
import json
import logging
import os
import re
import socket
import stat
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import filelock
import numpy as np
import platformdirs

from bstudy.errors import BstudyError, InvalidInput

FORMAT = 3
MARK = "written by bstudy, which may replace this file"
DAY = 24 * 3600

log = logging.getLogger(__name__)


@dataclass
class Result:
    """The measurement of one experiment with one seed: complete, or a checkpoint of it."""

    columns: dict[str, np.ndarray]
    state: dict[str, np.ndarray] = field(default_factory=dict)  # to resume from: weights and the like
    metadata: dict = field(default_factory=dict)
    progress: float = 1.0  # in [0, 1]
    diverged: bool = False

    @property
    def complete(self) -> bool:
        return self.progress == 1


def data_dir() -> Path:
    """Return the folder of everything that bstudy stores: BSTUDY_HOME, or the user's data folder.

    Raises:
        InvalidInput: it is a file.
    """
    named = os.environ.get("BSTUDY_HOME")
    folder = Path(os.path.expanduser(named)) if named else platformdirs.user_data_path("bstudy", appauthor=False)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InvalidInput(f"{folder} is not a folder; set BSTUDY_HOME to the folder for results")
    return folder


def temporary_name(path: Path) -> Path:
    """Return a hidden name next to `path` that no other process uses, also not one on another host."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is a folder, a device or a named pipe, which would be waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write(file)` on a temporary file next to `path`, then rename it. A link is replaced, not followed.

    Temporary files of this path that killed processes left are deleted.

    Raises:
        OSError: it cannot be written; the old file is unchanged then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        _remove_if_abandoned(left)
    temporary = temporary_name(path)
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        for pause in (0.1, 0.3, 1):
            with contextlib.suppress(PermissionError):  # on Windows, while another process reads the file
                return os.replace(temporary, path)
            time.sleep(pause)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Store:
    """Results by key. A result that cannot be written stays in memory, so that a full disk loses none.

    Args:
        folder: The parent of the folder `results`; `data_dir()` by default.
    """

    def __init__(self, folder: Path | str | None = None):
        self.folder = Path(folder or data_dir()) / "results"
        self.in_memory: dict[str, Result] = {}

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def write(self, key: str, result: Result) -> None:
        """Store the result under this key, on disk if possible."""
        try:
            write_atomically(self._path(key), lambda file: write_entry(file, key, result))
            self.in_memory.pop(key, None)
        except OSError as error:
            if not self.in_memory:
                log.warning(
                    "A result cannot be stored in %s (%s); continuing with it in memory. "
                    "Make room there, or set BSTUDY_HOME to another folder.",
                    self.folder,
                    error.strerror,
                )
            self.in_memory[key] = result

    def insert(self, key: str, entry: bytes) -> None:
        """Store the bytes of an entry.

        Raises:
            OSError: they cannot be written.
        """
        write_atomically(self._path(key), lambda file: file.write(entry))

    def read(self, key: str, state: bool = False) -> Result | None:
        """Return the result under this key, or None. A damaged entry is renamed, and reported.

        Args:
            key: Of the result.
            state: Whether to read its state too.

        Raises:
            BstudyError: the file cannot be read.
        """
        if key in self.in_memory:
            return self.in_memory[key]
        path = self._path(key)
        try:
            content = open_regular(path)  # an error before it is open is no damage
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BstudyError(f"{path} cannot be read: {error.strerror}") from None
        try:
            with content, zipfile.ZipFile(content) as archive:
                return read_entry(archive, key, state)
        except Exception as error:  # anything that zipfile and NumPy make of damaged bytes
            kept = path.with_suffix(".damaged")
            try:
                os.replace(path, kept)
            except OSError:
                kept = path
            log.warning("A stored result is damaged (%s); the file is now %s, and it is measured again.", error, kept)
            return None

    def progress(self, key: str, state: bool = False) -> float:
        """Return how much of this result is stored and undamaged, in [0, 1]; its state too, if asked."""
        result = self.read(key, state)
        return result.progress if result is not None else 0.0

    @contextlib.contextmanager
    def try_lock(self, key: str) -> Iterator[bool]:
        """Lock the key against other processes; yield False if another one holds it.

        Locks only prevent duplicate work; correctness does not depend on them.
        """
        lock = filelock.FileLock(self.folder / f".{key}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            yield False
            return
        except (OSError, NotImplementedError):  # nothing can be written there, or the file system has no locks
            yield True
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()

    def keys(self, prefix: str = "") -> list[str]:
        """Return the stored keys that begin with `prefix`, sorted.

        Raises:
            BstudyError: the folder cannot be read.
        """
        names = (name for name in self._names() if name.endswith(".npz") and name[0] != ".")
        return [name.removesuffix(".npz") for name in names if name.startswith(prefix)]

    def _names(self):
        try:
            return sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BstudyError(f"{self.folder} cannot be read: {error.strerror}") from None

    def size(self) -> int:
        """Return the bytes on disk."""
        return sum(self._path(key).lstat().st_size for key in self.keys())

    def remove(self, key: str) -> None:
        """Delete the entry of this key.

        Raises:
            BstudyError: it cannot be deleted.
        """
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise BstudyError(f"{self._path(key)} cannot be deleted: {error.strerror}") from None

    def write_token(self) -> Path:
        """Write an empty file into the folder, by which another machine can see whether it has the same folder.

        `remove_temporary_files` deletes it when this process has ended.

        Raises:
            OSError: it cannot be written.
        """
        token = temporary_name(self._path("0" * 64))
        self.folder.mkdir(parents=True, exist_ok=True)
        token.touch()
        return token

    def remove_temporary_files(self) -> None:
        """Delete what killed processes left behind: files of this host without a process, or older than a day.

        Raises:
            BstudyError: the folder cannot be read.
        """
        for name in self._names():
            if re.match(r"\.[0-9a-f]{64}\.npz\.", name):
                _remove_if_abandoned(self.folder / name)


def _remove_if_abandoned(path: Path) -> None:
    """Delete a temporary file of this host without a process, or older than a day."""
    match = re.fullmatch(r"\..+\.([^.].*)\.(\d{1,9})\.[0-9a-f]{8}", path.name)
    with contextlib.suppress(OSError):
        if match and (_has_ended(*match.groups()) or time.time() - path.stat().st_mtime > DAY):
            path.unlink()


def _has_ended(host: str, process: str) -> bool:
    """Whether a process of this host does not exist any more; False if it may run on another host."""
    if host != socket.gethostname() or os.name == "nt":  # os.kill would end the process on Windows
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def write_entry(file: BinaryIO, key: str, result: Result, with_state: bool = True) -> None:
    """Write an entry to a file; without the state, nothing can be resumed from it."""
    about = {"format": FORMAT, "key": key, "metadata": result.metadata, "state": None}
    about |= {"progress": result.progress, "diverged": bool(result.diverged)}
    parts, arrays = {"columns": result.columns} | ({"state": result.state} if with_state else {}), {}
    for part, named in parts.items():
        about[part] = {name: [np.asarray(array).dtype.str, np.shape(array)] for name, array in named.items()}
        arrays |= {f"{part}/{name}": array for name, array in named.items()}
    np.savez(file, about=json.dumps(about), **arrays)


def read_entry(archive: zipfile.ZipFile, key: str, state: bool) -> Result | None:
    """Return the result in an entry; None if it has another format, or no state and `state` is true.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile, and others: it is damaged.
    """

    def array(member):  # read whole, since only then is its checksum compared
        return np.lib.format.read_array(io.BytesIO(archive.read(f"{member}.npy")), allow_pickle=False)

    def arrays(part):
        found = {name: array(f"{part}/{name}") for name in about[part]}
        if {name: [each.dtype.str, list(each.shape)] for name, each in found.items()} != about[part]:
            raise ValueError(f"its {part} are not those that were written")
        return found

    about = json.loads(array("about").item())
    if about["format"] != FORMAT:
        return None
    if about["key"] != key:
        raise ValueError("it belongs to another key")
    if state and about["state"] is None:
        return None
    metadata, progress, diverged = {**about["metadata"]}, about["progress"], about["diverged"]
    result = Result(arrays("columns"), arrays("state") if state else {}, metadata, progress, diverged)
    if not 0 <= progress <= 1 or (result.complete and not result.columns):
        raise ValueError(f"it has {len(result.columns)} columns, and its progress is {progress}")
    return result
