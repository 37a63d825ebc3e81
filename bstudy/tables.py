"""Tables of results: runs in rows, columns with the mean over seeds and its 95 % interval."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bstudy.claims import count_decimals
from bstudy.stats import confidence_interval


class Quantity(NamedTuple):
    """How a column is shown."""

    name: str  # with its unit, for an axis
    heading: str  # of a table's column
    decimals: int | None = None  # None: three significant digits


QUANTITIES = {
    "test_accuracy": Quantity("test accuracy (%)", "test acc. %", 2),
    "train_subset_accuracy": Quantity("training accuracy (%)", "train acc. %", 2),
    "final_train_accuracy": Quantity("training accuracy (%)", "train acc. %", 2),
    "test_loss": Quantity("test loss (nats)", "test loss", 3),
    "train_subset_loss": Quantity("training loss (nats)", "train loss", 3),
    "final_train_loss": Quantity("training loss (nats)", "train loss", 3),
    "weight_distance": Quantity("distance of the weights from their start, ‖Δw‖", "‖Δw‖", 2),
    "bias_distance": Quantity("distance of the biases from their start, ‖Δb‖", "‖Δb‖", 3),
    "weight_norm": Quantity("norm of the weights, ‖w‖", "‖w‖", 2),
    "bias_norm": Quantity("norm of the biases, ‖b‖", "‖b‖", 3),
}


@dataclass(frozen=True)
class Cell:
    """A measured number, and the source's number if there is one."""

    value: float  # the mean over seeds
    half_width: float  # of its 95 % interval, NaN with one seed
    text: str
    published: float | None = None
    difference: float | None = None
    published_text: str = ""


@dataclass(frozen=True)
class Row:
    """A run in a table."""

    role: str  # "" if the label says it
    label: str
    cells: dict[str, Cell]  # by column


@dataclass(frozen=True)
class Table:
    """Runs that have columns in common."""

    headings: dict[str, str]  # by column
    rows: list[Row]


class Entry(NamedTuple):
    """A run to be shown: its place in nested dicts, and one number a seed for each of its columns."""

    path: tuple
    run: Any
    columns: dict[str, np.ndarray]
    published: dict[str, float]  # column -> the source's number


def quantity(column: str) -> Quantity:
    """Return how a column is shown: by its own name if the book has no other."""
    return QUANTITIES.get(column, Quantity(column, column))


def label(run: Any) -> str:
    """Return the text for a run in a legend."""
    return f"{run.experiment}{diverged_text(run)}"


def diverged_text(run: Any) -> str:
    """Return in how many seeds a run diverged, or ""."""
    count = run.diverged.sum()
    return f", diverged in {count} of {len(run.diverged)}" if count else ""


def build_tables(entries: Iterable[Entry]) -> list[Table]:
    """Return tables of runs; those that have a column in common are in one table."""
    tables = []
    for path, run, columns, published in entries:
        if not columns:
            continue
        found = next((each for each in tables if set(each.headings) & set(columns)), None)
        if found is None:
            found = Table({}, [])
            tables.append(found)
        found.headings.update({name: quantity(name).heading for name in columns if name not in found.headings})
        cells = {name: build_cell(name, values, published.get(name)) for name, values in columns.items()}
        text = label(run)
        words = f" {text.replace(',', '')} "
        keys = [f"{key:g}" if isinstance(key, float) else str(key) for key in path]
        role = ", ".join(key for key in keys if f" {key} " not in words)
        found.rows.append(Row(role, text, cells))
    return tables


def build_cell(column: str, values: np.ndarray, published: float | None = None) -> Cell:
    """Return the cell of a column's values, one a seed."""
    mean, half = (float(number) for number in confidence_interval(values))
    if math.isnan(mean):
        return Cell(mean, half, "–")
    decimals = quantity(column).decimals
    shape = f".{count_decimals(mean) if decimals is None else decimals}f"
    text = f"{mean:{shape}} ± {half:{shape}}" if half > 0 else f"{mean:{shape}}"
    if published is None:
        return Cell(mean, half, text)
    difference = mean - published
    return Cell(mean, half, text, published, difference, f"{published:g} ({difference:+{shape}})")
