import os

import numpy as np
import pytest

from bstudy.errors import BstudyError
from bstudy.store import Result, Store

KEY = "a" * 64


def result(share=1.0):
    columns = {"loss": np.arange(3, dtype=np.float32), "final": np.float32(2)}
    return Result(columns, {"weight_0": np.ones((2, 2))}, {"dataset": "tiny"}, share)


def same(a, b):
    np.testing.assert_equal(a.columns, b.columns)
    np.testing.assert_equal(a.state, b.state)
    return a.share == b.share


def test_what_is_written_is_read_again():
    store = Store()
    assert store.read(KEY) is None
    store.write(KEY, result(0.5))
    assert not store.read(KEY).complete
    store.write(KEY, result())
    assert same(store.read(KEY, state=True), result())
    assert store.read(KEY).complete and store.read(KEY).state == {}
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.npz"]
    store.remove(KEY)
    assert store.keys() == []


def test_no_damage_is_ever_taken_for_a_result(capsys):
    store = Store()
    store.write(KEY, result())
    path = store.folder / f"{KEY}.npz"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        found = store.read(KEY, state=True)
        assert found is None or same(found, result())
    store.write("b" * 64, result())
    of_another_key = (store.folder / f"{'b' * 64}.npz").read_bytes()
    for wrong in (b"", whole[:-1], whole[: len(whole) // 2], b"not a zip file", of_another_key):
        path.write_bytes(wrong)
        assert store.read(KEY, state=True) is None
        assert path.with_suffix(".damaged").read_bytes() == wrong
        told = capsys.readouterr().err
        assert ("damaged" if wrong != of_another_key else "another question") in told and "set aside as" in told
    store.write(KEY, result())
    assert same(store.read(KEY, state=True), result())


def test_an_entry_of_another_format_is_named_and_set_aside(monkeypatch, capsys):
    store = Store()
    monkeypatch.setattr("bstudy.store.FORMAT", 7)
    store.write(KEY, result())
    monkeypatch.undo()
    store = Store(store.folder.parent)
    assert store.read(KEY) is None and store.read(KEY) is None
    assert capsys.readouterr().err.count("A stored result is of format 7, and not 1: set aside as") == 1
    assert [path.suffix for path in store.folder.iterdir()] == [".damaged"]


def test_what_cannot_be_read_or_deleted_is_told():
    store = Store()
    (store.folder / f"{KEY}.npz").mkdir(parents=True)
    for act in (store.read, store.remove):
        with pytest.raises(BstudyError, match=r"aaa\.npz cannot be (read|deleted): "):
            act(KEY)


def test_a_failed_write_leaves_the_old_entry_and_keeps_the_new_one_in_memory(monkeypatch, capsys):
    store = Store()
    store.write(KEY, result(0.5))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store.write(KEY, result())
    assert "No space left on device" in capsys.readouterr().err
    assert store.read(KEY).complete
    assert not Store().read(KEY).complete
    assert len(list(store.folder.iterdir())) == 1


def test_bstudy_home_decides_the_folder(home):
    assert Store().folder == home / "results"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_files_have_the_permissions_that_the_user_asked_for():
    store = Store()
    before = os.umask(0o022)
    try:
        store.write(KEY, result())
    finally:
        os.umask(before)
    assert (store.folder / f"{KEY}.npz").stat().st_mode & 0o777 == 0o644
