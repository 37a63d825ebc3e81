import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bstudy import Recipe, Runs, draw
from bstudy.errors import InvalidInput
from bstudy.stats import interval

PROGRAM = """
import io, sys, numpy as np
from bstudy import Recipe, Runs, draw
accuracy = np.linspace(0, 1, 12).reshape(2, 6) ** 2
runs = Runs(Recipe.sgd(64, 0.01, 5), [0, 1], {"test_accuracy": accuracy})
file = io.BytesIO()
with draw.style("page"):
    figure = draw.figure(lambda fig: draw.curve(fig.subplots(), runs, "test_accuracy"), "A finding.", "digits")
    for ending in ("svg", "png", "pdf"):
        draw.save(figure, ending, "ch01", file)
sys.stdout.buffer.write(file.getvalue())
"""


def runs(batch_size=64, **columns):
    return Runs(Recipe.sgd(batch_size, 0.01, 5), [0, 1, 2], columns)


def test_the_same_results_give_the_same_bytes_in_any_process():
    first, second = (subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout and len(first.stdout) > 3000
    assert all(begin in first.stdout for begin in (b"<svg", b"PNG", b"%PDF"))


def test_a_curve_is_the_mean_over_seeds_in_the_columns_unit():
    accuracy = np.random.default_rng(0).uniform(size=(3, 6))
    with draw.style("page"):
        figure = draw.figure(
            lambda fig: draw.curve(fig.subplots(), runs(test_accuracy=accuracy), "test_accuracy"), "T.", "d"
        )
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_ydata(), 100 * accuracy.mean(0))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "test accuracy (%)")
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    mean, half = interval(100 * accuracy)
    assert (band.min(), band.max()) == pytest.approx(((mean - half).min(), (mean + half).max()))
    assert figure.legends[0].get_texts()[0].get_text() == "64 at 0.01 for 5 epochs"


def test_a_figure_without_its_data_raises():
    with pytest.raises(KeyError, match="no column 'test_accuracy'"):
        draw.curve(Figure().subplots(), runs(test_loss=np.zeros((3, 6))), "test_accuracy")


def test_the_bytes_do_not_depend_on_what_was_written_before():
    def written(*endings):
        files = [io.BytesIO() for _ in endings]
        with draw.style("page"):
            fig = draw.figure(lambda fig: fig.subplots(2, 2)[0, 0].plot([1, 100]), "A finding.", "digits")
            for ending, file in zip(endings, files, strict=True):
                draw.save(fig, ending, "ch01", file)
        return files[-1].getvalue()

    assert written("png", "pdf", "svg") == written("svg")


@pytest.mark.parametrize("style", draw.STYLES)
@pytest.mark.parametrize("grid", [(1, 3), (2, 2)])
def test_all_text_is_inside_and_none_overlaps(style, grid):
    def several(fig):
        for axes in fig.subplots(*grid).ravel():
            for batch_size in (64, 256, 1024):
                distance = np.random.default_rng(batch_size).uniform(size=(3, 6))
                draw.curve(axes, runs(batch_size, weight_distance=distance), "weight_distance")

    with draw.style(style):
        figure = draw.figure(
            several, "A long finding that goes on and on, so that it does not fit in a line. " * 2, "digits"
        )
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes = [figure.legends[0].get_window_extent(renderer)]
        boxes += [text.get_window_extent(renderer) for text in figure.texts]
        boxes += [axes.get_tightbbox(renderer) for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.shrunk(0.98, 0.98).overlaps(other) for other in boxes[i + 1 :])


def test_batch_sizes_have_their_colours():
    assert [draw.colour(size).upper() for size in (64, 256, 1024)] == ["#E69F00", "#0072B2", "#CC79A7"]
    shades = [to_rgb(draw.colour(2**i)) for i in range(14)]
    assert all(np.abs(np.subtract(a, b)).max() > 0.05 for a, b in itertools.pairwise(shades))
    assert draw.colour(10**6).startswith("#")


def test_a_wrong_style_is_named():
    with pytest.raises(InvalidInput, match="no style 'glossy'; there are page, slide, dark"), draw.style("glossy"):
        pass


def test_ridges_histograms_and_heat_show_what_they_are_given():
    random = np.random.default_rng(0)
    ridges, histogram, heat = Figure().subplots(1, 3)
    draw.ridges(ridges, (1, 64), np.stack([random.normal(size=200), np.full(200, np.nan)]))
    (ridge,) = ridges.get_lines()  # the run that diverged has none
    assert abs(ridge.get_xdata()[np.argmax(ridge.get_ydata())]) < 0.5 and ridge.get_ydata().max() == pytest.approx(1.8)

    edges = np.array([-10.0, -1, -0.1, 0.1, 1, 10])
    draw.histogram(histogram, edges, np.array([0, 9, 0, 2, 0, 18, 0]), 64)
    (steps,) = histogram.patches
    np.testing.assert_allclose(steps.get_data().values * np.diff(steps.get_data().edges), [9, 2, 18])

    draw.heat(heat, {("64", "0.1"): (1.0, "one"), ("64", "1"): (np.nan, "two")}, "accuracy")
    assert [text.get_text() for text in heat.texts] == ["one", "diverged"]


def test_against_the_batch_size_a_logarithmic_axis_shows_the_interval_of_logarithms():
    values = np.exp(np.random.default_rng(0).normal(size=(3, 2)))
    for scale, there, back in (("log", np.log, np.exp), ("linear", np.array, np.array)):
        axes = Figure().subplots()
        draw.by_batch_size(axes, [1, 64], values, yscale=scale)
        mean, half = interval(there(values))
        np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), back(mean))
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == pytest.approx((back(mean - half).min(), back(mean + half).max()))


def test_a_curve_can_be_drawn_against_steps():
    axes, run = Figure().subplots(), runs(test_accuracy=np.zeros((3, 6)))
    run.samples = 130
    draw.curve(axes, run, "test_accuracy", clock="step")
    assert axes.get_lines()[0].get_xdata().tolist() == [0, 3, 6, 9, 12, 15] and axes.get_xlabel() == "step"
