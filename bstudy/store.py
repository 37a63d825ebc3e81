"""Measured results on disk, one file an answer, found again by the key of what was asked. Knows nothing of measuring.

An entry is a zip file: `about.json`, the columns and the state as `.npy` members. Zip keeps a CRC-32 of every member,
which is checked whenever one is read; files are written beside their place and moved into it whole, so a process that
dies leaves the old entry or the new one and never half of one.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import platformdirs

from bstudy.errors import BstudyError

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
    return Path(named).expanduser() if named else platformdirs.user_data_path("bstudy", appauthor=False)


def write_atomically(path, write):
    """Call `write(file)` on a temporary file beside `path`, then move it into place whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        for attempt in range(5):
            try:
                return os.replace(temporary, path)
            except PermissionError:  # on Windows, while another process has the file open
                if attempt == 4:
                    raise
                time.sleep(0.1)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


class Store:
    """Results by key. What cannot be written is kept in memory, so that a full disk costs no finished result."""

    def __init__(self, folder=None):
        self.folder = Path(folder or home()) / "results"
        self._unwritten = {}

    def _path(self, key):
        return self.folder / f"{key}.npz"

    def write(self, key, result):
        about = result.about | {"format": FORMAT, "key": key, "share": result.share, "saved": int(time.time())}

        def members(file):
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("about.json", json.dumps(about))
                for folder, arrays in (("columns", result.columns), ("state", result.state)):
                    for name, array in arrays.items():
                        buffer = io.BytesIO()
                        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
                        archive.writestr(f"{folder}/{name}.npy", buffer.getbuffer())

        try:
            write_atomically(self._path(key), members)
            self._unwritten.pop(key, None)
        except OSError as error:
            if not self._unwritten:
                print(
                    f"Results cannot be kept in {self.folder} ({error.strerror}): they last as long as this run.",
                    file=sys.stderr,
                )
            self._unwritten[key] = result

    def read(self, key, state=False):
        """The Result under this key, or None; with its `state` only where asked for. A damaged one is set aside."""
        if key in self._unwritten:
            return self._unwritten[key]
        path = self._path(key)
        try:
            with zipfile.ZipFile(path) as archive:
                about = json.loads(archive.read("about.json"))
                if about["format"] != FORMAT or about["key"] != key:
                    raise ValueError("another format or key")
                parts = {"columns": {}, "state": {}}
                for member in archive.namelist():
                    part, _, name = member.removesuffix(".npy").partition("/")
                    if part == "columns" or (part == "state" and state):
                        parts[part][name] = np.lib.format.read_array(
                            io.BytesIO(archive.read(member)), allow_pickle=False
                        )
                return Result(**parts, about=about, share=about["share"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BstudyError(f"{path} cannot be read: {error.strerror}") from None
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, NotImplementedError, TypeError):
            aside = path.with_suffix(".damaged")
            with contextlib.suppress(OSError):
                os.replace(path, aside)
            print(f"A stored result is damaged: set aside as {aside}, to be measured again.", file=sys.stderr)
            return None

    def keys(self):
        return sorted(path.stem for path in self.folder.glob("*.npz"))

    def size(self, key):
        """Bytes on disk."""
        return self._path(key).stat().st_size

    def remove(self, key):
        self._path(key).unlink(missing_ok=True)
