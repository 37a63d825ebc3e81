"""The look of the book: one color per batch size, kinds of plots. Measures nothing.

Sizes, fonts, backgrounds and the colors of everything but batch sizes are in `styles/`. What a band or a mark means is
noted on the figure when it is drawn, and printed in its small line.
"""

import textwrap
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, BinaryIO

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullLocator

from bstudy.errors import InvalidInput
from bstudy.stats import confidence_interval
from bstudy.store import MARK
from bstudy.tables import diverged_text, label, quantity

STYLES = {"page": ("page",), "slide": ("page", "slide"), "dark": ("page", "dark")}  # sheets, applied in this order

LARGEST_COLORED = 8192  # batch size, and all above
CLOCK = "learning rate × steps"
SEEDS_BAND = "bands: 95 % interval over seeds"
DIVERGED, NOT_REACHED = "×\N{NO-BREAK SPACE}diverged", "▲\N{NO-BREAK SPACE}target not reached"
NOTE = "_note "  # before the label of an artist that the small line explains; matplotlib leaves it out of a legend
LONGEST_LINE = 1.1  # characters of a line that may fit, for each one that fits on average
_LINE_STYLES = ("-", "--", ":", "-.")


def color(batch_size: float) -> str:
    """Return the color of a batch size: from purple to orange by its logarithm, on a scale that color-blind people see.

    Roles, optimizers and times have the blues and greens of the style's color cycle.
    """
    return shade(min(1.0, np.log2(batch_size) / np.log2(LARGEST_COLORED)))


def shade(position: float) -> str:
    """Return a color on the scale of the batch sizes, from 0, purple, to 1, orange."""
    is_dark = sum(to_rgb(matplotlib.rcParams["figure.facecolor"])) < 1.5
    low, high = (0.3, 0.88) if is_dark else (0.0, 0.8)
    return to_hex(matplotlib.colormaps["plasma"](low + (high - low) * position))


def note(artist: Artist, text: str) -> None:
    """Explain this artist in the small line of its figure."""
    artist.set_label(NOTE + text)


