"""The look of the figures: curves, bands, colors, a layout without overlaps, and files of the same bytes each time."""

import io
import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from bstudy import Recipe, Runs, plots
from bstudy.errors import InvalidInput
from bstudy.stats import confidence_interval


def make_runs(batch_size=64, samples=None, diverged=False, **columns):
    return Runs(Recipe.sgd(batch_size, 0.01, 5), [0, 1, 2], columns, [diverged] * 3, samples=samples)


def band(axes):
    """Return the lowest and the highest point of the band in these axes."""
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    return heights.min(), heights.max()


def test_a_curve_is_the_mean_over_seeds_with_its_interval():
    accuracy = np.random.default_rng(0).uniform(90, 99, size=(3, 6))
    axes = Figure().subplots()
    plots.curve(axes, make_runs(test_accuracy=accuracy), "test_accuracy")
    (line,) = axes.get_lines()
    mean, half = confidence_interval(accuracy)
    np.testing.assert_allclose(line.get_ydata(), mean)
    assert band(axes) == pytest.approx(((mean - half).min(), (mean + half).max()))
    assert line.get_label() == "64 at 0.01 for 5 epochs"
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "test accuracy (%)"


def test_a_curve_can_be_drawn_against_steps():
    axes = Figure().subplots()
    plots.curve(axes, make_runs(samples=130, test_loss=np.zeros((3, 6))), "test_loss", x="step")
    assert axes.get_lines()[0].get_xdata().tolist() == [0, 3, 6, 9, 12, 15]
    assert axes.get_xlabel() == "step"


def test_a_curve_can_show_only_the_last_epochs():
    axes = Figure().subplots()
    plots.curve(axes, make_runs(test_loss=np.tile(np.arange(6.0), (3, 1))), "test_loss", last_epochs=2)
    assert axes.get_lines()[0].get_ydata().tolist() == [3, 4, 5]
    assert axes.get_xlabel() == "epoch of the last 2"


def test_a_curve_without_its_column_raises():
    with pytest.raises(KeyError, match="no column 'test_accuracy'"):
        plots.curve(Figure().subplots(), make_runs(test_loss=np.zeros((3, 6))), "test_accuracy")


def test_curves_of_one_color_have_different_dashes():
    axes = Figure().subplots()
    for _ in range(2):
        plots.curve(axes, make_runs(test_loss=np.ones((3, 6))), "test_loss")
    first, second = axes.get_lines()
    assert first.get_color() == second.get_color()
    assert first.get_linestyle() != second.get_linestyle()


def test_a_diverged_run_is_labelled_so():
    assert plots.label(make_runs(diverged=True)) == "64 at 0.01 for 5 epochs, diverged in 3 of 3"


def test_distances_have_the_names_of_norms():
    shown = [plots.quantity(f"{what}_{kind}") for what in ("weight", "bias") for kind in ("distance", "norm")]
    assert [quantity.heading for quantity in shown] == ["‖Δw‖", "‖w‖", "‖Δb‖", "‖b‖"]
    assert all(quantity.name.endswith(quantity.heading) for quantity in shown)
    assert plots.quantity("slack").name == "slack"


@pytest.mark.parametrize(("yscale", "transform", "inverse"), [("log", np.log, np.exp), ("linear", np.array, np.array)])
def test_a_logarithmic_axis_shows_the_interval_of_the_logarithms(yscale, transform, inverse):
    values = np.exp(np.random.default_rng(0).normal(size=(3, 2)))
    axes = Figure().subplots()
    plots.by_batch_size(axes, [1, 64], values, yscale=yscale)
    mean, half = confidence_interval(transform(values))
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), inverse(mean))
    assert band(axes) == pytest.approx((inverse(mean - half).min(), inverse(mean + half).max()))
    assert axes.get_xticks().tolist() == [1, 64]


