"""What a page reports, as data. It is built once; the terminal, the HTML page and the JSON print it."""

import contextlib
import json
import math
import os
import re
import tempfile
import warnings
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from bstudy import plots
from bstudy.backend import RECORDED_FLAGS
from bstudy.chapter import Chapter, as_text
from bstudy.claims import Claim, Claims
from bstudy.data import Dataset
from bstudy.drawing import Drawing
from bstudy.errors import BstudyError
from bstudy.experiments.base import Runs, leaves, map_leaves
from bstudy.lab import Lab
from bstudy.models import MLP, ModelSpec
from bstudy.prose import HtmlWriter
from bstudy.rendering import show_cell
from bstudy.store import MARK, open_regular, write_atomically
from bstudy.tables import Entry, Table, build_tables

VERSIONS = ("bstudy", "python", "tensorflow", "keras")  # of the process that measured
MACHINE = ("device", "machine", "cpu", "threads", *RECORDED_FLAGS)


class RecordedColumns(UserDict):
    """Columns that note in `used` which of them are read, in whatever way."""

    def __init__(self, columns: dict[str, np.ndarray]):
        super().__init__(columns)
        self.used: set[str] = set()

    def __getitem__(self, name):
        column = super().__getitem__(name)
        self.used.add(name)
        return column


@dataclass(frozen=True, repr=False)
class Report:
    """A chapter with its results on one dataset."""

    chapter: Chapter
    parameters: dict[str, Any]
    dataset: Dataset
    model: ModelSpec
    seeds: tuple[int, ...]
    runs: dict  # nested like the chapter's experiments, with the columns that the page reads
    tables: list[Table]
    claims: list[Claim]

    @property
    def name(self) -> str:
        """The name of its files."""
        return self.chapter.name

    @property
    def answers(self) -> list[Claim]:
        """The claims that answer the question of the chapter."""
        return [claim for claim in self.claims if claim.answer]

    @property
    def headline(self) -> str:
        """The answer in words: the title of the figure."""
        return " ".join(claim.finding for claim in self.answers)

    @property
    def answer(self) -> str:
        """The answer with its numbers."""
        return " ".join(claim.finding_with_numbers for claim in self.answers)

    @property
    def score(self) -> str:
        """How many of the claims held; checks are not counted."""
        outcomes = [claim.outcome for claim in self.claims if not claim.check]
        return f"{outcomes.count('held')} of {len(outcomes)}"

    @property
    def command(self) -> str:
        """The command that makes this page, without dataset, seeds and model."""
        return self.chapter.command(self.parameters)

    @property
    def setting(self) -> str:
        """On which data, with which changed parameters and how many seeds it was measured."""
        count = len(self.seeds)
        seeds = f"{count} seeds: mean ± 95 % interval" if count > 1 else f"seed {self.seeds[0]}: no interval"
        model = [] if self.model == MLP else [f"model {self.model}"]
        changed = [f"{name}={value}" for name, value in self.chapter.changed(self.parameters).items()]
        return ", ".join([f"on {self.dataset}", *model, *changed, seeds])

    @property
    def footer(self) -> str:
        """The small line below the figure."""
        return f"bstudy chapter {self.chapter.number} {self.setting.partition(': ')[0]}"

    @property
    def versions(self) -> dict[str, str]:
        """The software that measured and drew."""
        measured = {name: ", ".join(self._metadata(name)) for name in VERSIONS}
        return measured | {"matplotlib": matplotlib.__version__, "numpy": np.__version__}

    @property
    def machines(self) -> str:
        """The machines, if they matter: of times, and of bits if there are several types. "" if they do not."""
        timed, every = self._metadata("cpu", exclusive=True), self._metadata("cpu")
        parts = [f"Time and memory were measured on {'; '.join(timed)}."] * bool(timed)
        several = f"{len(every)} types of machine, whose last bits may differ, measured these runs: {'; '.join(every)}."
        return " ".join(parts + [several] * (len(every) > 1))

    def _metadata(self, name, exclusive=False):
        """Return the different values of this name in the metadata of all runs, or of those of time and memory."""
        runs = (run for run in leaves(self.runs).values() if run.experiment.EXCLUSIVE or not exclusive)
        every = (each for run in runs for each in run.metadata)
        return sorted({each[name] for each in every if name in each})

    def draw(self, like: Figure | None = None) -> Figure:
        """Return the chapter's figure in the current style, with the layout of one in other colors if it is given."""
        return plots.make_figure(partial(self.chapter.module.figure, self.runs), self.headline, self.footer, like)

    def __repr__(self):
        return f"<Report of chapter {self.chapter.number}: {self.headline}>"

    def _repr_html_(self) -> str:
        with plots.style("page"):
            drawing = Drawing(self.draw())
        return show_cell(
            "page_cell.html",
            chapter=self.chapter,
            report=self,
            figures={"page": drawing.data_uri()},
            alt=drawing.alt,
            data=drawing.tables,
            command=self.command,
            markdown=lambda text: Markup(HtmlWriter(link_terms=False)(text)),
            text=as_text,
        )

    def record(self) -> dict[str, Any]:
        """Return every number of the page, and the columns that its figure is drawn from."""
        return {
            "chapter": self.chapter.number,
            "part": self.chapter.part,
            "question": self.chapter.question,
            "answer": self.answer,
            "headline": self.headline,
            "score": self.score,
            "command": self.command,
            "footer": self.footer,
            "parameters": self.parameters,
            "changed": [*self.chapter.changed(self.parameters)],
            "dataset": self.dataset.facts(),
            "model": self.model.facts(),
            "seeds": self.seeds,
            "verdicts": [asdict(claim) for claim in self.claims],
            "tables": [asdict(table) for table in self.tables],
            "runs": map_leaves(run_record, self.runs),
            "versions": self.versions,
            "machines": self.machines,
            "measured_on": {name: found for name in MACHINE if (found := self._metadata(name))},
        }


