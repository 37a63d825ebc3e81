"""Results on disk: no damage is taken for a result, a full disk loses none, and locks are free after a kill."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from bstudy.errors import BstudyError, InvalidInput
from bstudy.store import DAY, Result, Store, data_dir, temporary_name, write_atomically

KEY, OTHER = "a" * 64, "b" * 64
HOLD = """
import sys
from bstudy.store import Store
with Store(sys.argv[1]).try_lock(sys.argv[2]) as acquired:
    print(acquired, flush=True)
    sys.stdin.read()
"""
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


def result(progress=1.0):
    columns = {"loss": np.arange(3, dtype=np.float32), "final": np.float32(2)}
    return Result(columns, {"weight_0": np.ones((2, 2))}, {"dataset": "tiny"}, progress)


def assert_equal(found, expected):
    np.testing.assert_equal(vars(found), vars(expected))


def names(store):
    return sorted(path.name for path in store.folder.iterdir())


def test_a_result_is_read_as_it_was_written():
    store = Store()
    assert store.read(KEY) is None
    store.write(KEY, result(0.5))
    assert not store.read(KEY).complete
    assert store.progress(KEY) == 0.5
    store.write(KEY, result())
    assert_equal(store.read(KEY, state=True), result())
    assert store.read(KEY).state == {}
    assert names(store) == [f"{KEY}.npz"]
    assert store.size() == os.path.getsize(store.folder / f"{KEY}.npz")


@posix
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text(""), "Not a directory"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    ],
    ids=["file", "loop"],
)
def test_a_folder_that_cannot_be_listed_is_named(home, make, reason):
    home.mkdir()
    make(home / "results")
    for ask in (Store().keys, Store().size, Store().remove_temporary_files):
        with pytest.raises(BstudyError, match=f"results cannot be read: {reason}"):
            ask()


def test_keys_are_found_by_their_beginning_and_removed():
    store = Store()
    for key in (OTHER, KEY):
        store.write(key, result())
    assert store.keys() == [KEY, OTHER]
    assert store.keys("aa") == [KEY]
    store.remove(KEY)
    assert store.keys() == [OTHER]


def test_no_damaged_byte_is_taken_for_a_result():
    store = Store()
    store.write(KEY, result())
    path = store.folder / f"{KEY}.npz"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        if found := store.read(KEY, state=True):
            assert_equal(found, result())


def test_a_damaged_entry_is_renamed_and_reported(caplog):
    store = Store()
    store.write(KEY, result())
    store.write(OTHER, result())
    path = store.folder / f"{KEY}.npz"
    whole, of_other_key = path.read_bytes(), (store.folder / f"{OTHER}.npz").read_bytes()
    for content in (b"", whole[:-1], whole[: len(whole) // 2], b"not a zip file", of_other_key):
        path.write_bytes(content)
        caplog.clear()
        assert store.read(KEY, state=True) is None
        assert path.with_suffix(".damaged").read_bytes() == content
        assert "A stored result is damaged" in caplog.text
    assert "it belongs to another key" in caplog.text
    store.write(KEY, result())
    assert_equal(store.read(KEY, state=True), result())


def rewrite(path, **changes):
    """Write an entry again by hand, with changes in its description; None leaves a name out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(np.load(io.BytesIO(members.pop("about.npy"))).item()) | changes
    about = {name: value for name, value in about.items() if value is not None}
    arrays = {name.removesuffix(".npy"): np.load(io.BytesIO(content)) for name, content in members.items()}
    with open(path, "wb") as file:
        np.savez(file, about=json.dumps(about), **arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": {}},
        {"columns": None},
        {"columns": ["loss", "final"]},
        {"columns": {"loss": ["<f4", [2]], "final": ["<f4", []]}},
        {"columns": {"loss": ["<f8", [3]], "final": ["<f4", []]}},
        {"columns": {"other": ["<f4", [3]]}},
        {"state": {"weight_0": ["<f8", [4]]}},
        {"metadata": ["tiny"]},
        {"metadata": None},
        {"progress": 7},
        {"progress": "all"},
    ],
    ids=str,
)
def test_an_entry_without_the_arrays_that_were_written_is_damaged(changes, caplog):
    store = Store()
    store.write(KEY, result())
    path = store.folder / f"{KEY}.npz"
    rewrite(path)
    assert_equal(store.read(KEY, state=True), result())
    rewrite(path, **changes)
    assert store.read(KEY, state=True) is None
    assert "A stored result is damaged" in caplog.text
    assert names(store) == [f"{KEY}.damaged"]


def test_a_complete_result_without_columns_is_damaged(caplog):
    Store().write(KEY, Result({}))
    assert Store().read(KEY) is None
    assert "it has 0 columns, and its progress is 1" in caplog.text


def test_a_damaged_entry_that_cannot_be_renamed_is_measured_again(caplog):
    store = Store()
    store.write(KEY, result())
    path = store.folder / f"{KEY}.npz"
    path.write_bytes(b"not a zip file")
    (path.with_suffix(".damaged") / "in the way").mkdir(parents=True)
    assert store.read(KEY) is None
    assert f"the file is now {path}, and it is measured again" in caplog.text


@posix
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_an_entry_that_is_no_file_is_reported_and_not_waited_for(make):
    store = Store()
    store.folder.mkdir(parents=True)
    make(store.folder / f"{KEY}.npz")
    with pytest.raises(BstudyError, match=r"aaa\.npz cannot be read: it is not a regular file"):
        store.read(KEY)


