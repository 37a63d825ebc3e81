"""The look of the book: names and units of quantities, one color per batch size, kinds of plots. Measures nothing.

Sizes, fonts and backgrounds are in `styles/`.
"""

import textwrap
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bstudy.errors import InvalidInput
from bstudy.stats import confidence_interval
from bstudy.store import MARK

STYLES = {"page": ("page",), "slide": ("page", "slide"), "dark": ("page", "dark")}  # sheets, applied in this order


class Quantity(NamedTuple):
    """How a column is shown."""

    name: str  # with its unit, for an axis
    heading: str  # of a table's column
    decimals: int | None = None  # None: three significant digits


QUANTITIES = {
    "test_accuracy": Quantity("test accuracy (%)", "test acc. %", 2),
    "train_subset_accuracy": Quantity("training accuracy (%)", "train subset acc. %", 2),
    "final_train_accuracy": Quantity("training accuracy (%)", "train acc. %", 2),
    "test_loss": Quantity("test loss (nats)", "test loss", 3),
    "train_subset_loss": Quantity("training loss (nats)", "train subset loss", 3),
    "final_train_loss": Quantity("training loss (nats)", "train loss", 3),
    "weight_distance": Quantity("distance of the weights from their start, ‖Δw‖", "‖Δw‖", 2),
    "bias_distance": Quantity("distance of the biases from their start, ‖Δb‖", "‖Δb‖", 3),
    "weight_norm": Quantity("norm of the weights, ‖w‖", "‖w‖", 2),
    "bias_norm": Quantity("norm of the biases, ‖b‖", "‖b‖", 3),
}

# The colors of Okabe and Ito, which the color-blind can tell apart; 64, 256 and 1024 are the book's three batch sizes
_COLORED_SIZES = (1, 8, 64, 128, 256, 512, 1024, 8192)
_COLORS = ("#999999", "#D55E00", "#E69F00", "#009E73", "#0072B2", "#56B4E9", "#CC79A7", "#AA4499")
_LINE_STYLES = ("-", "--", ":", "-.")


def quantity(column: str) -> Quantity:
    """Return how a column is shown: by its own name if the book has no other."""
    return QUANTITIES.get(column, Quantity(column, column))


def color(batch_size: float) -> str:
    """Return the color of a batch size in the whole book, interpolated between the fixed ones by its logarithm."""
    channels = np.array([to_rgb(fixed) for fixed in _COLORS]).T
    return to_hex([np.interp(np.log2(batch_size), np.log2(_COLORED_SIZES), channel) for channel in channels])


def label(run: Any) -> str:
    """Return the text for a run in a legend."""
    return f"{run.experiment}, diverged" if run.diverged.any() else str(run.experiment)