def build(chapter: Chapter, parameters: dict[str, Any], lab: Lab) -> Report:
    """Run a chapter's experiments, and report on them.

    Raises:
        BstudyError: as `lab.run` does.
    """
    return judge(chapter, parameters, lab, lab.run(chapter.module.experiments(**parameters)))


def judge(chapter: Chapter, parameters: dict[str, Any], lab: Lab, measured: dict) -> Report:
    """Evaluate a chapter's verdicts, its table and its figure on the runs of its experiments.

    Each of the three is evaluated once, here, on columns that record which of them are read: these columns belong to
    the report.
    """
    module = chapter.module
    runs = map_leaves(lambda run: with_columns(run, RecordedColumns(run.columns)), measured)
    is_source_setting = lab.dataset.is_mnist and lab.model == MLP
    with warnings.catch_warnings(action="ignore"):  # of numbers that are not finite, and of axes that are empty
        claims = Claims(module.verdicts(runs))
        tables = page_tables(chapter, runs, chapter.published if is_source_setting else {})
        module.figure(runs, Figure())
    if not is_source_setting or chapter.changed(parameters):
        claims = [replace(claim, published=None) for claim in claims]
    used = map_leaves(lambda run: with_columns(run, {name: run[name] for name in sorted(run.columns.used)}), runs)
    return Report(chapter, parameters, lab.dataset, lab.model, tuple(lab.seeds), used, tables, claims)


def with_columns(run: Runs, columns: dict[str, np.ndarray]) -> Runs:
    """Return the run with other columns."""
    return Runs(run.experiment, run.seeds, columns, run.diverged, run.metadata, run.samples)


def page_tables(chapter: Chapter, runs: dict, published: dict) -> list[Table]:
    """Return the tables of a page.

    Args:
        chapter: Whose `table(runs)` says what is shown; without one, each experiment does.
        runs: Nested as the chapter's experiments are.
        published: {experiment: {column: the source's number}}.
    """
    table = getattr(chapter.module, "table", partial(map_leaves, lambda run: run.table()))(runs)

    def columns(path):
        return reduce(lambda node, key: (node or {}).get(key), path, table) or {}

    return build_tables(
        Entry(path, run, columns(path), published.get(run.experiment, {})) for path, run in leaves(runs).items()
    )


def run_record(run: Runs) -> dict[str, Any]:
    """Return what the JSON holds of a run."""
    return {
        "experiment": repr(run.experiment),
        "diverged": run.diverged,
        "columns": run.columns,
        "dtypes": {name: str(column.dtype) for name, column in run.columns.items()},
    }


