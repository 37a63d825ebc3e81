"""The printed page: it shows every part of a report, and fits on a narrow terminal."""

import numpy as np
import pytest

from bstudy import Runs, claim, map_leaves, report, terminal
from bstudy.chapter import chapter
from bstudy.claims import MARKS
from bstudy.models import MLP
from bstudy.tables import Cell, Row, Table


@pytest.fixture
def make_page(tiny, monkeypatch):
    """make_page(number) returns the report of a chapter of Recipes with made-up results, as if they were on MNIST."""
    monkeypatch.setattr("bstudy.data.MNIST_DIGEST", tiny.digest)

    def make_up(recipe):
        random = np.random.default_rng(recipe.batch_size)
        names = ("test_accuracy", "test_loss", "train_subset_accuracy", "train_subset_loss")
        names += ("weight_distance", "bias_distance", "weight_norm")
        columns = {name: random.normal(90, 1, (3, recipe.epochs + 1)) for name in names}
        columns |= {name: random.uniform(size=(3, recipe.epochs + 1, 3)) for name in ("cosines", "layer_norms")}
        return Runs(recipe, range(3), columns, np.zeros(3), [{}] * 3, samples=50)

    class MadeUpLab:
        dataset, model, seeds, run = tiny, MLP, range(3), staticmethod(lambda tree: map_leaves(make_up, tree))

    def make(number):
        return report.build(chapter(number), chapter(number).parameters, MadeUpLab)

    return make


@pytest.fixture
def printed(capsys, monkeypatch):
    """printed(page, paths=(), width=100) returns the lines that `show` prints on a terminal of this width."""

    def show(page, paths=(), width=100):
        monkeypatch.setenv("COLUMNS", str(width))
        terminal.show(page, list(paths))
        return capsys.readouterr().out.splitlines()

    return show


def squeezed(lines):
    return " ".join(" ".join(lines).split())


def test_a_page_shows_the_text_the_numbers_and_the_verdicts(make_page, printed):
    page = make_page(12)
    text = squeezed(printed(page))
    assert text.startswith(f"Chapter 12 · IV. Adam {page.chapter.question} ")
    assert f"Measured {page.setting}" in text
    positions = [text.index(f" {part} ") for part in ("Idea", "Experiment", "Answer", "Measured", "Explanation")]
    assert positions == sorted(positions)
    assert all(part in text for part in ("In practice", "Exercises", "Sources"))
    assert page.answer in text
    for row in page.tables[0].rows:
        assert row.label.split(",")[0] in text
        for cell in row.cells.values():
            assert cell.text in text
            assert cell.published_text in text
    for found in page.claims:
        assert found.mark in text
        assert found.claim.split(" (")[0] in text
    assert "published (difference)" in text
    assert "small_batch_size=64 large_batch_size=1024" in text
    assert "'bstudy chapter 12 --help' explains the parameters." in text


@pytest.mark.parametrize("width", [0, 20, 40, 60, 80, 200])
def test_a_page_fits_on_the_terminal_and_shows_all_numbers_on_any(make_page, printed, width):
    page = make_page(12)
    lines = printed(page, width=width)
    assert max(map(len, lines)) <= min(max(width, terminal.MIN_WIDTH), 100)
    assert [line for line in lines if "…" in line] == []
    cells = [cell for table in page.tables for row in table.rows for cell in row.cells.values()]
    assert all(cell.text in squeezed(lines) for cell in cells)


def test_all_evidence_is_printed(make_page, printed):
    page = make_page(2)
    text = squeezed(printed(page))
    assert all(found.evidence in text for found in page.claims)
    assert "; published 2.5" in text


def test_paths_are_on_one_line_so_that_they_can_be_copied(make_page, printed, tmp_path):
    paths = [tmp_path / f"a folder/{name * 20}.svg" for name in "abc"]
    last = printed(make_page(2), paths, width=60)[-1]
    assert last == f"Files  {'  '.join(map(str, paths))}"


def test_a_missing_number_is_a_dash(capsys):
    table = Table({"a": "A", "b": "B"}, [Row("", "one", {"a": Cell(1, 0.1, "1.0 ± 0.1")})])
    (part,) = terminal.tables(table)
    terminal.Console(width=80).print(part)
    assert "one 1.0 ± 0.1 –" in squeezed(capsys.readouterr().out.splitlines())


def test_every_outcome_has_a_mark_and_a_color():
    found = {claim("c", values, above=0).outcome for values in ([1.0, 1.1], [-1.0, -1.1], [1.0], [np.nan, 1.0])}
    assert found == set(MARKS) == set(terminal.COLORS)


def test_solutions_are_printed_if_asked_for(make_page, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    page = make_page(2)
    terminal.show(page, [])
    without = squeezed(capsys.readouterr().out.splitlines())
    terminal.show(page, [], solutions=True)
    with_solutions = squeezed(capsys.readouterr().out.splitlines())
    for exercise in page.chapter.text.exercises:
        words = exercise.solution.split("`")[0].split()[:6]
        assert " ".join(words) in with_solutions
        assert " ".join(words) not in without
    assert "--solutions" in without
    assert "--solutions" not in with_solutions
