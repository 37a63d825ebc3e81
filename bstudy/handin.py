"""Checks hand-ins: whether the JSON of a chapter has the numbers that the chapter measures here.

A file is only read. What is measured is a chapter of this installation, with the parameters that the file names.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from bstudy import __version__
from bstudy.chapter import Chapter, as_text, chapter
from bstudy.data import Dataset, load
from bstudy.errors import BstudyError, Interrupted, InvalidInput, printable
from bstudy.experiments.base import Runs, leaves
from bstudy.lab import Lab
from bstudy.models import CNN, MLP, ModelSpec
from bstudy.progress import format_duration
from bstudy.report import judge, runs_from_record, to_jsonable
from bstudy.store import MARK, open_regular

MAX_BYTES = 2**26  # of a file; a page has less than a megabyte
MAX_SEEDS = 1000
PARTS = {"chapter": int, "parameters": dict, "seeds": list, "dataset": dict, "model": dict, "runs": dict}
PARTS |= {"versions": dict, "verdicts": list}
UNRELATED = ("note", "versions", "measured_on", "machines")  # parts of a record that do not follow from its runs
# Of a column's largest value. Another machine rounds otherwise, and training amplifies that
TOLERANCE = 0.01
SHOWN = 60  # characters of a forged text
RIGHT = {"equal to the bit": "✓", "equal to rounding": "≈", "only times": "≈"}
MARKS = RIGHT | {"different": "✗", "inconsistent": "✗", "not checked": "?"}


@dataclass(frozen=True)
class Checked:
    """The result for one file."""

    path: Path
    outcome: str = "not checked"  # one of MARKS
    detail: str = ""  # the reason, or where it differs
    setting: str = ""  # which chapter, what was changed, data and seeds

    @property
    def is_right(self) -> bool:
        """Whether the numbers are those that are measured here."""
        return self.outcome in RIGHT


@dataclass(frozen=True)
class Handin:
    """What a file says about how it was made, checked against the chapters of this installation."""

    record: dict[str, Any]
    chapter: Chapter
    parameters: dict[str, Any]

    @property
    def setting(self) -> str:
        """Chapter, changed parameters, data and seeds, in a line."""
        changed = [f"{name}={text}" for name, text in self.chapter.changed(self.parameters).items()]
        count = len(self.record["seeds"])
        data, model = self.record["dataset"].get("name"), self.record["model"].get("name")
        parts = [f"chapter {self.chapter.number}", *changed, f"{data}"]
        parts += [f"{model}"] * (model != MLP.name) + [f"{count} seed{'s' * (count != 1)}"]
        return printable(", ".join(parts))


@dataclass
class Checker:
    """Checks hand-ins one after another.

    Args:
        dataset: Data that hand-ins may use besides digits.
        model: The model that hand-ins may use besides the built-in ones.
        limit: Seconds of measuring that one hand-in may need.
        quiet: Whether to show no progress.
        jobs: The number of parallel processes.
    """

    dataset: Dataset
    model: ModelSpec
    limit: float
    quiet: bool = False
    jobs: int | None = None
    _labs: dict[tuple, Lab] = field(default_factory=dict)

    @functools.cached_property
    def _datasets(self) -> list[Dataset]:
        return [load("digits"), self.dataset]

    def check(self, path: Path) -> Checked:
        """Return the result for a file.

        Raises:
            Interrupted: the user stopped the measuring.
        """
        checked = Checked(path)
        try:
            handin = read(path)
            checked = replace(checked, setting=handin.setting)
            lab = self._lab(handin)
            runs = runs_of(handin)
            if problem := find_inconsistency(handin, lab, runs):
                return replace(checked, outcome="inconsistent", detail=problem)
            outcome, detail = self._compare(handin, lab, runs)
        except Interrupted:
            raise
        except BstudyError as error:
            return replace(checked, detail=str(error))
        version = handin.record["versions"].get("bstudy")
        if version != __version__:
            detail = printable(f"made by bstudy {version}, this is {__version__}{'; ' * bool(detail)}{detail}")
        return replace(checked, outcome=outcome, detail=detail)

    def _lab(self, handin: Handin) -> Lab:
        """Return a lab with the data, the model and the seeds of a hand-in, if they are known here."""
        about, model, seeds = handin.record["dataset"], handin.record["model"], tuple(handin.record["seeds"])
        data = next((each for each in self._datasets if each.facts() == about), None)
        if data is None:
            raise BstudyError(f"its data, {about.get('name')!r}, are not at hand; give them with --dataset")
        for spec in (MLP, CNN, self.model):
            if spec.name == model.get("name"):
                key = data.digest, spec, seeds
                if key not in self._labs:
                    self._labs[key] = Lab(data, seeds, quiet=self.quiet, model=spec, jobs=self.jobs)
                if self._labs[key].model.facts() == model:
                    return self._labs[key]
        raise BstudyError(f"its model, {model.get('name')!r}, is not at hand; give it with --model")

    def _compare(self, handin, lab, runs):
        """Measure a hand-in again, and return the outcome and the largest difference."""
        wanted = {path: run for path, run in leaves(runs).items() if not run.experiment.EXCLUSIVE}
        experiments = {path: run.experiment for path, run in wanted.items()}
        if not wanted:
            return "only times", "times and memory, which differ on each machine; its page follows from them"
        count, seconds = lab.missing(experiments)
        if count and seconds > self.limit:
            time = format_duration(seconds)
            return "not checked", f"{count} results are not stored, and need about {time}: more than --limit"
        measured = lab.run(experiments)
        found = [each for path, run in wanted.items() for each in differences(path, run, measured[path])]
        if not found:
            return "equal to the bit", "times and memory are not compared" * (len(wanted) < len(leaves(runs)))
        size, place = max(found, key=lambda each: each[0])
        return ("equal to rounding" if size <= TOLERANCE else "different"), f"{place} ({100 * size:.2g} %)"


def read(path: Path) -> Handin:
    """Return what a file says about how it was made.

    Raises:
        BstudyError: it is no hand-in, or of a chapter or parameters that are unknown here.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BstudyError(f"it cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise BstudyError(f"it has more than {MAX_BYTES // 2**20} MB")
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        raise BstudyError("it is no JSON file") from None
    if not isinstance(record, dict) or record.get("note") != MARK:
        raise BstudyError("it was not written by 'bstudy chapter'")
    if wrong := [name for name, kind in PARTS.items() if not isinstance(record.get(name), kind)]:
        raise BstudyError(f"it is no page of a chapter: it has no {wrong[0]!r}")
    seeds = record["seeds"]
    if not 1 <= len(seeds) <= MAX_SEEDS or not all(type(seed) is int for seed in seeds):
        raise BstudyError(f"its seeds are not 1 to {MAX_SEEDS} whole numbers")
    found = chapter(record["chapter"])
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record["parameters"].items()}
    parameters = found.with_settings(f"{name}={as_text(value)}" for name, value in values.items())
    if parameters != values:
        raise BstudyError("it does not have all parameters of its chapter")
    return Handin(record, found, parameters)


def runs_of(handin: Handin) -> dict:
    """Return the runs that a file holds.

    Raises:
        BstudyError: they are not those of its chapter and its parameters.
    """
    experiments = leaves(handin.chapter.module.experiments(**handin.parameters))
    for path, experiment in experiments.items():
        entry = find_entry(handin.record["runs"], path)
        if entry.get("experiment") != repr(experiment):
            raise BstudyError(f"its run {name_of(path)} is not that of its chapter and parameters")
        for column, kind in entry["dtypes"].items():
            if kind not in ("float32", "float64", "int32", "int64", "bool"):
                raise BstudyError(f"its column {column} has the unknown type {kind!r}")
    try:
        runs = runs_from_record(handin.chapter, handin.record)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        raise BstudyError("its runs are damaged") from None
    for path, run in leaves(runs).items():
        if any(column.shape[:1] != (len(run.seeds),) for column in (run.diverged, *run.columns.values())):
            raise BstudyError(f"its run {name_of(path)} does not have a row for each seed")
    return runs


def find_entry(tree: dict, path: tuple) -> dict:
    """Return the run at this path of a record.

    Raises:
        BstudyError: there is none.
    """
    try:
        entry = reduce(lambda node, key: node[str(key)], path, tree)
        if all(isinstance(entry[part], dict) for part in ("columns", "dtypes")):
            return entry
    except (LookupError, TypeError):
        pass
    raise BstudyError(f"it has no run {name_of(path)}")


def find_inconsistency(handin: Handin, lab: Lab, runs: dict) -> str:
    """Return where a file differs from the page that follows from its own runs, or ""."""
    try:
        page = to_jsonable(judge(handin.chapter, handin.parameters, lab, runs).record())
    except Exception as error:  # whatever a chapter makes of forged columns
        return printable(f"no page follows from its runs: {type(error).__name__}: {error}")
    given = handin.record
    for name in dict.fromkeys([*page, *given]):
        if name not in UNRELATED:
            for path, found, expected in unequal(given.get(name), page.get(name), name):
                return printable(f"{path} is {shorten(found, expected)}, not {shorten(expected, found)}")
    return ""


def unequal(given: Any, expected: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, given, expected) where two values of JSON differ by more than the rounding of a sum."""
    if isinstance(given, dict) and isinstance(expected, dict):
        for name in dict.fromkeys([*expected, *given]):
            yield from unequal(given.get(name), expected.get(name), f"{path}, {name}")
    elif isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        for number, pair in enumerate(zip(given, expected, strict=True), 1):
            yield from unequal(*pair, f"{path} {number}")
    elif given != expected and not is_close(given, expected):
        yield path, given, expected


def is_close(a: Any, b: Any) -> bool:
    """Whether two values are numbers that differ by the rounding of a sum at most."""
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (a, b))
    return numbers and bool(np.isclose(a, b, rtol=1e-6, atol=1e-12))


def differences(path: tuple, given: Runs, measured: Runs) -> Iterator[tuple[float, str]]:
    """Yield (size, where) of the largest difference in each column, relative to the largest measured value.

    Times are left out: they are those of the other machine.
    """
    for column, values in {"diverged": given.diverged, **given.columns}.items():
        expected = measured.diverged if column == "diverged" else measured.columns.get(column)
        if column.endswith("seconds") or (
            expected is not None and np.array_equal(values, expected, equal_nan=values.dtype.kind == "f")
        ):
            continue
        if expected is None or expected.shape != values.shape:
            yield np.inf, f"{column} of {name_of(path)} has another shape than measured here"
            continue
        with np.errstate(invalid="ignore"):
            size = np.abs(values.astype(float) - expected)
        size = np.where(np.isnan(size), np.where(np.isnan(values) & np.isnan(expected), 0, np.inf), size)
        where = np.unravel_index(np.argmax(size), size.shape)
        scale = np.nanmax(np.abs(expected.astype(float)), initial=0) or 1.0
        place = f"{column} of {name_of(path)}, seed {given.seeds[where[0]]}"
        yield size[where] / scale, f"{place}: {values[where]:.7g} in the file, {expected[where]:.7g} here"


def name_of(path: Iterable) -> str:
    """Return the path of a run in words."""
    return " / ".join(map(str, path))


def shorten(value: Any, other: Any) -> str:
    """Return a value as a short text that shows where it differs from the other one."""
    text, different = (json.dumps(each, ensure_ascii=False) for each in (value, other))
    pairs = enumerate(zip(text, different, strict=False))
    first = max(0, next((i for i, (a, b) in pairs if a != b), 0) - SHOWN // 3)
    return "… " * (first > 0) + text[first : first + SHOWN] + " …" * (len(text) > first + SHOWN)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and all JSON files in the folders.

    Raises:
        InvalidInput: a path does not exist, or a folder has no such file.
    """
    found = []
    for path in paths:
        inside = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not inside or not path.exists():
            raise InvalidInput(f"{path} {'has no JSON files' if path.is_dir() else 'does not exist'}")
        found += inside
    return list(dict.fromkeys(found))