def keep_table(axes: Axes, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Attach the numbers of axes that show more than lines, for readers who cannot see them; see `drawing.py`."""
    axes.kept_table = tuple(headings), [tuple(row) for row in rows]


def mark_at_top(axes: Axes, x: Sequence[float], symbol: str, meaning: str, color: str) -> None:
    """Draw symbols above the axes, for values that no axis can show: diverged runs, targets that were not reached."""
    style = {"color": color, "clip_on": False, "linestyle": "", "markersize": 6, "markeredgewidth": 1.6}
    marks = [line.get_xdata() for line in axes.get_lines() if line.get_label() in (NOTE + DIVERGED, NOTE + NOT_REACHED)]
    rows = sum(np.isin(x, other) for other in marks)  # marks at one place are stacked
    (drawn,) = axes.plot(x, 1.02 + 0.05 * rows * np.ones(len(x)), symbol, transform=axes.get_xaxis_transform(), **style)
    note(drawn, meaning)


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
        x: "epoch", "step", or CLOCK.
        yscale: "linear" or "log".
        line: matplotlib's own settings of a line.
    """
    if isinstance(values, str):
        axes.set_ylabel(quantity(values).name)
        values = run[values]
    mean, low, high = (part[-(last_epochs or len(part)) - 1 :] for part in mean_and_band(values, yscale))
    times = {"step": run.experiment.steps, CLOCK: run.experiment.clock}
    time = times[x](run.samples)[: len(mean)] if x in times else np.arange(len(mean))
    shade = color(run.experiment.batch_size)
    drawn = sum(other.get_color() == shade for other in axes.get_lines())
    line = {"color": shade, "linestyle": _LINE_STYLES[drawn % len(_LINE_STYLES)], "label": label(run)} | line
    if isinstance(line["label"], str):
        line["label"] = line["label"].removesuffix(diverged_text(run)) + diverged_text(run)
    axes.plot(time, mean, **line)
    if np.isfinite(high - low).any():
        note(axes.fill_between(time, low, high, color=line["color"], alpha=0.2, linewidth=0), SEEDS_BAND)
    if run.diverged.any():
        ends = np.isfinite(values[run.diverged]).sum(axis=1) - 1 - (run.experiment.epochs + 1 - len(time))
        mark_at_top(axes, time[np.maximum(ends, 0)], "x", DIVERGED, line["color"])
    axes.set_xlabel(x if last_epochs is None else f"{x} of the last {last_epochs}")
    if yscale == "log" and np.any(mean > 0):  # if all runs diverged, there is nothing to show on a logarithmic axis
        axes.set_yscale("log")


def by_batch_size(
    axes: Axes,
    batch_sizes: Sequence[int],
    values: np.ndarray,
    bands: dict[str, np.ndarray] | None = None,
    yscale: str = "log",
    **line: Any,
) -> None:
    """Draw a quantity against the batch size: its mean over seeds, and its 95 % interval as a band.

    A batch size with a seed that diverged (NaN) or did not reach its target (infinite) has a mark above the axes.

    Args:
        axes: where to draw.
        batch_sizes: (n,) on the x axis, which is logarithmic.
        values: (seeds, n).
        bands: {what it means: half-widths (seeds, n)} to draw instead of the interval; their means over seeds count.
        yscale: "linear" or "log"; for "log", mean and interval are those of the logarithms.
        line: matplotlib's own settings of a line.
    """
    if not np.isfinite(np.mean(values, axis=0)).any():
        yscale = "linear"  # if all runs diverged, there is nothing to show on a logarithmic axis
    mean, *interval = mean_and_band(values, yscale)
    half_widths = {meaning: band.mean(axis=0) for meaning, band in (bands or {}).items()}
    edges = {meaning: (mean - half, mean + half) for meaning, half in half_widths.items()} or {SEEDS_BAND: interval}
    (drawn,) = axes.plot(batch_sizes, mean, **({"marker": "o", "markersize": 3} | line))
    for meaning, (low, high) in edges.items():
        if np.isfinite(high - low).any():
            band = axes.fill_between(batch_sizes, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
            note(band, meaning if meaning == SEEDS_BAND else f"bands: {meaning}")
    axes.set(xscale="log", yscale=yscale, xlabel="batch size B")
    for missing, symbol, meaning in ((np.isnan, "x", DIVERGED), (np.isinf, "^", NOT_REACHED)):
        if (found := missing(values).any(axis=0)).any():
            mark_at_top(axes, np.asarray(batch_sizes)[found], symbol, meaning, drawn.get_color())
    _tick_batch_sizes(axes)


def label_ends(axes: Axes) -> None:
    """Write the label of each line next to its right end, in its color, in place of a legend.

    Call it when the limits of the axes are set.
    """
    transform = axes.transScale + axes.transLimits
    ends = {}
    for line in axes.get_lines():
        shown = np.isfinite(line.get_ydata())
        if not line.get_label().startswith("_") and shown.any():
            point = line.get_xdata()[shown][-1], line.get_ydata()[shown][-1]
            ends[line] = float(np.clip(transform.transform(point)[1], 0, 1))
    height = 0.7 * axes.get_position().height * axes.figure.bbox.height / axes.figure.dpi * 72  # points, after layout
    size = _legend_size()
    gap = 1.25 * size / height
    last = -np.inf
    for line in sorted(ends, key=ends.get):
        last = max(ends[line], last + gap)
        place = {"xy": (1.01, last), "xycoords": "axes fraction", "va": "center", "annotation_clip": False}
        axes.annotate(line.get_label(), **place, color=line.get_color(), fontsize=size, parse_math=False)
        line.set_label(f"_labelled {line.get_label()}")


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


def _tick_logarithmic(axis: Axis) -> None:
    """Set plain numbers on a logarithmic axis of less than four powers of ten: 1, 10, or more if it is short."""
    low, high = sorted(axis.get_view_interval())
    if isinstance(axis.get_major_locator(), LogLocator) and high < 1e4 * low:
        steps = (1, 2, 5) if axis.axis_name == "y" or high < 50 * low else (1,)  # numbers side by side need more room
        ticks = LogLocator(subs=steps).tick_values(low, high)
        steps = steps if np.count_nonzero((low <= ticks) & (ticks <= high)) > 1 else (1, 2, 3, 4, 5, 6, 8)
        axis.set(major_locator=LogLocator(subs=steps), minor_locator=NullLocator(), major_formatter="{x:g}")


def ridges(axes: Axes, batch_sizes: Sequence[int], samples: np.ndarray) -> None:
    """Draw the smoothed distributions of `samples` (batch sizes, n), one ridge per batch size, all of one height."""
    from scipy.stats import gaussian_kde

    rows = []
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
        rows.append((str(size), *(f"{value:.3g}" for value in np.percentile(values, (5, 50, 95)))))
    keep_table(axes, ("B =", "5 %", "median", "95 %"), rows)
    every = 1 + len(batch_sizes) // 9  # so that labels do not touch
    axes.set(yticks=range(0, len(batch_sizes), every), yticklabels=batch_sizes[::every], ylabel="batch size B")
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
    texts = [
        [cells[row, column][1] if np.isfinite(cells[row, column][0]) else "diverged" for column in columns]
        for row in rows
    ]
    keep_table(axes, (name, *columns), [(row, *line) for row, line in zip(rows, texts, strict=True)])
    axes.figure.colorbar(image, ax=axes, label=name)


def zoom_to_final_values(axes: Axes) -> None:
    """Set the y limits to the last two thirds of all curves, because their ends are what the reader compares."""
    curves = [line.get_ydata() for line in axes.get_lines() if not line.get_label().startswith(NOTE)]
    ends = np.concatenate([values[len(values) // 3 :] for values in curves], dtype=float)
    low, high = np.nanmin(ends, initial=np.inf), np.nanmax(ends, initial=-np.inf)
    if low < high:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))


def style(name: str) -> AbstractContextManager[None]:
    """Return a context in which figures have one of STYLES, whatever the user's own matplotlib settings are."""
    if name not in STYLES:
        raise InvalidInput(f"there is no style {name!r}; there are {', '.join(STYLES)}")
    return matplotlib.style.context(["default", *(f"bstudy.styles.{sheet}" for sheet in STYLES[name])])


def make_figure(draw: Callable[[Figure], None], title: str, footer: str, like: Figure | None = None) -> Figure:
    """Return a Figure that is complete on a slide: `draw(figure)` draws its axes; title above, legend and footer below.

    The footer ends with what the bands and marks mean. The layout is computed once and then fixed, so that a file does
    not depend on the files written before it.

    Args:
        draw: draws the axes.
        title: above the axes.
        footer: below them.
        like: the same figure in other colors; its layout is taken, since computing one takes half of the time.
    """
    figure = Figure(layout=None if like else "constrained")
    FigureCanvasAgg(figure)  # its renderer remembers the lengths of texts
    with warnings.catch_warnings(action="ignore"):  # of empty axes, if all runs diverged
        draw(figure)
        for axes in figure.axes:
            _tick_logarithmic(axes.xaxis)
            _tick_logarithmic(axes.yaxis)
        heading = figure.suptitle(title, x=0.01, ha="left", parse_math=False)
        small = {"fontsize": "small", "alpha": 0.7, "parse_math": False}
        footer_text = figure.text(0.01, 0.01, "; ".join([footer, *notes(figure)]), va="bottom", **small)
        if like:
            _copy_layout(figure, like)
        else:
            _wrap_title(heading, 0.98 * figure.bbox.width)
            _wrap(footer_text, 0.98 * figure.bbox.width)
        bottom = footer_text.get_window_extent().y1 / figure.bbox.height + 0.005
        _add_legend(figure, bottom)
        if not like:
            _place_axes(figure, bottom)
    return figure


def _place_axes(figure: Figure, bottom: float) -> None:
    """Give the axes the room above `bottom`, a fraction of the height, that title and legend leave."""
    engine = figure.get_layout_engine()
    engine.set(rect=(0, bottom, 1, 1 - bottom))
    engine.execute(figure)
    is_broken = [_wrap(axes.yaxis.label, axes.bbox.height) for axes in figure.axes]
    if any(is_broken):
        engine.execute(figure)
    figure.set_layout_engine(None)
    for axes in figure.axes:  # the last bits of the solver's result differ from call to call
        axes.set_position(np.round(axes.get_position(original=True).bounds, 6))


def _copy_layout(figure: Figure, like: Figure) -> None:
    """Break the texts and place the axes as in another figure, which has the same ones."""
    for text, other in zip(figure.texts, like.texts, strict=True):
        text.set(text=other.get_text(), fontsize=other.get_fontsize(), position=other.get_position())
    for axes, other in zip(figure.axes, like.axes, strict=True):
        axes.set_position(other.get_position(original=True))
        axes.set_ylabel(other.get_ylabel())


def notes(figure: Figure) -> list[str]:
    """Return what the bands and marks of a figure mean, each once."""
    labels = (str(artist.get_label()) for axes in figure.axes for artist in axes.get_children())
    return sorted({text.removeprefix(NOTE) for text in labels if text.startswith(NOTE)})


def _add_legend(figure: Figure, bottom: float) -> None:
    """Add one legend for all axes, at `bottom` as a fraction of the height, in as few rows as fit."""
    handles = {text: handle for a in figure.axes for handle, text in zip(*a.get_legend_handles_labels(), strict=True)}
    pad = bottom * 72 * figure.get_figheight() / _legend_size()  # in units of the font size
    for rows in range(1, len(handles) + 1):
        place = {"loc": "outside lower center", "ncols": -(-len(handles) // rows), "borderaxespad": pad}
        legend = figure.legend(handles.values(), handles.keys(), **place)
        if rows == len(handles) or legend.get_window_extent().width < figure.bbox.width:
            break
        legend.remove()


def _legend_size():
    """Return the size of a legend's text in points; the setting may be a word."""
    return FontProperties(size=matplotlib.rcParams["legend.fontsize"]).get_size_in_points()


def _wrap_title(heading: Text, room: float) -> None:
    """Break a title into at most two lines, in smaller letters if needed: a third would take the room of the axes."""
    title = heading.get_text()
    _wrap(heading, room)
    while heading.get_text().count("\n") > 1:
        heading.set(text=title, fontsize=0.95 * heading.get_fontsize())
        _wrap(heading, room)


def _wrap(text: Text, room: float) -> bool:
    """Break a text into lines that are at most `room` pixels long, on the screen and in a file; return if it was."""
    words, inches, length = text.get_text(), room / text.figure.dpi, _length(text)
    columns = len(words)
    while length > inches and columns > 8:
        columns = max(8, min(columns - 1, int(LONGEST_LINE * columns * inches / length)))
        broken = textwrap.fill(words, columns)
        if broken != text.get_text():  # measuring takes milliseconds
            text.set_text(broken)
            length = _length(text)
    return text.get_text() != words


def _length(text):
    """Return the inches of a text, at the larger of two resolutions: a letter's width is rounded to pixels."""
    screen, file, lengths = text.figure.dpi, matplotlib.rcParams["savefig.dpi"], []
    for dpi in (screen if file == "figure" else file, screen):  # the last one stays with the text
        lengths.append(max(text.get_window_extent(_renderer(dpi), dpi).size) / dpi)
    return max(lengths)


@cache
def _renderer(dpi):
    """Return a renderer that measures texts at this resolution; it remembers their lengths for the next figure."""
    return RendererAgg(1, 1, dpi)


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
