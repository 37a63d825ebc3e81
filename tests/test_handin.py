"""A hand-in is measured again: equal, equal to rounding, or different, and where. It runs nothing of its own."""

import json
import shutil

import pytest

from bstudy import Lab
from bstudy.chapter import chapter
from bstudy.errors import InvalidInput
from bstudy.handin import Checker, find_files
from bstudy.models import MLP
from bstudy.report import build, write_json
from bstudy.store import Store

PARAMETERS = {"small_batch_size": 8, "large_batch_size": 32, "epochs": 2}
HOUR = 3600


@pytest.fixture(scope="module")
def lab(tiny, get_trainer, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bstudy.worker.make_trainer", get_trainer)
        yield Lab(tiny, 2, Store(tmp_path_factory.mktemp("home")), quiet=True, jobs=1)


@pytest.fixture(scope="module")
def page(lab):
    found = chapter(2)
    return build(found, found.parameters | PARAMETERS, lab)


@pytest.fixture
def handin(page, tmp_path):
    """handin(change) writes the file of a learner, whose JSON was changed by `change(record)`."""

    def write(change=lambda record: None, name="anna/ch02.json"):
        path = tmp_path / "class" / name
        write_json(path, page.record())
        record = json.loads(path.read_text(encoding="utf-8"))
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")
        return path

    return write


@pytest.fixture
def check(tiny, lab, page, home, shared_trainers):
    """check(path) checks a file where the results of `page` are stored."""
    shutil.copytree(lab.store.folder, home / "results")

    def run(path, limit=HOUR):
        return Checker(tiny, MLP, limit, quiet=True, jobs=1).check(path)

    return run


def first_run(record):
    return next(iter(record["runs"].values()))


def test_what_a_chapter_wrote_is_equal_to_the_bit(handin, check):
    checked = check(handin())
    assert (checked.outcome, checked.detail) == ("equal to the bit", "")
    assert checked.is_right
    assert checked.setting == ("chapter 2, small_batch_size=8, large_batch_size=32, epochs=2, tiny, 2 seeds")


def test_it_is_measured_again_if_it_is_not_stored(handin, check, home):
    shutil.rmtree(home / "results")
    assert check(handin()).outcome == "equal to the bit"


@pytest.mark.slow
def test_times_are_not_measured_again(check, tmp_path, tiny, lab):
    found = chapter(15)
    parameters = found.parameters | {"batch_sizes": (8, 32), "passes": 1}
    page = build(found, parameters, Lab(tiny, 1, Store(tmp_path / "learner"), quiet=True, jobs=1))
    write_json(tmp_path / "ch15.json", page.record())
    checked = check(tmp_path / "ch15.json", limit=1e-9)
    assert checked.outcome == "only times"
    assert checked.is_right


def test_it_is_not_measured_if_that_takes_too_long(handin, check, home):
    shutil.rmtree(home / "results")
    checked = check(handin(), limit=1e-9)
    assert checked.outcome == "not checked"
    assert "more than --limit" in checked.detail


def test_a_forged_number_does_not_follow_from_the_runs(handin, check):
    def forge(record):
        next(iter(record["tables"][0]["rows"][0]["cells"].values()))["value"] += 0.01

    checked = check(handin(forge))
    assert checked.outcome == "inconsistent"
    assert checked.detail.startswith("tables 1, rows 1, cells, ")


@pytest.mark.parametrize("part", ["answer", "headline", "question", "command"])
def test_a_forged_sentence_does_not_follow_from_the_runs(handin, check, part):
    checked = check(handin(lambda record: record.update({part: "All is well."})))
    assert checked.outcome == "inconsistent"
    assert '"All is well."' in checked.detail


def scale_a_column(factor, page, lab):
    """Return a change that forges a column, and all that follows from it."""
    from bstudy.report import judge, runs_from_record, to_jsonable

    def forge(record):
        entry = first_run(record)
        column = entry["columns"]["test_accuracy"]
        column[1][-1] *= factor
        runs = runs_from_record(page.chapter, record)
        forged = to_jsonable(judge(page.chapter, page.parameters, lab, runs).record())
        record.update({name: forged[name] for name in ("verdicts", "tables", "answer", "headline", "score", "runs")})

    return forge


@pytest.mark.parametrize(("factor", "outcome"), [(1.1, "different"), (1.0001, "equal to rounding")])
def test_a_forged_run_is_different_from_the_measured_one(handin, check, page, lab, factor, outcome):
    checked = check(handin(scale_a_column(factor, page, lab)))
    assert checked.outcome == outcome
    assert "test_accuracy of " in checked.detail
    assert "seed 1: " in checked.detail


def test_a_file_of_another_version_is_named(handin, check):
    checked = check(handin(lambda record: record["versions"].update(bstudy="0.0.1")))
    assert checked.outcome == "equal to the bit"
    assert "made by bstudy 0.0.1" in checked.detail


def swap_seeds(record):
    for name, column in first_run(record)["columns"].items():
        first_run(record)["columns"][name] = column[::-1]


def drop_a_seed(record):
    for run in record["runs"].values():
        run["columns"] = {name: column[:1] for name, column in run["columns"].items()}


BROKEN = {
    "its parameters": (lambda r: r["parameters"].update(epochs=3), "is not that of its chapter and parameters"),
    "an unknown parameter": (lambda r: r["parameters"].update(epoch=3), "has no parameter 'epoch'"),
    "a missing parameter": (lambda r: r["parameters"].pop("epochs"), "all parameters"),
    "a parameter of another type": (lambda r: r["parameters"].update(epochs=[2, {}]), "whole number"),
    "its chapter": (lambda r: r.update(chapter=3), "has no parameter"),
    "an unknown chapter": (lambda r: r.update(chapter=77), "no chapter 77"),
    "its data": (lambda r: r["dataset"].update(digest="0"), "not at hand; give them with --dataset"),
    "its model": (lambda r: r["model"].update(name="os:system"), "not at hand; give it with --model"),
    "its code": (lambda r: r["model"].update(digest="0"), "not at hand; give it with --model"),
    "its seeds": (lambda r: r.update(seeds=[0, 1, 2]), "a row for each seed"),
    "seeds that are no numbers": (lambda r: r.update(seeds=["0"]), "whole numbers"),
    "a column's type": (lambda r: first_run(r)["dtypes"].update(test_accuracy="O"), "unknown type"),
    "a column of other types": (lambda r: first_run(r)["columns"].update(test_accuracy=["a"]), "damaged"),
    "its rows": (drop_a_seed, "a row for each seed"),
    "all runs": (lambda r: r.update(runs={}), "it has no run"),
    "no runs": (lambda r: r.pop("runs"), "no page of a chapter"),
    "another program's": (lambda r: r.update(note="mine"), "not written by 'bstudy chapter'"),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_file_of_mixed_or_unknown_parts_is_named(handin, check, change, reason):
    checked = check(handin(change))
    assert checked.outcome == "not checked"
    assert reason in checked.detail


def test_a_missing_column_is_noticed(handin, check):
    checked = check(handin(lambda record: first_run(record)["columns"].pop("test_accuracy")))
    assert not checked.is_right
    assert checked.detail


def test_the_runs_of_other_seeds_are_noticed(handin, check):
    assert not check(handin(swap_seeds)).is_right


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe{}", b"[]", b'{"note": 1}'])
def test_a_file_that_is_no_hand_in_is_named(check, tmp_path, content):
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    assert check(path).detail.startswith(("it is no JSON file", "it was not written by"))


def test_a_folder_is_searched_for_its_files(handin, tmp_path):
    paths = [handin(name=name) for name in ("ben/ch02.json", "anna/ch02.json")]
    assert find_files([tmp_path / "class"]) == sorted(paths)
    assert find_files(paths) == paths
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="empty has no JSON files"):
        find_files([tmp_path / "empty"])
    with pytest.raises(InvalidInput, match="does not exist"):
        find_files([tmp_path / "none.json"])
