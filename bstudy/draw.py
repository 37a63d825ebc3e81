"""The book's one look: quantities with their units, a colour for each batch size, curves. Knows nothing of measuring.

Sizes, fonts and backgrounds are in `styles/`, not here and not in chapters.
"""

import contextlib
import textwrap
from importlib.resources import files

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from bstudy.errors import InvalidInput
from bstudy.stats import interval

STYLES = {"page": ("page",), "slide": ("page", "slide"), "dark": ("page", "dark")}

# column -> (name with unit, heading of a table, factor from the column to the unit, decimals)
QUANTITIES = {
    "train_accuracy": ("training accuracy (%)", "train acc. %", 100, 2),
    "test_accuracy": ("test accuracy (%)", "test acc. %", 100, 2),
    "train_loss": ("training loss (nats)", "train loss", 1, 3),
    "test_loss": ("test loss (nats)", "test loss", 1, 3),
    "weight_distance": ("distance of the weights from their start, W", "W", 1, 2),
    "bias_distance": ("distance of the biases from their start, B", "B", 1, 3),
    "weight_norm": ("norm of the weights", "norm of W", 1, 2),
    "bias_norm": ("norm of the biases", "norm of B", 1, 3),
    "seconds": ("seconds per epoch", "s / epoch", 1, 2),
}

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


def curve(axes, run, values, last=None, **line):
    """Draw a column of a Recipe's runs against the epoch: the mean over seeds, and its 95 % interval as a band.

    `values` is the name of a column, or an array (seeds, epochs + 1) computed from some; `last` draws the last so many
    epochs alone. Lines of one colour in the same axes differ in their dashes; `line` are matplotlib's own settings.
    """
    if isinstance(values, str):
        name, _, factor, _ = QUANTITIES[values]
        axes.set_ylabel(name)
        values = run[values] * factor
    mean, half = interval(values)
    epochs = np.arange(len(mean))
    if last is not None:
        mean, half, epochs = mean[-last - 1 :], half[-last - 1 :], epochs[: last + 1]
    shade = colour(run.experiment.batch_size)
    drawn = sum(other.get_color() == shade for other in axes.get_lines())
    line = {"color": shade, "linestyle": _LINES[drawn % len(_LINES)], "label": label(run)} | line
    axes.plot(epochs, mean, **line)
    axes.fill_between(epochs, mean - half, mean + half, color=line["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel("epoch" if last is None else f"epoch of the last {last}")


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
    draw(fig)
    settings, (width, height) = matplotlib.rcParams, 72 * fig.get_size_inches()  # in points, as font sizes are
    bottom = 1.6 * settings["font.size"] / height
    fig.text(0.01, bottom / 4, small_line, fontsize=0.75 * settings["font.size"], alpha=0.7)
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
    return fig


def save(fig, ending, salt, file):
    """Write the figure to a binary file in the format of this ending, the same bytes for the same drawing."""
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        fig.savefig(file, format=ending, metadata=undated)
