"""Measured results on disk, one file an answer, found again by the key of what was asked. Knows nothing of measuring.

An entry is an `.npz` file of the columns, the state, and what is known about them. A zip file keeps a CRC-32 of every
member, compared when one is read; files are written beside their place and moved into it whole, so that a process that
dies leaves the old entry or the new one, and never half of one. Who writes an entry holds its lock.
"""

import contextlib
import io
import json
import os
import re
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import platformdirs

from bstudy.errors import BstudyError, InvalidInput
from bstudy.lock import Locks

FORMAT = 1


@dataclass
class Result:
    """What was measured of one experiment with one seed, so far or to its end."""

    columns: dict  # name -> array: the answer
    state: dict = field(default_factory=dict)  # name -> array: what later measurements begin from, weights and the like
    about: dict = field(default_factory=dict)  # versions, device, thread count, what was asked
    share: float = 0.0  # of the work, done

    @property
    def complete(self):
        return self.share == 1


def home():
    """The folder of everything that bstudy keeps: BSTUDY_HOME, or the user's data folder."""
    named = os.environ.get("BSTUDY_HOME")
    folder = Path(os.path.expanduser(named)) if named else platformdirs.user_data_path("bstudy", appauthor=False)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InvalidInput(f"{folder} is not a folder; name one in BSTUDY_HOME, where results are to be kept")
    return folder


def write_atomically(path, write):
    """Call `write(file)` on a temporary file beside `path`, then move it into place whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        for pause in (0.1, 0.3, 1):
            with contextlib.suppress(PermissionError):  # on Windows, while another process has the file open
                return os.replace(temporary, path)
            time.sleep(pause)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Store:
    """Results by key. What cannot be written is kept in memory, so that a full disk costs no finished result."""

    def __init__(self, folder=None):
        self.folder = Path(folder or home()) / "results"
        self.unwritten = {}
        self.locks = Locks(self.folder)

    def _path(self, key):
        return self.folder / f"{key}.npz"

    def write(self, key, result):
        names = {"columns": [*result.columns], "state": [*result.state]}
        about = result.about | names | {"format": FORMAT, "key": key, "share": result.share, "saved": int(time.time())}
        arrays = {f"columns/{name}": array for name, array in result.columns.items()}
        arrays |= {f"state/{name}": array for name, array in result.state.items()}
        try:
            write_atomically(self._path(key), lambda file: np.savez(file, about=json.dumps(about), **arrays))
            self.unwritten.pop(key, None)
        except OSError as error:
            if not self.unwritten:
                print(
                    f"A result cannot be kept in {self.folder} ({error.strerror}); going on with it in memory. "
                    "Make room there, or name another folder in BSTUDY_HOME.",
                    file=sys.stderr,
                )
            self.unwritten[key] = result

    def read(self, key, state=False):
        """The Result under this key, or None; with its `state` only where asked for. A damaged one is set aside."""
        if key in self.unwritten:
            return self.unwritten[key]
        path, result, fault = self._path(key), Result({}), "is damaged"
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below; what goes wrong before that is not damage
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BstudyError(f"{path} cannot be read: {error.strerror}") from None
        try:
            with file, zipfile.ZipFile(file) as archive:

                def array(member):  # read whole, since only then is its checksum compared
                    return np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)

                result.about = json.loads(array("about.npy").item())
                if result.about["format"] != FORMAT:
                    fault = f"is of format {result.about['format']}, and not {FORMAT}"
                    raise ValueError(fault)
                if result.about["key"] != key:
                    fault = "answers another question than its name says"
                    raise ValueError(fault)
                result.share = result.about["share"]
                for part in ("columns", "state") if state else ("columns",):
                    getattr(result, part).update({name: array(f"{part}/{name}.npy") for name in result.about[part]})
            return result
        except Exception:  # whatever zipfile and NumPy make of damaged bytes
            aside = path.with_suffix(".damaged")
            with contextlib.suppress(OSError):
                os.replace(path, aside)
            print(f"A stored result {fault}: set aside as {aside}, to be measured again.", file=sys.stderr)
            return None

    def keys(self, beginning=""):
        return sorted(path.stem for path in self.folder.glob("*.npz") if path.stem.startswith(beginning))

    def size(self):
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*.npz"))

    def remove(self, key):
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise BstudyError(f"{self._path(key)} cannot be deleted: {error.strerror}") from None

    def sweep(self):
        """Delete what processes that were killed while they wrote have left."""
        for path in self.folder.glob(".*.npz.*"):
            if key := re.fullmatch(r"\.([0-9a-f]{64})\.npz\.\d+", path.name):
                with self.locks.held(key[1]) as free, contextlib.suppress(OSError):
                    if free:
                        path.unlink()
