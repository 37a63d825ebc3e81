"""Results go from one store to another in a file, which is verified."""

import contextlib
import zipfile

import numpy as np
import pytest

from bstudy import Lab, Recipe
from bstudy.errors import BstudyError
from bstudy.exchange import describe, export_results, load_results
from bstudy.store import Result, Store

KEYS = ["a" * 64, "b" * 64]


def example(scale=1.0):
    return Result({"loss": scale * np.arange(4.0)}, {"weight_0": np.ones((3, 2), np.float32)}, {"label": "√2"})


@pytest.fixture
def lecturer(tmp_path):
    store = Store(tmp_path / "lecturer")
    for number, key in enumerate(KEYS):
        store.write(key, example(number))
    store.write("c" * 64, Result({"loss": np.zeros(1)}, progress=0.5))
    return store


@pytest.fixture
def learner(tmp_path):
    return Store(tmp_path / "learner")


@pytest.mark.parametrize("with_weights", [False, True])
def test_a_learner_has_the_complete_results_of_the_lecturer(lecturer, learner, tmp_path, with_weights):
    path = tmp_path / "results.zip"
    count, size = export_results(lecturer, lecturer.keys(), path, with_weights)
    assert (count, size) == (2, path.stat().st_size)
    assert describe(path)[0] == 2
    assert load_results(learner, path) == (2, 0)
    assert learner.keys() == KEYS
    for key in KEYS:
        expected = lecturer.read(key, state=True)
        np.testing.assert_array_equal(learner.read(key).columns["loss"], expected.columns["loss"])
        assert learner.read(key).metadata == expected.metadata
        found = learner.read(key, state=True)
        if with_weights:
            np.testing.assert_array_equal(found.state["weight_0"], expected.state["weight_0"])
        else:
            assert found is None  # nothing can be resumed from it
    assert load_results(learner, path) == (0, 2)


def test_a_training_continues_from_results_without_weights_by_training_again(
    tiny, small_model, shared_trainers, tmp_path
):
    recipe, path = Recipe.sgd(8, 0.1, 1), tmp_path / "results.zip"
    labs = [Lab(tiny, 1, Store(tmp_path / name), quiet=True, model=small_model, jobs=1) for name in ("one", "two")]
    first = labs[0].run({"run": recipe})["run"]
    export_results(labs[0].store, labs[0].store.keys(), path)
    load_results(labs[1].store, path)
    assert labs[1].missing({"run": recipe}) == (0, 0)
    longer = labs[1].run({"run": recipe.then(learning_rate=0.2)})["run"]
    np.testing.assert_array_equal(longer["loss"][:, : first["loss"].shape[1]], first["loss"])


def damage(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_file_is_refused_and_changes_no_result(lecturer, learner, tmp_path):
    path = tmp_path / "results.zip"
    _, size = export_results(lecturer, lecturer.keys(), path)
    for at in range(40, size - 200, size // 15):
        export_results(lecturer, lecturer.keys(), path)
        damage(path, at)
        with contextlib.suppress(BstudyError):
            load_results(learner, path)
        for key in KEYS:
            if learner.progress(key) < 1:
                continue
            np.testing.assert_array_equal(learner.read(key).columns["loss"], lecturer.read(key).columns["loss"])


@pytest.mark.parametrize("name", ["../../outside.npz", f"{'a' * 64}.npz/..", "a.npz"])
def test_a_file_with_other_names_is_refused(learner, tmp_path, name):
    path = tmp_path / "results.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"1")
        archive.comment = b"written by bstudy, which may replace this file"
    with pytest.raises(BstudyError, match="has no results in it"):
        load_results(learner, path)


def test_an_entry_under_another_key_is_refused(lecturer, learner, tmp_path):
    path, other = tmp_path / "results.zip", tmp_path / "other.zip"
    export_results(lecturer, KEYS[:1], path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as changed:
        changed.writestr(f"{KEYS[1]}.npz", archive.read(f"{KEYS[0]}.npz"))
        changed.comment = archive.comment
    with pytest.raises(BstudyError, match="belongs to another key"):
        load_results(learner, other)
    assert learner.keys() == []


def test_a_file_that_is_no_archive_is_refused(learner, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no results")
    with pytest.raises(BstudyError, match="has no results in it"):
        describe(path)
    with pytest.raises(BstudyError, match="does not exist"):
        describe(tmp_path / "none.zip")


def test_the_users_own_file_is_not_replaced(lecturer, tmp_path):
    path = tmp_path / "thesis.zip"
    path.write_bytes(b"my thesis")
    with pytest.raises(BstudyError, match="was not written by bstudy"):
        export_results(lecturer, KEYS, path)
    assert path.read_bytes() == b"my thesis"
