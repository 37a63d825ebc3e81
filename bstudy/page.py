"""A chapter's results as a page: judged, drawn, written to files, and shown on the terminal."""

import contextlib
import json
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import matplotlib
import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bstudy import draw
from bstudy.book import Chapter, as_text
from bstudy.chapters.published import PUBLISHED
from bstudy.data import Dataset
from bstudy.errors import BstudyError
from bstudy.models import MLP
from bstudy.stats import interval
from bstudy.store import write_atomically

MARKS = {"held": ("✓ held", "green"), "did not hold": ("✗ did not hold", "red"), "undecided": ("? undecided", "yellow")}
VERSIONS = ("bstudy", "python", "tensorflow", "keras")  # of what measured; the drawing's own are added


class Row(NamedTuple):
    """A run in a table of what was measured."""

    role: str  # "" where the label says it
    label: str
    cells: dict  # column -> its number, as text
    published: dict  # column -> what a source reports, and how far the measured number is from that, as text


@dataclass(frozen=True)
class Page:
    """A chapter with what was measured and found for it on one data set."""

    chapter: Chapter
    parameters: dict
    dataset: Dataset
    seeds: tuple
    runs: dict
    claims: list

    @classmethod
    def of(cls, chapter, parameters, lab):
        """Ask the lab what the chapter asks, and judge the answers."""
        runs = lab.run(chapter.module.experiments(**parameters))
        claims = list(chapter.module.verdicts(runs))
        if not lab.dataset.is_published or chapter.changed(parameters):
            claims = [replace(claim, published=None) for claim in claims]  # the source's setting was another
        return cls(chapter, parameters, lab.dataset, lab.seeds, runs, claims)

    def published(self, run):
        """{column: number} that a source reports of this run, where the setting is the source's own."""
        return PUBLISHED.get(run.experiment, {}) if self.dataset.is_published else {}

    @property
    def command(self):
        """What makes this page, but for the data set and the number of seeds."""
        return self.chapter.command(self.parameters)

    @property
    def setting(self):
        """On what data, with which parameters changed, and how often it was measured."""
        seeds = len(self.seeds)
        shown = f"{seeds} seeds: mean ± 95 % interval" if seeds > 1 else f"seed {self.seeds[0]}: no interval"
        return f"on {self.dataset}, {''.join(f'{each}, ' for each in self.chapter.changed(self.parameters))}{shown}"

    def figure(self):
        """The chapter's Figure, in the style that is set."""
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds: mean and 95 % interval"
        name = self.dataset.name if self.dataset.model == MLP else f"{self.dataset.name}, {self.dataset.model}"
        small_line = f"{name} · {seeds} · {self.command}"
        return draw.figure(partial(self.chapter.module.figure, self.runs), self.chapter.finding, small_line)

    def record(self):
        """Everything on the page and in the figure, for JSON."""
        about = [about for run in self.runs.values() for about in run.about]
        return {
            "chapter": self.chapter.number,
            "finding": self.chapter.finding,
            "command": self.command,
            "parameters": self.parameters,
            "changed": self.chapter.changed(self.parameters),
            "dataset": self.dataset.facts(),
            "seeds": self.seeds,
            "verdicts": [asdict(claim) for claim in self.claims],
            "runs": {
                role: {
                    "experiment": repr(run.experiment),
                    "label": draw.label(run),
                    "published": self.published(run),
                    "columns": {name: run[name] for name in sorted(run.used)},
                    "dtypes": {name: str(run[name].dtype) for name in sorted(run.used)},
                }
                for role, run in self.runs.items()
            },
            "versions": {name: ", ".join(sorted({each[name] for each in about})) for name in VERSIONS}
            | {"matplotlib": matplotlib.__version__, "numpy": np.__version__},
            "measured_on": {name: sorted({each[name] for each in about}) for name in ("device", "machine", "threads")},
        }

    def write(self, out, formats, style):
        """Write the figure in each format and the numbers as JSON into the folder `out`; gives the paths.

        Raises BstudyError where they cannot be written.
        """
        return write_files(out, self.chapter.name, formats, style, self.figure, self.record)

    def show(self, paths):
        """Print the page."""
        console = Console(highlight=False)
        chapter = self.chapter

        def say(*parts):
            for part in parts:
                console.print(part, width=min(console.width, 100))

        say(Text(f"\nChapter {chapter.number} · {chapter.part}", "dim"), Text(f"{chapter.finding}\n", "bold"))
        prose, verdicts, exercises = (Table.grid(padding=(0, space)) for space in (2, 2, 1))
        for section in ("Claim", "Compare", "Look for", "Source"):
            prose.add_row(Text(section, "bold"), Text(chapter.text[section]))
        say(prose, "")
        say(Text(f"Measured {self.setting}", "bold"), *self._tables())
        for claim in self.claims:
            mark, colour = MARKS[claim.outcome]
            verdicts.add_row(Text(mark, f"bold {colour}"), Group(Text(claim.claim), Text(evidence(claim), "dim")))
        for number, exercise in enumerate(chapter.text["Exercises"], 1):
            exercises.add_row(f"  {number}.", Text(exercise))
        say(verdicts, Text("\nExercises", "bold"), exercises)
        settings = " ".join(f"{name}={as_text(value)}" for name, value in self.parameters.items())
        say(Text("\nParameters  ", "bold").append(f"{settings}  (--set NAME=VALUE)", "not bold"))
        console.print(Text("Files       ", "bold").append("  ".join(map(str, paths)), "not bold"), soft_wrap=True)

    def _tables(self):
        for columns, rows in self.measured():
            while columns:  # as many at a time as fit on a narrow terminal
                wide = np.cumsum([max(15, len(draw.quantity(column).heading)) for column in columns])
                fit = max(1, int(np.sum(wide <= 60)))
                yield as_table(columns[:fit], rows)
                columns = columns[fit:]

    def measured(self):
        """[(columns, Rows)]: tables of what was measured; runs that share a column stand in one table."""
        default = {role: run.experiment.summary(run) for role, run in self.runs.items()}
        tables = []
        for role, summary in getattr(self.chapter.module, "table", lambda runs: default)(self.runs).items():
            columns, rows = next((table for table in tables if set(table[0]) & set(summary)), ([], []))
            if not rows:
                tables.append((columns, rows))
            columns += [column for column in summary if column not in columns]
            rows.append(self._row(role, summary))
        return tables

    def _row(self, role, summary):
        run, cells, sources = self.runs[role], {}, {}
        published = self.published(run)
        for column, values in summary.items():
            shown = draw.quantity(column)
            mean, half = interval(values * np.array(shown.factor))
            number = f".{digits(mean) if shown.decimals is None else shown.decimals}f"
            cell = f"{mean:{number}}" + (f" ± {half:{number}}" if half > 0 else "")
            cells[column] = cell if not math.isnan(mean) else "–"
            source = published.get(column, math.nan) * shown.factor
            if not math.isnan(source):
                sources[column] = f"{source:g} ({mean - source:+{number}})"
        label = draw.label(run)
        return Row("" if label.startswith(role) else role, label, cells, sources)