def mean_and_band(values: np.ndarray, yscale: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean over seeds and the ends of its 95 % interval; for a logarithmic axis, those of the logarithms."""
    transform, inverse = (np.log, np.exp) if yscale == "log" else (np.asarray, np.asarray)
    mean, half = confidence_interval(transform(values))
    return inverse(mean), inverse(mean - half), inverse(mean + half)


def curve(
    axes: Axes,
    run: Any,
    values: str | np.ndarray,
    last_epochs: int | None = None,
    x: str = "epoch",
    yscale: str = "linear",
    **line: Any,
) -> None:
    """Draw a column of a Recipe's Runs against time: the mean over seeds, and its 95 % interval as a band.

    Lines of one color in the same axes get different dashes.

    Args:
        axes: where to draw.
        run: the Runs of a Recipe.
        values: the name of a column, or an array (seeds, epochs + 1).
        last_epochs: draw only the last epochs, this number of them.
        x: "epoch" or "step".
        yscale: "linear" or "log".
        line: matplotlib's own settings of a line.
    """
    if isinstance(values, str):
        axes.set_ylabel(quantity(values).name)
        values = run[values]
    mean, low, high = (part[-(last_epochs or len(part)) - 1 :] for part in mean_and_band(values, yscale))
    time = np.arange(len(mean)) if x == "epoch" else run.experiment.steps(run.samples)[: len(mean)]
    shade = color(run.experiment.batch_size)
    drawn = sum(other.get_color() == shade for other in axes.get_lines())
    line = {"color": shade, "linestyle": _LINE_STYLES[drawn % len(_LINE_STYLES)], "label": label(run)} | line
    axes.plot(time, mean, **line)
    axes.fill_between(time, low, high, color=line["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel(x if last_epochs is None else f"{x} of the last {last_epochs}")
    if yscale == "log" and np.any(mean > 0):  # if all runs diverged, there is nothing to show on a logarithmic axis
        axes.set_yscale("log")


def by_batch_size(
    axes: Axes, batch_sizes: Sequence[int], values: np.ndarray, *bands: np.ndarray, yscale: str = "log", **line: Any
) -> None:
    """Draw a quantity against the batch size: its mean over seeds, and its 95 % interval as a band.

    Args:
        axes: where to draw.
        batch_sizes: (n,) on the x axis, which is logarithmic.
        values: (seeds, n).
        bands: half-widths (seeds, n) to draw instead of the interval; their means over seeds count.
        yscale: "linear" or "log"; for "log", mean and interval are those of the logarithms.
        line: matplotlib's own settings of a line.
    """
    if not np.isfinite(np.mean(values, axis=0)).any():
        yscale = "linear"  # if all runs diverged, there is nothing to show on a logarithmic axis
    mean, *interval = mean_and_band(values, yscale)
    edges = [(mean - band.mean(axis=0), mean + band.mean(axis=0)) for band in bands] or [interval]
    (drawn,) = axes.plot(batch_sizes, mean, marker="o", markersize=3, **line)
    for low, high in edges:
        axes.fill_between(batch_sizes, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    axes.set(xscale="log", yscale=yscale, xlabel="batch size B")
    _tick_batch_sizes(axes)
    if yscale == "log":
        axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator(), major_formatter="{x:g}")


def _tick_batch_sizes(axes: Axes) -> None:
    """Set about four ticks, all of them at batch sizes that were measured."""
    sizes = np.unique(np.concatenate([line.get_xdata() for line in axes.lines if line.get_marker() == "o"])).tolist()
    factor = 2 ** np.ceil(np.log2(sizes[-1] / sizes[0]) / 4)
    ticks = sizes[:1]
    for size in sizes:
        if size >= factor * ticks[-1]:
            ticks.append(size)
    axes.set_xticks(ticks, labels=map(str, ticks))
    axes.xaxis.set_minor_locator(NullLocator())


def ridges(axes: Axes, batch_sizes: Sequence[int], samples: np.ndarray) -> None:
    """Draw the smoothed distributions of `samples` (batch sizes, n), one ridge per batch size, all of one height."""
    from scipy.stats import gaussian_kde

    for row, (size, values) in enumerate(zip(batch_sizes, samples, strict=True)):
        spread = np.ptp(values)
        if not spread > 0:  # runs that diverged, or only one sample
            continue
        grid = np.linspace(values.min() - spread, values.max() + spread, 150)
        density = gaussian_kde(values)(grid)
        visible = density > density.max() / 1000
        x, top = grid[visible], row + 1.8 * (density / density.max())[visible]
        axes.fill([x[0], *x, x[-1]], [row, *top, row], color=color(size), alpha=0.8, linewidth=0, zorder=3 - row / 100)
        axes.plot(x, top, color=axes.get_facecolor(), linewidth=0.8, zorder=3 - row / 100)
    axes.set(yticks=range(0, len(batch_sizes), 2), yticklabels=batch_sizes[::2], ylabel="batch size B")
    axes.grid(axis="y", visible=False)


def histogram(axes: Axes, edges: np.ndarray, counts: np.ndarray, batch_size: int) -> None:
    """Draw `counts` (edges + 1,) as entries per unit on a logarithmic axis; the outer two are beyond the edges.

    The bins near zero are logarithmic and very narrow, so they are joined.
    """
    below_edge = np.cumsum(counts)[:-1]
    filled = np.flatnonzero(np.diff(below_edge))
    if not len(filled):  # all runs diverged
        return
    reach = np.abs(edges[[filled[0], filled[-1] + 1]]).max()
    shown = (np.abs(edges) > reach / 100) & (np.abs(edges) <= 1.001 * reach)
    density = np.diff(below_edge[shown]) / np.diff(edges[shown])
    axes.stairs(density, edges[shown], color=color(batch_size), linewidth=1.5, label=f"B = {batch_size}")
    axes.set(yscale="log", ylabel="entries per unit")


def heatmap(axes: Axes, cells: dict[tuple[str, str], tuple[float, str]], name: str) -> None:
    """Draw {(row, column): (value, text)} as colored cells; NaN is marked as diverged. `name` labels the color bar."""
    rows, columns = (list(dict.fromkeys(labels)) for labels in zip(*cells, strict=True))
    values = np.array([[cells[row, column][0] for column in columns] for row in rows])
    image = axes.imshow(values, aspect="auto", cmap="cividis")
    for (row, column), (value, text) in cells.items():
        is_dark = np.isfinite(value) and sum(image.cmap(image.norm(value))[:3]) < 1.4
        font = {"ha": "center", "va": "center", "color": "white" if is_dark else "black"}
        axes.text(columns.index(column), rows.index(row), text if np.isfinite(value) else "diverged", **font)
    axes.set(xticks=range(len(columns)), xticklabels=columns, yticks=range(len(rows)), yticklabels=rows)
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label=name)


def zoom_to_final_values(axes: Axes) -> None:
    """Set the y limits to the last two thirds of all curves, because their ends are what the reader compares."""
    ends = np.concatenate([line.get_ydata()[len(line.get_ydata()) // 3 :] for line in axes.get_lines()], dtype=float)
    low, high = np.nanmin(ends, initial=np.inf), np.nanmax(ends, initial=-np.inf)
    if low < high:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


def style(name: str) -> AbstractContextManager[None]:
    """Return a context in which figures have one of STYLES, whatever the user's own matplotlib settings are."""
    if name not in STYLES:
        raise InvalidInput(f"there is no style {name!r}; there are {', '.join(STYLES)}")
    return matplotlib.style.context(["default", *(f"bstudy.styles.{sheet}" for sheet in STYLES[name])])


def make_figure(draw: Callable[[Figure], None], title: str, footer: str) -> Figure:
    """Return a Figure that is complete on a slide: `draw(figure)` draws its axes; title above, legend and footer below.

    The layout is computed once and then fixed, so that a file does not depend on the files written before it.
    """
    figure = Figure(layout="constrained")
    with warnings.catch_warnings(action="ignore"):  # of empty axes, if all runs diverged
        draw(figure)
        _wrap(figure.suptitle(title, x=0.01, ha="left", parse_math=False), 0.98 * figure.bbox.width)
        footer_text = figure.text(0.01, 0.01, footer, va="bottom", fontsize="small", alpha=0.7, parse_math=False)
        _wrap(footer_text, 0.98 * figure.bbox.width)
        bottom = footer_text.get_window_extent().y1 / figure.bbox.height + 0.005
        _add_legend(figure, bottom)
        figure.get_layout_engine().set(rect=(0, bottom, 1, 1 - bottom))
        figure.draw_without_rendering()  # computes the layout
        for axes in figure.axes:
            _wrap(axes.yaxis.label, axes.bbox.height)
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:  # the last bits of the solver's result differ from call to call
        axes.set_position(np.round(axes.get_position(original=True).bounds, 6))
    return figure


def _add_legend(figure: Figure, bottom: float) -> None:
    """Add one legend for all axes, at `bottom` as a fraction of the height, in as few rows as fit."""
    handles = {text: handle for a in figure.axes for handle, text in zip(*a.get_legend_handles_labels(), strict=True)}
    pad = bottom * 72 * figure.get_figheight() / matplotlib.rcParams["legend.fontsize"]  # in units of the font size
    for rows in range(1, len(handles) + 1):
        place = {"loc": "outside lower center", "ncols": -(-len(handles) // rows), "borderaxespad": pad}
        legend = figure.legend(handles.values(), handles.keys(), **place)
        if rows == len(handles) or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()


def _wrap(text: matplotlib.text.Text, room: float) -> None:
    """Break a text into lines that are at most `room` pixels long."""
    words, columns = text.get_text(), len(text.get_text())
    while max(text.get_window_extent().size) > room and columns > 8:
        columns -= 1
        text.set_text(textwrap.fill(words, columns))


def save(figure: Figure, ending: str, salt: str, file: BinaryIO) -> None:
    """Write a figure to a binary file in the format of this ending. The same drawing gives the same bytes.

    Args:
        figure: what `make_figure` returned.
        ending: "png", "svg" or "pdf".
        salt: what the ids of an SVG are derived from.
        file: open for writing.
    """
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending, {})
    metadata = undated | {"Software" if ending == "png" else "Creator": MARK}
    with matplotlib.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings(action="ignore"):
        figure.savefig(file, format=ending, metadata=metadata)