@posix
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("elsewhere", path)])
def test_a_lock_that_is_no_file_is_not_waited_for(make):
    store = Store()
    store.folder.mkdir(parents=True)
    (store.folder / "elsewhere").write_text("mine")
    make(store.folder / f".{KEY}.lock")
    with store.try_lock(KEY) as acquired:
        assert acquired
    assert (store.folder / "elsewhere").read_text() == "mine"


def test_an_entry_of_another_format_is_no_result(monkeypatch, caplog):
    store = Store()
    with monkeypatch.context() as patch:
        patch.setattr("bstudy.store.FORMAT", 7)
        store.write(KEY, result())
    assert store.read(KEY) is None
    assert names(store) == [f"{KEY}.npz"]
    assert not caplog.text


def test_an_entry_that_cannot_be_read_or_deleted_is_reported():
    store = Store()
    (store.folder / f"{KEY}.npz").mkdir(parents=True)
    with pytest.raises(BstudyError, match=r"aaa\.npz cannot be read: "):
        store.read(KEY)
    with pytest.raises(BstudyError, match=r"aaa\.npz cannot be deleted: "):
        store.remove(KEY)


def test_on_a_full_disk_the_old_entry_stays_and_the_new_one_is_in_memory(monkeypatch, caplog):
    store = Store()
    store.write(KEY, result(0.5))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store.write(KEY, result())
    store.write(OTHER, result())
    assert caplog.text.count("(No space left on device); continuing with it in memory") == 1
    assert store.read(KEY).complete
    assert store.in_memory.keys() == {KEY, OTHER}
    assert not Store().read(KEY).complete
    assert names(store) == [f"{KEY}.npz"]
    monkeypatch.undo()
    store.write(KEY, result())
    assert store.in_memory.keys() == {OTHER}


def test_bstudy_home_decides_the_folder(home, monkeypatch, tmp_path):
    assert Store().folder == home / "results"
    assert Store(tmp_path).folder == tmp_path / "results"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BSTUDY_HOME", str(tmp_path / "file"))
    with pytest.raises(InvalidInput, match="file is not a folder; set BSTUDY_HOME"):
        data_dir()


@posix
def test_files_have_the_permissions_that_the_user_wants():
    store, before = Store(), os.umask(0o022)
    try:
        store.write(KEY, result())
    finally:
        os.umask(before)
    assert (store.folder / f"{KEY}.npz").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", fail)
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@posix
def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    write_atomically(tmp_path / "link", lambda file: file.write(b"new"))
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "link").read_text() == "new"
    assert not (tmp_path / "link").is_symlink()


@posix
def test_a_temporary_file_that_is_there_already_is_not_written_to(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    planted = tmp_path / ".planted"
    planted.symlink_to("mine")
    monkeypatch.setattr("bstudy.store.temporary_name", lambda path: planted)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_temporary_name_holds_host_process_and_a_random_part(tmp_path):
    one, other = temporary_name(tmp_path / "x.npz"), temporary_name(tmp_path / "x.npz")
    start = f".x.npz.{socket.gethostname()}.{os.getpid()}."
    assert one.name.startswith(start)
    assert other.name.startswith(start)
    assert len(one.name) == len(start) + 8
    assert one != other
    assert one.parent == tmp_path


@posix
def test_a_file_that_is_written_again_removes_what_a_killed_process_left(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    host, others = (
        socket.gethostname(),
        [".x.svg.other-host.1.0123abcd", f".y.svg.h.{ended.stdout.strip()}.0123abcd", ".x.svg"],
    )
    for name in (f".x.svg.{host}.{ended.stdout.strip()}.0123abcd", *others):
        (tmp_path / name).touch()
    write_atomically(tmp_path / "x.svg", lambda file: file.write(b"new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "x.svg"])


def test_only_temporary_files_of_ended_processes_or_old_ones_are_removed():
    store, here = Store(), socket.gethostname()
    store.folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = [f".{KEY}.npz.{here}.{os.getpid()}.0123abcd", f".{KEY}.npz.elsewhere.{ended.pid}.0123abcd"]
    kept += [
        f".{KEY}.npz.{here}.{10**20}.0123abcd",
        "notes.txt",
        ".notes",
        f"{KEY}.npz.{here}.{ended.pid}.0123abcd",
        f".notes.npz.{here}.{ended.pid}.0123abcd",
    ]
    removed = [f".{KEY}.npz.{here}.{ended.pid}.0123abcd", f".{OTHER}.npz.elsewhere.1.0123abcd"]
    for name in kept + removed:
        (store.folder / name).write_text("half")
    old = store.folder / removed[1]
    os.utime(old, (0, old.stat().st_mtime - 1.1 * DAY))
    store.remove_temporary_files()
    assert names(store) == sorted(kept)


@pytest.fixture
def holder():
    """holder(store, key) starts a process that holds a lock until its standard input ends."""
    started = []

    def start(store, key):
        command = [sys.executable, "-c", HOLD, str(store.folder.parent), key]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "True\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", ["killed", "released"])
def test_a_lock_belongs_to_one_key_and_ends_with_its_process(holder, end):
    store = Store()
    process = holder(store, KEY)
    with store.try_lock(KEY) as acquired, store.try_lock(OTHER) as other:
        assert not acquired
        assert other
    if end == "killed":
        process.kill()
    process.communicate()
    with store.try_lock(KEY) as acquired:
        assert acquired
    assert names(store) == []


def test_a_lock_that_cannot_be_written_is_acquired(tmp_path):
    (tmp_path / "file").write_text("")
    with Store(tmp_path / "file").try_lock(KEY) as acquired:
        assert acquired


def test_an_error_inside_a_lock_releases_it():
    store = Store()
    with contextlib.suppress(ZeroDivisionError), store.try_lock(KEY):
        raise ZeroDivisionError
    with store.try_lock(KEY) as acquired:
        assert acquired