def runs_from_record(chapter: Chapter, record: dict[str, Any]) -> dict:
    """Return the runs of a page from its JSON, nested as the chapter has them: its figure can be drawn from them."""
    parameters = {name: tuple(v) if isinstance(v, list) else v for name, v in record["parameters"].items()}
    experiments = chapter.module.experiments(**parameters)
    samples, paths = record["dataset"]["training_samples"], iter(leaves(experiments))

    def read(experiment):
        entry = reduce(lambda node, key: node[str(key)], next(paths), record["runs"])
        columns = {name: np.array(column, entry["dtypes"][name]) for name, column in entry["columns"].items()}
        return Runs(experiment, record["seeds"], columns, np.array(entry["diverged"]), samples=samples)

    return map_leaves(read, experiments)


def final_numbers(run: Runs) -> dict[str, Any]:
    """Return where the first run of a Recipe ended."""
    measures = [f"{name}_{what}" for what in ("accuracy", "loss") for name in ("test", "final_train")]
    measures += [f"{name}_{what}" for what in ("distance", "norm") for name in ("weight", "bias")]
    numbers = {name.removeprefix("final_"): run.final(name, over=1)[0] for name in (*measures, "cosines")}
    metadata = run.metadata[0]
    return numbers | {
        "parameters": metadata["parameters"],
        "steps": run["loss"].shape[1],
        "seconds": np.nansum(run["seconds"]),
        "seconds_total": metadata["seconds_total"],
        "diverged": run.diverged[0],
        **{name: metadata[name] for name in RECORDED_FLAGS if name in metadata},  # they change the last bits
    }


def to_jsonable(value: Any) -> Any:
    """Return `value` in JSON's types: NaN as null, infinity as "inf", a float32 with its shortest digits."""
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value[()]  # a scalar, if it has no axes
    if isinstance(value, list | tuple | np.ndarray):
        return [to_jsonable(item) for item in value]
    if isinstance(value, np.float32):
        value = float(str(value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def to_json(value: Any) -> str:
    """Return JSON text in which a list or dict without others in it takes one line."""
    text = json.dumps(to_jsonable(value), indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", lambda part: re.sub(r"\n *", "", part[0]), text) + "\n"


@contextlib.contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Raise an OSError as a BstudyError that names the folder."""
    try:
        yield
    except OSError as error:
        raise BstudyError(f"{folder} cannot be written to: {error.strerror or error}") from None


def check_files(paths: Iterable[Path]) -> None:
    """Raise BstudyError if one of these files cannot be written, or belongs to the user; create nothing.

    Every file that bstudy writes holds MARK. It replaces only such a file, or an empty one.
    """
    for path in paths:
        with writing_into(path.parent):
            existing = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
            tempfile.TemporaryFile(dir=existing).close()
        try:
            with open_regular(path) as file:
                content = file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BstudyError(f"{path} cannot be replaced: {error.strerror}") from None
        if content and MARK.encode() not in content:
            raise BstudyError(
                f"{path} was not written by bstudy, which does not replace it; move it, or write elsewhere"
            )


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write(file)` for a file that holds MARK, and make its folder if needed.

    Raises:
        BstudyError: it cannot be written, or another file is there.
    """
    check_files([path])
    with writing_into(path.parent):
        write_atomically(path, write)


def write_text(path: Path, text: str) -> None:
    """Write a text that holds MARK, as `write_file` does."""
    write_file(path, lambda file: file.write(text.encode()))


def write_json(path: Path, record: dict) -> None:
    """Write a record as JSON, as `write_file` does."""
    write_text(path, to_json({"note": MARK} | record))


def page_files(name: str, out: Path, formats: Iterable[str]) -> list[Path]:
    """Return the files of the page of this name: its figure in each format, and its JSON."""
    return [out / f"{name}.{ending}" for ending in (*formats, "json")]


def write(page: Any, out: Path, formats: tuple[str, ...], style: str) -> list[Path]:
    """Write the figure of a page in each format, and its record as JSON.

    Args:
        page: A Report, or another object with a name, draw() and record().
        out: The folder.
        formats: Endings: "png", "svg" or "pdf".
        style: Of the figure: "page", "slide" or "dark".

    Returns:
        The paths.

    Raises:
        BstudyError: they cannot be written.
    """
    *drawings, numbers = page_files(page.name, out, formats)
    with plots.style(style):  # saving reads the style too
        figure = page.draw()
        for path, ending in zip(drawings, formats, strict=True):
            write_file(path, partial(plots.save, figure, ending, page.name))
    write_json(numbers, page.record())
    return [*drawings, numbers]
