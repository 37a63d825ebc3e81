"""A drawn figure for everyone: its picture, the same in words, and the numbers in it as tables."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.ticker import FixedFormatter, FuncFormatter

from bstudy import plots
from bstudy.rendering import show_cell

WIDE_ROWS, LONG_ROWS = 25, 8  # points of a longer line that are listed: in a column of its own, or in rows
DASHES = {"--": "dashed", ":": "dotted", "-.": "dash-dotted", "None": "points"}
MIME = {"png": "image/png", "svg": "image/svg+xml"}


class Line(NamedTuple):
    """A line, or the steps of a histogram, in axes."""

    name: str
    x: np.ndarray
    y: np.ndarray
    is_vertical: bool = False  # at one x, across the whole height


@dataclass(frozen=True)
class PanelTable:
    """Numbers of one panel of a figure, as text."""

    panel: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Drawing:
    """A figure that a notebook shows, with its alt text and its numbers."""

    figure: Figure
    style: str = "page"

    @property
    def alt(self) -> str:
        """The figure in words."""
        return describe(self.figure)

    @property
    def tables(self) -> list[PanelTable]:
        """The numbers of the figure."""
        return data(self.figure)

    def data_uri(self, ending: str = "png", salt: str = "bstudy") -> str:
        """Return the picture as an address that needs no file."""
        file = io.BytesIO()
        with plots.style(self.style):  # saving reads the style too
            plots.save(self.figure, ending, salt, file)
        return f"data:{MIME[ending]};base64,{base64.b64encode(file.getvalue()).decode()}"

    def _repr_html_(self) -> str:
        return show_cell(drawing=self)


def draw(
    figure: Callable[[Any, Figure], None], runs: Any, title: str, footer: str = "", style: str = "page"
) -> Drawing:
    """Draw a chapter's figure in the look of the book.

    Args:
        figure: A function `figure(runs, fig)`, as a chapter has it.
        runs: What it draws.
        title: Above the figure.
        footer: Below it; what bands and marks mean is added.
        style: "page", "slide" or "dark".
    """
    with plots.style(style):
        return Drawing(plots.make_figure(partial(figure, runs), title, footer), style)


def describe(figure: Figure) -> str:
    """Return the figure in words, for a screen reader: its title, and where each line begins and ends."""
    sentences = [figure.get_suptitle().replace("\n", " ")]
    for panel, axes in panels(figure):
        x, y = in_one_line(axes.get_xlabel()), y_label(axes)
        parts = kept_in_words(*axes.kept_table) if hasattr(axes, "kept_table") else lines_in_words(axes)
        sentences.append(
            f"{panel}: {x if has_names(axes) else f'{y} against {x}'}{'; ' * bool(parts)}{', '.join(parts)}."
        )
    return " ".join(sentences)


def kept_in_words(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows of a table as texts."""
    return [
        f"{headings[0]} {row[0]}: {', '.join(map(' '.join, zip(headings[1:], row[1:], strict=True)))}" for row in rows
    ]


def lines_in_words(axes: Axes) -> list[str]:
    """Return where each line begins and ends; of several lines with one name, where they end."""
    values = {}
    for line in lines_of(axes):
        shown = line.x if has_names(axes) or line.is_vertical else line.y
        shown = shown[np.isfinite(shown)]
        values.setdefault(line.name, []).extend([shown] * bool(len(shown)))
    return [f"{name}: {in_words(same)}" for name, same in values.items()]


def in_words(lines: list[np.ndarray]) -> str:
    """Return where lines begin and end, from their finite values."""
    if not lines:
        return "no finite value"
    ends = [values[-1] for values in lines]
    if len(lines) > 1:
        return f"{len(lines)} lines that end from {min(ends):.3g} to {max(ends):.3g}"
    return f"{ends[0]:.3g}" if np.ptp(lines[0]) == 0 else f"{lines[0][0]:.3g} to {ends[0]:.3g}"


def data(figure: Figure) -> list[PanelTable]:
    """Return the numbers of a figure, a table a panel: a column a line, if all lines have the same places."""
    found = []
    for panel, axes in panels(figure):
        if hasattr(axes, "kept_table"):
            found.append(PanelTable(panel, *axes.kept_table))
            continue
        lines = [line for line in lines_of(axes) if not line.is_vertical]
        if not lines:
            continue
        x = in_one_line(axes.get_xlabel()) or "x"
        if has_names(axes):
            names = tick_names(axes)
            rows = [
                (line.name, names(y), number(value)) for line in lines for value, y in zip(line.x, line.y, strict=True)
            ]
            found.append(PanelTable(panel, ("line", "place", x), rows))
        elif all(np.array_equal(line.x, lines[0].x) for line in lines):
            columns = [lines[0].x, *(line.y for line in lines)]
            rows = [tuple(number(column[i]) for column in columns) for i in thinned(len(columns[0]), WIDE_ROWS)]
            found.append(PanelTable(f"{panel}: {y_label(axes)}", (x, *(line.name for line in lines)), rows))
        else:
            rows = [
                (line.name, number(line.x[i]), number(line.y[i]))
                for line in lines
                for i in thinned(len(line.x), LONG_ROWS)
            ]
            found.append(PanelTable(panel, ("line", x, y_label(axes)), rows))
    return found


