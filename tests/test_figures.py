"""The figures that are kept, and those drawn from the store: what is drawn is what was measured, and all of it."""

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bstudy import Lab, book
from bstudy.cli import main
from bstudy.store import Result

KEPT = sorted((Path(__file__).parents[1] / "figures").glob("ch*.json"))
ABOUT = dict.fromkeys(("bstudy", "python", "tensorflow", "keras", "device", "machine"), "made up") | {"threads": 2}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_figure_is_drawn_again_from_its_numbers(path, redrawn):
    record = json.loads(path.read_text())
    drawn_with = record["versions"]["matplotlib"]
    if drawn_with != matplotlib.__version__:
        pytest.skip(f"drawn with matplotlib {drawn_with}; this is {matplotlib.__version__}")
    if not all("dtypes" in run for run in record["runs"].values()):
        pytest.skip("its json does not say the columns' dtypes: draw it again with 'bstudy figures'")
    assert redrawn(record) == path.with_suffix(".svg").read_bytes()
    assert path.stat().st_size < 500_000


@pytest.fixture
def second(home):
    """Made-up results, as if chapter 2 had been run on digits, in the store of the test."""
    lab, random = Lab("digits", seeds=3), np.random.default_rng(0)
    for experiment in book.chapter(2).module.experiments().values():
        for seed in range(3):
            columns = {name: random.uniform(size=31) for name in ("test_accuracy", "train_accuracy")}
            lab.store.write(experiment.key(lab.dataset, seed), Result(columns, {}, ABOUT, 1.0))
    return home


def test_what_is_stored_is_drawn_and_of_the_rest_it_says_how_it_is_measured(second, bstudy, tmp_path):
    done = bstudy("figures", "--style", "slide")
    assert done.returncode == 1 and done.stdout.split() == [f"bstudy-out/ch02.{end}" for end in ("png", "svg", "json")]
    told = done.stderr.splitlines()
    assert told[0] == "bstudy: chapter 1: 3 results are not measured yet; measure with: bstudy chapter 1"
    assert len(told) == len(book.chapters()) and told[-1] == f"bstudy: {len(told) - 1} figures are missing"
    assert Image.open(tmp_path / "bstudy-out/ch02.png").size == (1920, 1080)


def test_the_command_that_measures_names_the_data_the_seeds_and_what_is_set(second, tiny_file, tmp_path):
    def told(*words):
        return CliRunner().invoke(main, ["figures", "--out", str(tmp_path / "out"), *words]).stderr.splitlines()

    lines = told("--dataset", str(tiny_file), "--seeds", "2")
    assert "chapter 1: batch_size 64 is larger than the training set of tiny, which has 50 samples" in lines[0]
    lines = told("--model", "cnn")
    assert lines[1] == "bstudy: chapter 2: 9 results are not measured yet; measure with: bstudy chapter 2 --model cnn"
    lines = told("--seeds", "4", "--set", "trials=9")
    assert lines[1] == "bstudy: chapter 2: 3 results are not measured yet; measure with: bstudy chapter 2 --seeds 4"
    assert lines[3].endswith("measure with: bstudy chapter 4 --set trials=9 --seeds 4")
    assert "--set 'trial=9' names nothing that can be set" in told("--set", "trial=9")[0]


def test_where_all_is_stored_it_succeeds_without_tensorflow(second, tmp_path, monkeypatch):
    for library in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, library, None)
    only = [book.chapter(2)]
    monkeypatch.setattr(book, "chapters", lambda: only)
    done = CliRunner().invoke(main, ["figures", "--out", str(tmp_path / "out"), "--format", "pdf"])
    assert (done.exit_code, done.stderr, len(done.stdout.split())) == (0, "", 2), done
