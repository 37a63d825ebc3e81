"""What a page reports, as data: tables, published numbers, digits, JSON, and the files of a page."""

import json
import os

import matplotlib
import numpy as np
import pytest

from bstudy import Recipe, Runs, leaves, map_leaves, plots, report, terminal
from bstudy.chapter import chapter
from bstudy.errors import BstudyError
from bstudy.models import MLP, find_model
from bstudy.store import MARK
from bstudy.tables import build_cell

ADAM = Recipe.adam(64, 0.01, 30)


class MadeUpLab:
    """Takes the place of a Lab: its results are random."""

    def __init__(self, dataset, seeds=3, model=MLP, layers=3):
        self.dataset, self.seeds, self.model, self.layers = dataset, range(seeds), model, layers

    def run(self, experiments):
        return map_leaves(self.make_up, experiments)

    def make_up(self, recipe):
        random, seeds = np.random.default_rng(recipe.batch_size), len(self.seeds)
        names = ("test_accuracy", "test_loss", "train_subset_accuracy", "train_subset_loss")
        names += ("weight_distance", "bias_distance", "weight_norm", "unused")
        columns = {name: random.normal(90, 1, (seeds, recipe.epochs + 1)).astype(np.float32) for name in names}
        columns |= {
            "cosines": random.uniform(size=(seeds, recipe.epochs + 1, self.layers)),
            "layer_norms": np.ones((seeds, 31, self.layers)),
        }
        metadata = [{"bstudy": "0.2", "device": "CPU", "threads": 2}] * seeds
        return Runs(recipe, self.seeds, columns, np.zeros(seeds), metadata, samples=len(self.dataset.x_train))


@pytest.fixture
def as_mnist(tiny, monkeypatch):
    """The tiny data set, which the published numbers are taken to be about."""
    monkeypatch.setattr("bstudy.data.MNIST_DIGEST", tiny.digest)
    return tiny


def build(number, dataset, seeds=3, model=MLP, layers=3, **changes):
    found = chapter(number)
    return report.build(found, found.parameters | changes, MadeUpLab(dataset, seeds, model, layers))


def as_json(page):
    return json.loads(report.to_json(page.record()))


def find_cell(page, label, column):
    """Return the cell of the run with this label, in the JSON of a page."""
    rows = [row for table in as_json(page)["tables"] for row in table["rows"]]
    return next(row["cells"][column] for row in rows if row["label"] == label)


def test_published_numbers_are_next_to_the_measured_ones_on_their_data(as_mnist):
    page = build(11, as_mnist)
    measured = float(page.runs["Adam"].final("weight_distance", over=1).astype(float).mean())
    cell = find_cell(page, str(ADAM), "weight_distance")
    assert cell["value"] == measured
    assert cell["published"] == 254.3
    assert cell["difference"] == measured - 254.3
    assert cell["published_text"] == f"254.3 ({measured - 254.3:+.2f})"
    assert [each.published for each in page.claims if each.published] == [254.3 / 6.71, 3, 18.3 / 0.11]


def test_the_rows_of_changed_recipes_have_no_published_numbers(as_mnist):
    page = build(11, as_mnist, learning_rate=0.02)
    assert find_cell(page, str(Recipe.adam(64, 0.02, 30)), "weight_distance")["published"] is None
    assert {each.published for each in page.claims} == {None}


def test_other_data_and_models_have_no_published_numbers(tiny, as_mnist, monkeypatch):
    assert find_cell(build(11, as_mnist, model=find_model("cnn")), str(ADAM), "weight_distance")["published"] is None
    monkeypatch.undo()
    assert find_cell(build(11, tiny), str(ADAM), "weight_distance")["published"] is None
    assert {each.published for each in build(11, tiny).claims} == {None}