def thinned(count: int, rows: int) -> np.ndarray:
    """Return the positions of at most this number of rows of `count`, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, rows)).round().astype(int))


def number(value: float) -> str:
    """Return a number of a table as text."""
    return f"{value:.4g}" if np.isfinite(value) else "–"


def panels(figure: Figure) -> Iterator[tuple[str, Axes]]:
    """Yield (name, axes) of the panels; one without a title is numbered."""
    for position, axes in enumerate(figure.axes, 1):
        if axes.get_label() != "<colorbar>":
            yield in_one_line(axes.get_title(loc="left")) or f"panel {position}", axes


def in_one_line(text: str) -> str:
    """Return a text without line breaks and double spaces."""
    return " ".join(text.split())


def y_label(axes: Axes) -> str:
    """Return what is on the y axis; axes without a label have that of the axes before them."""
    before = axes.figure.axes[: axes.figure.axes.index(axes) + 1]
    return next((in_one_line(each.get_ylabel()) for each in reversed(before) if each.get_ylabel()), "values")


def has_names(axes: Axes) -> bool:
    """Whether the y axis has names, not numbers, so that the numbers are on the x axis."""
    return isinstance(axes.yaxis.get_major_formatter(), FixedFormatter | FuncFormatter)


def tick_names(axes: Axes) -> Callable[[float], str]:
    """Return a function from a place on the y axis to the name of the nearest tick."""
    places = axes.get_yticks()
    texts = axes.yaxis.get_major_formatter().format_ticks(places)
    return lambda y: texts[int(np.abs(places - y).argmin())]


def lines_of(axes: Axes) -> list[Line]:
    """Return the lines of axes with their names, without the marks that the small line explains."""
    names = names_by_look(axes.figure)
    found = []
    for artist in drawn(axes):
        if isinstance(artist, StepPatch):
            y, edges, _ = artist.get_data()
            x = edges[:-1]
        else:
            x, y = (np.asarray(values, float) for values in artist.get_data())
        is_vertical = artist in axes.get_lines() and artist.get_transform() != axes.transData and np.ptp(x) == 0
        if look(artist)[1] == "None":  # points, which are in no order
            order = np.argsort(x, kind="stable")
            x, y = x[order], y[order]
        found.append(Line(own_name(artist) or name_of(artist, names), x, y, is_vertical))
    return found


def drawn(axes: Axes) -> list[Artist]:
    """Return the artists that show numbers: those that follow the data on both axes, or have a name."""
    lines = [line for line in axes.get_lines() if line.get_transform() == axes.transData or own_name(line)]
    steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    return [each for each in (*lines, *steps) if not str(each.get_label()).startswith(plots.NOTE)]


def own_name(artist: Artist) -> str:
    """Return the label of an artist, also one that is written next to its line; "" if it has none."""
    text = str(artist.get_label()).removeprefix("_labelled ")
    return "" if text.startswith("_") else text


def look(artist: Artist) -> tuple[str, str, bool]:
    """Return the color and the dashes of an artist, and whether its points are hollow."""
    if isinstance(artist, StepPatch):
        return to_hex(artist.get_edgecolor()), str(artist.get_linestyle()), False
    return to_hex(artist.get_color()), str(artist.get_linestyle()), str(artist.get_markerfacecolor()) == "none"


def names_by_look(figure: Figure) -> dict[tuple[str, str, bool], str]:
    """Return {look: name} of the figure's legend: a name counts in all panels."""
    artists = (artist for axes in figure.axes for artist in drawn(axes) if own_name(artist))
    return {look(artist): own_name(artist) for artist in reversed([*artists])}


def name_of(artist: Artist, names: dict[tuple[str, str, bool], str]) -> str:
    """Return the name of an artist without a label: that of one that looks the same, or that has its color."""
    found = look(artist)
    if found in names:
        return names[found]
    color, dashes, is_hollow = found
    same_color = next((name for each, name in names.items() if each[0] == color), "")
    return ", ".join(filter(None, (same_color, DASHES.get(dashes, ""), "hollow" * is_hollow))) or "line"
