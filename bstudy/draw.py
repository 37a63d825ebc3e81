"""The book's one look: quantities with their units, a colour for each batch size, curves. Knows nothing of measuring.

Sizes, fonts and backgrounds are in `styles/`, not here and not in chapters.
"""

import contextlib
import textwrap
import warnings
from importlib.resources import files
from typing import NamedTuple

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bstudy.errors import InvalidInput
from bstudy.stats import interval

STYLES = {"page": ("page",), "slide": ("page", "slide"), "dark": ("page", "dark")}


class Quantity(NamedTuple):
    """How a column is shown."""

    name: str  # with its unit, for an axis
    heading: str  # for a table
    factor: float = 1  # from the column to the unit
    decimals: int | None = None  # None: three significant digits


QUANTITIES = {
    "train_accuracy": Quantity("training accuracy (%)", "train acc. %", 100, 2),
    "test_accuracy": Quantity("test accuracy (%)", "test acc. %", 100, 2),
    "train_loss": Quantity("training loss (nats)", "train loss", decimals=3),
    "test_loss": Quantity("test loss (nats)", "test loss", decimals=3),
    "weight_distance": Quantity("distance of the weights from their start, W", "W", decimals=2),
    "bias_distance": Quantity("distance of the biases from their start, B", "B", decimals=3),
    "weight_norm": Quantity("norm of the weights", "norm of W", decimals=2),
    "bias_norm": Quantity("norm of the biases", "norm of B", decimals=3),
}


def quantity(column):
    return QUANTITIES.get(column, Quantity(column, column))


# Okabe and Ito's colours, told apart by the colour-blind; 64, 256 and 1024 are the book's three
_COLOURS = {
    1: "#999999",
    8: "#D55E00",
    64: "#E69F00",
    128: "#009E73",
    256: "#0072B2",
    512: "#56B4E9",
    1024: "#CC79A7",
    8192: "#AA4499",
}
_LINES = ("-", "--", ":", "-.")


def colour(batch_size):
    """The colour of a batch size through the whole book, between the named ones by its logarithm."""
    anchors = np.log2(list(_COLOURS))
    channels = np.array([to_rgb(c) for c in _COLOURS.values()]).T
    return to_hex([np.interp(np.log2(batch_size), anchors, channel) for channel in channels])


def label(run):
    """What a legend says of a run."""
    return f"{run.experiment}, diverged" if run.diverged.any() else str(run.experiment)


def middle(values, yscale):
    """The mean over seeds, and the ends of its 95 % interval; for a logarithmic axis those of the logarithms."""
    log, back = (np.log, np.exp) if yscale == "log" else (np.asarray, np.asarray)
    mean, half = interval(log(values))
    return back(mean), back(mean - half), back(mean + half)


