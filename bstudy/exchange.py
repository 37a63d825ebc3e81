"""Results in one file, to take to another machine: a class need not train what its lecturer has trained.

The file is a zip archive of entries of the store. An entry of the store is an `.npz` file without pickle; each one is
read whole, with its checksums, before it is stored.
"""

import contextlib
import io
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from bstudy.errors import BstudyError, InvalidInput
from bstudy.report import write_file, writing_into
from bstudy.store import MARK, Store, open_regular, read_entry, write_entry

MEMBER = re.compile(r"([0-9a-f]{64})\.npz")  # any other name is refused: it could be a path
MAX_ENTRY = 2**33  # bytes


def export_results(store: Store, keys: Iterable[str], path: Path, with_weights: bool = False) -> tuple[int, int]:
    """Write complete results into a file.

    Args:
        store: Where they are.
        keys: Which ones.
        path: The file.
        with_weights: Whether to include the final weights, which are needed only to continue a training.

    Returns:
        The number of results, and of bytes.

    Raises:
        BstudyError: it cannot be written, or another file is there.
    """
    count = 0

    def write(file):
        nonlocal count
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = MARK.encode()
            for key in keys:
                result = store.read(key, state=with_weights)
                if result is None or not result.complete:
                    continue
                with archive.open(f"{key}.npz", "w", force_zip64=True) as member:
                    write_entry(member, key, result, with_state=with_weights)
                count += 1

    write_file(path, write)
    return count, path.stat().st_size


def describe(path: Path) -> tuple[int, int]:
    """Return the number of results in a file, and their bytes when they are stored.

    Raises:
        BstudyError: it is no such file.
    """
    with _open(path) as archive:
        members = archive.infolist()
        return len(members), sum(member.file_size for member in members)


def load_results(store: Store, path: Path) -> tuple[int, int]:
    """Store the results of a file that are not stored yet.

    Returns:
        The number of results stored, and of those that were there before.

    Raises:
        BstudyError: the file is damaged, or there is no room. What was stored before that is kept.
    """
    stored = known = 0
    with _open(path) as archive:
        needed = sum(member.file_size for member in archive.infolist())
        with writing_into(store.folder):
            store.folder.mkdir(parents=True, exist_ok=True)
        if needed > (free := shutil.disk_usage(store.folder).free):
            raise BstudyError(f"{path} needs {needed / 1e6:,.0f} MB, and {store.folder} has {free / 1e6:,.0f} MB")
        for member in archive.infolist():
            key = MEMBER.fullmatch(member.filename)[1]
            if store.progress(key) == 1:
                known += 1
                continue
            try:
                content = archive.read(member)
                with zipfile.ZipFile(io.BytesIO(content)) as entry:
                    result = read_entry(entry, key, state=True) or read_entry(entry, key, state=False)
            except Exception as error:  # anything that zipfile and NumPy make of damaged bytes
                raise BstudyError(f"{path} is damaged at {key[:10]}: {error}") from None
            if result is None or not result.complete:
                raise BstudyError(f"{path} was written by another version of bstudy; export it again with this one")
            with writing_into(store.folder):
                store.insert(key, content)
            stored += 1
    return stored, known


@contextlib.contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    """Yield the archive, if all its members are entries of a store."""
    no_results = BstudyError(f"{path} has no results in it: 'bstudy results --export FILE' writes them")
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist") from None
    except OSError as error:
        raise BstudyError(f"{path} cannot be read: {error.strerror or error}") from None
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            raise no_results from None
        members = archive.infolist()
        if archive.comment != MARK.encode() or not all(MEMBER.fullmatch(member.filename) for member in members):
            raise no_results
        if any(member.file_size > MAX_ENTRY for member in members):
            raise BstudyError(f"{path} has a result of more than {MAX_ENTRY / 2**30:.0f} GiB")
        yield archive