def test_the_json_has_the_distances_and_cosines_of_the_table(tiny):
    page = build(12, tiny)
    table = as_json(page)["tables"][0]
    assert list(table["headings"].values())[:3] == ["‖Δw‖", "‖Δb‖", "‖w‖"]
    assert [row["role"] for row in table["rows"]] == ["small batch", "large batch", "larger steps", "more epochs", ""]
    lab_run = MadeUpLab(tiny).make_up(Recipe.sgd(64, 0.01, 30))
    cells = table["rows"][0]["cells"]
    assert cells["weight_distance"]["value"] == lab_run.final("weight_distance", over=1).astype(float).mean()
    assert cells["cosine, layer 3"]["value"] == lab_run.final("cosines", over=1)[:, 2].mean()
    assert cells["test_accuracy"]["half_width"] > 0


def test_the_json_is_the_same_if_the_page_was_printed_first(tiny, tmp_path, capsys):
    written_first, printed_first = build(12, tiny), build(12, tiny)
    (first,) = report.write(written_first, tmp_path / "first", (), "page")
    terminal.show(printed_first, [])
    (second,) = report.write(printed_first, tmp_path / "second", (), "page")
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_bytes()) == {"note": MARK} | as_json(written_first)
    assert len(capsys.readouterr().out) > 1000


def test_the_json_has_the_columns_that_the_page_reads_and_no_others(tiny):
    columns = as_json(build(12, tiny))["runs"]["Adam"]["columns"]
    assert "layer_norms" in columns
    assert "unused" not in columns


def test_runs_are_read_back_from_the_json(tiny):
    page = build(12, tiny)
    again = leaves(report.runs_from_record(page.chapter, as_json(page)))
    assert list(again) == list(leaves(page.runs))
    for path, run in leaves(page.runs).items():
        assert again[path].experiment == run.experiment
        assert again[path].samples == 50
        for name, column in run.columns.items():
            np.testing.assert_array_equal(again[path][name], column)
            assert again[path][name].dtype == column.dtype


def test_the_json_names_versions_and_machine(tiny):
    record = as_json(build(11, tiny))
    assert record["versions"]["bstudy"] == "0.2"
    assert record["versions"]["matplotlib"] == matplotlib.__version__
    assert record["measured_on"] == {"device": ["CPU"], "threads": [2]}


def test_a_page_names_the_machines_if_they_matter(tiny, monkeypatch, capsys):
    page = build(12, tiny)
    assert page.machines == ""
    for run in leaves(page.runs).values():
        run.metadata = tuple({**each, "cpu": f"CPU {number % 2}"} for number, each in enumerate(run.metadata))
    several = "2 types of machine, whose last bits may differ, measured these runs: CPU 0; CPU 1."
    assert page.machines == as_json(page)["machines"] == several
    for run in leaves(page.runs).values():
        monkeypatch.setattr(type(run.experiment), "EXCLUSIVE", True)
    assert page.machines == f"Time and memory were measured on CPU 0; CPU 1. {several}"
    terminal.show(page, [])
    assert page.machines in " ".join(capsys.readouterr().out.split())


def test_a_page_names_its_setting_and_its_command(tiny):
    page = build(11, tiny, seeds=1, model=find_model("cnn"), epochs=3)
    assert page.setting == "on tiny (50 training and 20 test samples), model cnn, epochs=3, seed 0: no interval"
    assert page.command == "bstudy chapter 11 --epochs 3"
    assert build(11, tiny).setting.endswith("3 seeds: mean ± 95 % interval")


@pytest.mark.parametrize("layers", [1, 2, 4, 9])
def test_a_model_may_have_any_number_of_layers(tiny, layers):
    page = build(12, tiny, layers=layers)
    with plots.style("page"):
        rows = [tick.get_text() for tick in page.draw().axes[0].get_yticklabels()]
    assert rows == [f"layer {layer + 1}" for layer in range(layers)]
    cells = as_json(page)["tables"][0]["rows"][0]["cells"]
    assert [name for name in cells if "cosine" in name] == [f"cosine, layer {layer + 1}" for layer in range(layers)]
    assert np.isfinite([each.estimate for each in page.claims]).all()