def curve(axes, run, values, last=None, clock="epoch", yscale="linear", **line):
    """Draw a column of a Recipe's runs against the epoch: the mean over seeds, and its 95 % interval as a band.

    `values` is the name of a column, or an array (seeds, epochs + 1) computed from some; `last` draws the last so many
    epochs alone; clock="step" draws against steps. Lines of one colour in the same axes differ in their dashes; `line`
    are matplotlib's own settings.
    """
    if isinstance(values, str):
        shown = quantity(values)
        axes.set_ylabel(shown.name)
        values = run[values] * shown.factor
    mean, low, high = middle(values, yscale)
    time = np.arange(len(mean)) if clock == "epoch" else run.experiment.steps(run.samples)
    if last is not None:
        mean, low, high, time = mean[-last - 1 :], low[-last - 1 :], high[-last - 1 :], time[: last + 1]
    shade = colour(run.experiment.batch_size)
    drawn = sum(other.get_color() == shade for other in axes.get_lines())
    line = {"color": shade, "linestyle": _LINES[drawn % len(_LINES)], "label": label(run)} | line
    axes.plot(time, mean, **line)
    axes.fill_between(time, low, high, color=line["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel(clock if last is None else f"{clock} of the last {last}")
    if yscale == "log" and np.any(mean > 0):  # where all runs diverged, a logarithm has nothing to show
        axes.set_yscale("log")


def by_batch_size(axes, batch_sizes, values, *bands, yscale="log", **line):
    """Draw a quantity (seeds, batch sizes) against the batch size: its mean, and its 95 % interval as a band.

    On a logarithmic axis they are those of the logarithms. `bands` (seeds, batch sizes), where given, are drawn instead
    of the interval: their means over seeds, on both sides.
    """
    if not np.isfinite(np.mean(values, axis=0)).any():
        yscale = "linear"  # where all runs diverged, a logarithm has nothing to show
    mean, *ends = middle(values, yscale)
    edges = [(mean - band.mean(axis=0), mean + band.mean(axis=0)) for band in bands] or [ends]
    (drawn,) = axes.plot(batch_sizes, mean, marker="o", markersize=3, **line)
    for low, high in edges:
        axes.fill_between(batch_sizes, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    axes.set(xscale="log", yscale=yscale, xlabel="batch size B")
    sizes = np.unique(np.concatenate([other.get_xdata() for other in axes.lines if other.get_marker() == "o"])).tolist()
    between, ticks = 2 ** np.ceil(np.log2(sizes[-1] / sizes[0]) / 4), sizes[:1]
    for size in sizes:
        ticks += [size] * bool(size >= between * ticks[-1])  # about four, all of them batch sizes that were measured
    axes.set_xticks(ticks, labels=map(str, ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    if yscale == "log":
        axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")


def ridges(axes, batch_sizes, samples):
    """Draw the distribution of samples (batch sizes, n), smoothed, one ridge a batch size, all of one height."""
    from scipy.stats import gaussian_kde

    for row, (size, values) in enumerate(zip(batch_sizes, samples, strict=True)):
        if np.ptp(values) > 0:  # not where runs diverged, or there is one sample
            reach = np.ptp(values)
            grid = np.linspace(values.min() - reach, values.max() + reach, 150)
            height = gaussian_kde(values)(grid)
            seen = height > height.max() / 1000
            x, top = grid[seen], row + 1.8 * (height / height.max())[seen]
            outline = [x[0], *x, x[-1]], [row, *top, row]
            axes.fill(*outline, color=colour(size), alpha=0.8, linewidth=0, zorder=3 - row / 100)
            axes.plot(x, top, color=axes.get_facecolor(), linewidth=0.8, zorder=3 - row / 100)
    axes.set_yticks(range(0, len(batch_sizes), 2), labels=batch_sizes[::2])
    axes.set_ylabel("batch size B")
    axes.grid(axis="y", visible=False)


def histogram(axes, edges, counts, batch_size):
    """Draw counts (edges + 1,), the outer two beyond the edges, as entries per unit, on a logarithmic axis.

    Bins near zero, where logarithmic ones are very narrow, are joined.
    """
    below = np.cumsum(counts)[:-1]  # the entries below each edge
    filled = np.flatnonzero(np.diff(below))
    if not len(filled):  # all runs diverged
        return
    reach = np.abs(edges[[filled[0], filled[-1] + 1]]).max()
    shown = (np.abs(edges) > reach / 100) & (np.abs(edges) <= 1.001 * reach)
    density = np.diff(below[shown]) / np.diff(edges[shown])
    axes.stairs(density, edges[shown], color=colour(batch_size), linewidth=1.5, label=f"B = {batch_size}")
    axes.set(yscale="log", ylabel="entries per unit")


def heat(axes, cells, name):
    """Draw {(row, column): (value, text)} as a table of coloured cells; where the value is NaN, a run diverged."""
    rows, columns = (list(dict.fromkeys(labels)) for labels in zip(*cells, strict=True))
    values = np.array([[cells[row, column][0] for column in columns] for row in rows])
    image = axes.imshow(values, aspect="auto", cmap="cividis")
    for (row, column), (value, text) in cells.items():
        dark = sum(image.cmap(image.norm(value))[:3]) < 1.4 and np.isfinite(value)
        place = {"ha": "center", "va": "center", "color": "white" if dark else "black"}
        axes.text(columns.index(column), rows.index(row), text if np.isfinite(value) else "diverged", **place)
    axes.set_xticks(range(len(columns)), labels=columns)
    axes.set_yticks(range(len(rows)), labels=rows)
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label=name)


def focus(axes):
    """Show the heights that the curves have in their last two thirds: where they end is what the eye should compare."""
    ends = np.concatenate([line.get_ydata()[len(line.get_ydata()) // 3 :] for line in axes.get_lines()])
    low, high = np.nanmin(ends, initial=np.inf), np.nanmax(ends, initial=-np.inf)
    if low < high:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


@contextlib.contextmanager
def style(name):
    """Draw in one of STYLES, whatever the user's own matplotlib settings are."""
    if name not in STYLES:
        raise InvalidInput(f"there is no style {name!r}; there are {', '.join(STYLES)}")
    sheets = [str(files("bstudy") / "styles" / f"{sheet}.mplstyle") for sheet in STYLES[name]]
    with matplotlib.style.context(["default", *sheets]):
        yield


def figure(draw, title, small_line):
    """A Figure whose axes `draw(figure)` draws, complete on a slide: title above, one legend and the origin below."""
    fig = Figure(layout="constrained")
    with warnings.catch_warnings(action="ignore"):  # where all runs diverged, axes are empty
        draw(fig)
    settings, (width, height) = matplotlib.rcParams, 72 * fig.get_size_inches()  # in points, as font sizes are
    bottom = 1.6 * settings["font.size"] / height
    fig.text(0.01, bottom / 4, small_line, fontsize=0.75 * settings["font.size"], alpha=0.7, parse_math=False)
    fig.suptitle(textwrap.fill(title, int(width / (0.6 * settings["figure.titlesize"]))), x=0.01, ha="left")
    handles = {
        label: handle for axes in fig.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        size = settings["legend.fontsize"]
        columns = min(len(handles), max(1, int(width / (size * (0.55 * max(map(len, handles)) + 5)))))
        fig.legend(
            handles.values(),
            handles.keys(),
            loc="lower center",
            ncols=columns,
            bbox_to_anchor=(0.5, bottom),
            borderaxespad=0,
        )
        bottom += (1.5 * -(-len(handles) // columns) + 1) * size / height
    fig.get_layout_engine().set(rect=(0, bottom, 1, 1 - bottom))
    with warnings.catch_warnings(action="ignore"):
        fig.draw_without_rendering()  # which lays it out
        for axes in fig.axes:
            break_label(axes)
        fig.draw_without_rendering()
    fig.set_layout_engine("none")  # or each file would be laid out again, from where the one before it left
    return fig


def break_label(axes):
    """Break the label beside the axes where it is longer than they are high."""
    label = axes.yaxis.label
    length, room = label.get_window_extent().height, axes.bbox.height
    if length > room:
        label.set_text(textwrap.fill(label.get_text(), max(8, int(len(label.get_text()) * room / length))))


def save(fig, ending, salt, file):
    """Write the figure to a binary file in the format of this ending, the same bytes for the same drawing."""
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    with matplotlib.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings(action="ignore"):
        fig.savefig(file, format=ending, metadata=undated)