@pytest.mark.parametrize("values", [[1.0, 8.0], [6.7, 10.8], [0.31, 0.45]])
def test_a_logarithmic_axis_has_at_least_two_numbers(values):
    figure = plots.make_figure(lambda fig: plots.by_batch_size(fig.subplots(), [1, 64], np.array([values])), "", "")
    (axis,) = (axes.yaxis for axes in figure.axes)
    low, high = axis.get_view_interval()
    assert sum(low <= tick <= high for tick in axis.get_ticklocs()) >= 2


def test_a_ridge_is_highest_where_most_samples_are():
    axes = Figure().subplots()
    diverged = np.full(200, np.nan)
    plots.ridges(axes, (1, 64), np.stack([np.random.default_rng(0).normal(size=200), diverged]))
    (ridge,) = axes.get_lines()
    assert ridge.get_xdata()[np.argmax(ridge.get_ydata())] == pytest.approx(0, abs=0.5)
    assert ridge.get_ydata().max() == pytest.approx(1.8)


def test_a_histogram_keeps_its_counts():
    axes = Figure().subplots()
    plots.histogram(axes, np.array([-10.0, -1, -0.1, 0.1, 1, 10]), np.array([0, 9, 0, 2, 0, 18, 0]), 64)
    values, edges, _ = axes.patches[0].get_data()
    np.testing.assert_allclose(values * np.diff(edges), [9, 2, 18])
    plots.histogram(axes, np.array([0.0, 1]), np.zeros(3), 64)
    assert len(axes.patches) == 1


def test_a_heatmap_marks_diverged_cells():
    axes = Figure().subplots()
    plots.heatmap(axes, {("64", "0.1"): (1.0, "one"), ("64", "1"): (np.nan, "two")}, "accuracy")
    assert [text.get_text() for text in axes.texts] == ["one", "diverged"]


def test_zooming_shows_the_ends_of_the_curves():
    axes = Figure().subplots()
    axes.plot([0, 90, 99, 100, 99, 98])
    plots.zoom_to_final_values(axes)
    low, high = axes.get_ylim()
    assert 90 < low < 98
    assert high > 100


@pytest.mark.parametrize("style", plots.STYLES)
def test_batch_sizes_have_colors_of_their_own_that_no_role_has(style):
    with plots.style(style):
        shades = [np.array(to_rgb(plots.color(2**i))) for i in range(14)]
        roles = [np.array(to_rgb(each["color"])) for each in matplotlib.rcParams["axes.prop_cycle"]]
        background = np.array(to_rgb(matplotlib.rcParams["axes.facecolor"]))
    assert all(np.abs(a - b).max() > 0.02 for a, b in itertools.pairwise(shades))
    assert all(np.abs(shade - role).max() > 0.2 for shade in shades for role in roles)
    assert all(np.abs(each - background).max() > 0.3 for each in (*shades, *roles))


def test_diverged_and_unreached_sizes_are_marked_above_the_axes():
    axes = Figure().subplots()
    values = np.array([[1.0, np.nan, np.inf], [2.0, 3.0, 4.0]])
    plots.by_batch_size(axes, [16, 64, 256], values, label="rate")
    _, diverged, unreached = axes.get_lines()
    assert (diverged.get_xdata().tolist(), diverged.get_marker()) == ([64], "x")
    assert (unreached.get_xdata().tolist(), unreached.get_marker()) == ([256], "^")
    assert min(*diverged.get_ydata(), *unreached.get_ydata()) > 1
    found = plots.notes(axes.figure)
    assert set(found) == {plots.DIVERGED, plots.NOT_REACHED, plots.SEEDS_BAND}


def test_a_diverged_curve_is_marked_where_it_ends():
    loss = np.ones((3, 6))
    loss[1, 4:] = np.nan
    run = make_runs(test_loss=loss)
    run.diverged[1] = True
    axes = Figure().subplots()
    plots.curve(axes, run, "test_loss")
    assert axes.get_lines()[1].get_xdata().tolist() == [3]
    assert axes.get_lines()[0].get_label().endswith("diverged in 1 of 3")
    plots.zoom_to_final_values(axes)  # the mark is not a curve