def test_a_diverged_number_is_a_dash():
    cell = build_cell("test_accuracy", np.array([97.0, np.nan]), None)
    assert cell.text == "–"
    assert np.isnan(cell.value)
    assert build_cell("test_accuracy", np.array([97.0]), None).text == "97.00"


def test_json_is_strict_and_returns_every_number():
    value = {
        "a": [1, 2.5, float("nan"), float("-inf")],
        "b": {"c": np.float32([[0.1], [2]]), "d": 'x"é√'},
        "e": [],
        "f": [{"g": 1}],
        3: {},
    }
    text = report.to_json(value)
    read = json.loads(text)
    assert read == report.to_jsonable(value)
    assert list(read) == ["a", "b", "e", "f", "3"]
    assert np.float32(read["b"]["c"][0][0]) == np.float32(0.1)
    np.testing.assert_array_equal(np.array(read["a"], float), value["a"])
    assert text.splitlines()[1] == ' "a": [1,2.5,null,"-inf"],'


def test_the_files_of_a_page_have_its_name_and_replace_old_ones(tiny, tmp_path):
    (tmp_path / "ch11.png").write_bytes(b"")
    report.write(build(11, tiny, epochs=3), tmp_path, ("png", "svg", "pdf"), "page")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    paths = report.write(build(11, tiny), tmp_path, ("png", "svg", "pdf"), "slide")
    assert not [path.name for path in paths if path.read_bytes() == before[path.name]]
    assert [path.name for path in paths] == ["ch11.png", "ch11.svg", "ch11.pdf", "ch11.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert json.loads(paths[-1].read_text(encoding="utf-8"))["chapter"] == 11


@pytest.mark.parametrize("name", ["ch11.png", "ch11.json"])
def test_a_file_of_the_user_is_not_replaced(tiny, tmp_path, name):
    mine = tmp_path / name
    mine.write_text('{"chapter": 11, "note": "made with bstudy"}')
    with pytest.raises(
        BstudyError, match=f"{name} was not written by bstudy, which does not replace it; move it, or w"
    ):
        report.check_files([tmp_path / "ch11.svg", mine])
    with pytest.raises(BstudyError, match="was not written by bstudy"):
        report.write(build(11, tiny), tmp_path, ("png",), "page")
    assert mine.read_text() == '{"chapter": 11, "note": "made with bstudy"}'


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/null", path)])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    make(tmp_path / "x.json")
    with pytest.raises(BstudyError, match=r"x\.json cannot be replaced: it is not a regular file"):
        report.check_files([tmp_path / "x.json"])


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_a_link_to_another_file_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "x.json").symlink_to("mine.txt")
    with pytest.raises(BstudyError, match="was not written by bstudy"):
        report.write_json(tmp_path / "x.json", {"a": 1})
    report.write_json(tmp_path / "ours.json", {"a": 1})
    before = (tmp_path / "ours.json").read_text()
    (tmp_path / "y.json").symlink_to("ours.json")
    report.write_json(tmp_path / "y.json", {"a": 2})
    assert (tmp_path / "ours.json").read_text() == before
    assert not (tmp_path / "y.json").is_symlink()


def test_a_full_disk_ends_in_a_sentence_and_keeps_the_old_files(tiny, tmp_path, monkeypatch):
    report.write(build(11, tiny), tmp_path, ("png", "svg", "pdf"), "page")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for ending in ("png", "svg", "pdf"):
        with pytest.raises(BstudyError, match="cannot be written to: No space left on device"):
            report.write(build(11, tiny), tmp_path, (ending,), "page")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_to_is_named(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BstudyError, match="file/out cannot be written to: Not a directory"):
        report.check_files([tmp_path / "file" / "out" / "x.txt"])
    with pytest.raises(BstudyError, match="file cannot be written to: "):
        report.write_text(tmp_path / "file" / "x.txt", "text")


def test_checking_files_creates_nothing(tmp_path):
    report.check_files([tmp_path / "new" / "out" / "x.txt"])
    assert os.listdir(tmp_path) == []