def write_files(out, name, formats, style, figure, record):
    """Write what `figure()` draws, in each format, and what `record()` says, as JSON, into `out`; gives the paths."""
    paths = [out / f"{name}.{ending}" for ending in formats]
    with writing_into(out):
        with draw.style(style):
            drawn = figure()
            for path in paths:
                write_atomically(path, partial(draw.save, drawn, path.suffix[1:], name))
        text = as_json(plain(record())) + "\n"
        write_atomically(out / f"{name}.json", lambda file: file.write(text.encode()))
    return [*paths, out / f"{name}.json"]


@contextlib.contextmanager
def writing_into(folder):
    """Make the folder, and raise BstudyError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise BstudyError(f"{folder} cannot be written to: {error.strerror or error}") from None


def plain_table(*headings, title=None):
    """An empty table for the terminal, of numbers under these headings."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def as_table(columns, rows):
    """A table of what was measured, for the terminal."""
    table = plain_table()
    table.add_column("run")
    for column in columns:
        table.add_column(draw.quantity(column).heading, justify="right", no_wrap=True)
    for row in rows:
        if not any(column in row.cells for column in columns):
            continue
        name = Group(Text(row.role), Text(row.label, style="dim")) if row.role else Text(row.label)
        table.add_row(name, *(row.cells.get(column, "–") for column in columns))
        if any(column in row.published for column in columns):
            table.add_row("published (difference)", *(row.published.get(c, "") for c in columns), style="dim")
    return table


def digits(value, significant=3):
    """How many decimals show so many significant digits."""
    if not math.isfinite(value) or not value:
        return significant
    return max(0, significant - 1 - math.floor(math.log10(abs(value))))


def estimate(claim):
    """What was measured for a claim, with its interval."""
    half = claim.interval[1] - claim.estimate
    decimals = digits(half, 2) if half > 0 else 2 if half == 0 else digits(claim.estimate)
    shape = f".{decimals}f" if decimals < 7 and abs(claim.estimate) < 1e6 else ".1e"
    found, unit = (format(claim.estimate, shape), claim.unit) if math.isfinite(claim.estimate) else ("no estimate", "")
    if math.isfinite(half):
        found += " [{}, {}]".format(*(format(bound, shape) for bound in claim.interval))
    return f"{found} {unit}".strip()


def evidence(claim):
    """The numbers of a verdict, as a line."""
    bounds = {"above": claim.above, "below": claim.below}
    held = " and ".join(f"{side} {bound:g}" for side, bound in bounds.items() if bound is not None)
    parts = [estimate(claim), f"held if {held}"]
    if claim.published is not None:
        parts.append(f"published {claim.published:g}")
    return "; ".join(parts + [claim.why] * bool(claim.why))


def plain(value):
    """`value` in JSON's types: NaN as null, infinity as "inf", and a float32 with no more digits than give it back."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.float32):
        value = float(str(value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def as_json(value, indent=""):
    """JSON text in which only arrays of plain values share a line."""
    if isinstance(value, dict) and value:
        left, right = "{}"
        parts = [f"{json.dumps(name)}: {as_json(item, indent + ' ')}" for name, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        left, right = "[]"
        parts = [as_json(item, indent + " ") for item in value]
    else:
        separators = (",", ": ")  # a column may have ten thousand numbers
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=separators)
    return f"{left}\n" + ",\n".join(f"{indent} {part}" for part in parts) + f"\n{indent}{right}"


def outcome(run):
    """Where one run of a Recipe ended, in numbers."""
    losses = [f"{part}_{what}" for what in ("accuracy", "loss") for part in ("test", "train")]
    sizes = [f"{part}_{what}" for what in ("distance", "norm") for part in ("weight", "bias")]
    return {name: run.final(name)[0] for name in (*losses, *sizes, "cosines")} | {
        "parameters": run.about[0]["parameters"],
        "steps": run["loss"].shape[1],
        "seconds": np.nansum(run["seconds"]),
        "seconds_total": run.about[0]["seconds_total"],
        "diverged": run.diverged[0],
    }