def test_labels_at_the_ends_are_in_the_order_of_the_lines_and_do_not_overlap():
    def draw(figure):
        axes = figure.subplots()
        for name, end in (("high", 1.0), ("low", 0.98), ("middle", 0.99)):
            axes.plot([0, 1], [0, end], label=name)
        plots.label_ends(axes)

    with plots.style("page"):
        figure = plots.make_figure(draw, "Title", "digits")
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = {text.get_text(): text.get_window_extent(renderer) for text in figure.axes[0].texts}
    assert sorted(boxes, key=lambda name: boxes[name].y0) == ["low", "middle", "high"]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes.values(), 2))
    assert all(box.x1 <= figure.bbox.x1 for box in boxes.values())
    assert figure.legends == []


@pytest.mark.parametrize("style", ["page", "slide", "dark"])
def test_a_long_title_has_two_lines(style):
    title = "A title of the length that a chapter may have at most, " * 3 + "and some more."
    assert len(title) == 179
    with plots.style(style):
        figure = plots.make_figure(lambda figure: figure.subplots(), title, "digits")
        lines = figure._suptitle.get_text().split("\n")
        assert len(lines) == 2
        assert " ".join(lines) == title
        assert figure._suptitle.get_window_extent().x1 < figure.bbox.width


def test_a_title_is_no_formula():
    with plots.style("page"):
        figure = plots.make_figure(lambda figure: figure.subplots(), r"A batch size for $\frac$.", r"on $\frac$")
    assert figure.get_suptitle() == r"A batch size for $\frac$."


def test_a_wrong_style_is_refused_by_name():
    with pytest.raises(InvalidInput, match="no style 'glossy'; there are page, slide, dark"):
        plots.style("glossy")


def several_curves(rows, columns):
    """Return a function that draws three curves in each of these axes."""

    def draw(figure):
        for axes in figure.subplots(rows, columns).ravel():
            for batch_size in (64, 256, 1024):
                distance = np.random.default_rng(batch_size).uniform(size=(3, 6))
                plots.curve(axes, make_runs(batch_size, weight_distance=distance), "weight_distance")

    return draw


@pytest.mark.parametrize(("style", "grid"), [("page", (1, 3)), ("page", (2, 2)), ("slide", (1, 3)), ("dark", (2, 2))])
def test_all_text_is_inside_the_figure_and_none_overlaps(style, grid):
    title = "A long finding with many words, so that it does not fit in a line. " * 2
    with plots.style(style):
        figure = plots.make_figure(several_curves(*grid), title, "digits")
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes = [text.get_window_extent(renderer) for text in (figure.legends[0], *figure.texts)]
        boxes += [axes.get_tightbbox(renderer) for axes in figure.axes]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.shrunk(0.98, 0.98).overlaps(other)


def test_a_file_does_not_depend_on_the_files_written_before():
    def draw(figure):
        figure.subplots(2, 2)[0, 0].plot([1, 100])

    def written(*endings):
        files = [io.BytesIO() for _ in endings]
        with plots.style("page"):
            figure = plots.make_figure(
                lambda figure: figure.subplots(2, 2)[0, 0].plot([1, 100]), "A finding.", "digits"
            )
            for ending, file in zip(endings, files, strict=True):
                plots.save(figure, ending, "ch01", file)
        return [file.getvalue() for file in files]

    png, pdf, svg = written("png", "pdf", "svg")
    assert written("svg") == [svg]
    assert written("pdf") == [pdf]
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert b"<svg" in svg


def test_a_title_ends_inside_the_picture_at_the_resolution_of_a_file():
    """A letter's width is rounded to pixels, so that a line may be longer in a file than on the screen."""
    title = "Accumulated steps are those of one large batch, to rounding. Undecided: They are no faster than small "
    title += "batches. With the same samples, tuned steps of 16 end at a lower test loss."
    with plots.style("page"):
        figure, file = plots.make_figure(lambda fig: fig.subplots(1, 3), title, ""), io.BytesIO()
        plots.save(figure, "png", "salt", file)
    file.seek(0)
    pixels = imread(file)[..., :3]
    assert (pixels[: len(pixels) // 8, -10:] == 1).all()
