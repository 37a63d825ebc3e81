"""A figure in words and as tables: of drawings made here, and of all figures of the book, from their JSON."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bstudy import Drawing, Runs, draw, plots, report
from bstudy.chapter import chapter
from bstudy.drawing import LONG_ROWS, WIDE_ROWS, data, describe

FIGURES = sorted((Path(__file__).parents[1] / "figures").glob("ch*.json"))


def drawn(draw_panels):
    with plots.style("page"):
        return plots.make_figure(draw_panels, "It rises.", "digits")


def two_panels(figure):
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [10, 20], color="C0", label="rises")
    left.plot([1, 2], [0.5, 0.5], ":", color="C0")
    left.axvline(1.5, label="the middle")
    left.set(title="panel", xlabel="epoch", ylabel="loss")
    right.plot([1, 2, 4], [3, np.nan, 1], color="C0")
    right.set(xlabel="step")


def test_a_figure_is_described_by_its_numbers():
    assert describe(drawn(two_panels)) == (
        "It rises. panel: loss against epoch; rises: 10 to 20, rises, dotted: 0.5, the middle: 1.5. "
        "panel 2: loss against step; rises: 3 to 1."
    )


def test_lines_at_the_same_places_share_a_table():
    left, right = data(drawn(two_panels))
    assert left.panel == "panel: loss"
    assert left.headings == ("epoch", "rises", "rises, dotted")
    assert left.rows == [("1", "10", "0.5"), ("2", "20", "0.5")]
    assert right.headings == ("step", "rises")
    assert right.rows == [("1", "3"), ("2", "–"), ("4", "1")]


def test_lines_at_different_places_are_rows_and_long_lines_are_thinned():
    def draw_panels(figure):
        axes = figure.subplots()
        axes.plot(np.arange(101), np.arange(101), label="long")
        axes.plot([0, 1], [5, 6], label="short")

    (table,) = data(drawn(draw_panels))
    assert [row[0] for row in table.rows] == ["long"] * LONG_ROWS + ["short"] * 2
    assert table.rows[0] == ("long", "0", "0")
    assert table.rows[LONG_ROWS - 1] == ("long", "100", "100")
    (table,) = data(drawn(lambda figure: figure.subplots().plot(np.arange(101))))
    assert len(table.rows) == WIDE_ROWS


def test_several_lines_of_one_name_are_described_by_their_ends():
    def draw_panels(figure):
        axes = figure.subplots()
        for end in (3, 4, 5):
            axes.plot([0, 1], [0, end], color="C1", label="seeds" if end == 3 else None)

    assert "seeds: 3 lines that end from 3 to 5." in describe(drawn(draw_panels))


def test_a_run_without_a_finite_value_is_described():
    assert "no finite value" in describe(drawn(lambda figure: figure.subplots().plot([0, 1], [np.nan] * 2, label="a")))


def test_a_panel_with_names_on_its_y_axis_has_its_numbers_on_the_other():
    def draw_panels(figure):
        axes = figure.subplots()
        axes.plot([2.5, 3.5], [0.1, 0.9], "o", color="C0", label="SGD")
        axes.set_yticks([0, 1], labels=["layer 1", "layer 2"])
        axes.set(xlabel="norm")

    figure = drawn(draw_panels)
    assert describe(figure) == "It rises. panel 1: norm; SGD: 2.5 to 3.5."
    assert data(figure)[0].rows == [("SGD", "layer 1", "2.5"), ("SGD", "layer 2", "3.5")]


def test_distributions_are_described_by_their_percentiles():
    samples = np.linspace(0, 100, 101)[None]
    (table,) = data(drawn(lambda figure: plots.ridges(figure.subplots(), [64], samples)))
    assert table.headings == ("B =", "5 %", "median", "95 %")
    assert table.rows == [("64", "5", "50", "95")]


def test_a_heatmap_has_its_cells():
    cells = {("0.1", "64"): (1.0, "1.0"), ("0.1", "256"): (np.nan, "")}
    figure = drawn(lambda figure: plots.heatmap(figure.subplots(), cells, "loss"))
    assert "loss 0.1: 64 1.0, 256 diverged" in describe(figure)
    assert len(data(figure)) == 1  # none of the color bar


def redraw(path):
    """Return a figure of the book, drawn again from its JSON."""
    record = json.loads(path.read_text(encoding="utf-8"))
    found = chapter(record["chapter"])
    runs = report.runs_from_record(found, record)
    figure = Figure()  # without the layout, which takes a second
    with plots.style("page"), warnings.catch_warnings(action="ignore"):
        found.module.figure(runs, figure)
    figure.suptitle(record["headline"])
    return figure


EACH = [pytest.param(path, marks=[pytest.mark.slow] * (number % 3 > 0)) for number, path in enumerate(FIGURES)]


@pytest.mark.parametrize("path", EACH, ids=lambda path: path.stem)
def test_every_figure_of_the_book_has_its_numbers_in_words_and_in_tables(path):
    figure = redraw(path)
    words, tables = describe(figure), data(figure)
    panels = words.removeprefix(figure.get_suptitle().replace("\n", " "))
    count = len([axes for axes in figure.axes if axes.get_label() != "<colorbar>"])
    assert panels.count("; ") >= count  # each panel has numbers
    assert "no finite value" not in words
    assert len(tables) == count
    for table in tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.headings)}
        assert "values" not in table.panel


def test_a_notebook_shows_a_drawing_with_alt_text_and_numbers():
    runs = Runs("<b>one</b>", range(2), {"loss": np.ones((2, 3))}, np.zeros(2))

    def figure(runs, fig):
        fig.subplots().plot(runs["loss"].mean(axis=0), label=str(runs.experiment))

    drawing = draw(figure, runs, "A <i>title</i>", "on digits")
    assert isinstance(drawing, Drawing)
    html = drawing._repr_html_()
    assert 'src="data:image/png;base64,' in html
    assert "&lt;b&gt;one&lt;/b&gt;: 1" in html
    assert "A &lt;i&gt;title&lt;/i&gt;" in html
    assert "<b>one" not in html
    assert "<summary>The numbers of the figure</summary>" in html
