"""What all kinds of measurement have in common: Experiment, Context, Work, and Runs, the results for all seeds."""

import hashlib
import json
import math
import numbers
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bstudy.data import Dataset
from bstudy.errors import InvalidInput
from bstudy.models import ModelSpec
from bstudy.rendering import show_cell
from bstudy.store import Result
from bstudy.tables import Entry, build_tables
from bstudy.trainer import Trainer, weights_of

MAX_INT = 2**31 - 1
MAX_BATCH_SIZE = 2**20
TYPICAL_BATCH_SIZES = (1, 64, 1024)  # shown in a table of many batch sizes


def checked(check: Callable, **options) -> Any:
    """Return a dataclass field whose value is replaced by `check(name, value)`, which raises InvalidInput."""
    return field(metadata={"check": check}, **options)


def added(check: Callable, default: Any) -> Any:
    """Return a checked field that changes the key only if it is not the default: results from before it stay valid."""
    return field(default=default, metadata={"check": check, "added": True})


def positive_int(name: str, value: Any, maximum: int = MAX_INT) -> int:
    """Return the value as int, if it is a whole number from 1 to `maximum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= value <= maximum:
        raise InvalidInput(f"{name} must be a whole number from 1 to {maximum}, not {value!r}")
    return int(value)


def positive_float(name: str, value: Any) -> float:
    """Return the value as float, if it is positive and finite."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise InvalidInput(f"{name} must be a positive, finite number, not {value!r}")
    return float(value)


def below_one(name: str, value: Any) -> float:
    """Return the value as float, if it is at least 0 and less than 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise InvalidInput(f"{name} must be a number from 0 to less than 1, not {value!r}")
    return float(value)


def ascending(check: Callable, what: str = "number") -> Callable:
    """Return a check of several values, each by `check`: it returns them in ascending order, each once."""

    def check_all(name, values):
        found = tuple(sorted({check(name, value) for value in values}))
        if not found:
            raise InvalidInput(f"{name} must hold at least one {what}")
        return found

    return check_all


batch_size_tuple = ascending(partial(positive_int, maximum=MAX_BATCH_SIZE), "batch size")


def check_batch_size(batch_size: int, dataset: Dataset) -> None:
    """Raise InvalidInput if the training set has fewer samples."""
    samples = len(dataset.x_train)
    if batch_size > samples:
        text = f"batch_size {batch_size} is larger than the training set of {dataset.name}, which has {samples} samples"
        raise InvalidInput(text)


def one_of(*choices: str) -> Callable:
    """Return a check that the value is one of these words."""

    def check(name, value):
        if value not in choices:
            raise InvalidInput(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")
        return value

    return check


@dataclass(frozen=True)
class Checked:
    """A frozen dataclass whose fields are checked when it is made."""

    def __post_init__(self):
        for each in fields(self):
            if check := each.metadata.get("check"):
                # the way to normalize a field of a frozen dataclass
                object.__setattr__(self, each.name, check(each.name, getattr(self, each.name)))


@dataclass(frozen=True)
class Work:
    """How much there is to compute, in units that do not depend on the machine."""

    samples: float = 0  # that pass forward and backward
    steps: float = 0  # of training, or gradients of one batch: each reads all weights
    evaluated: float = 0  # samples that only pass forward
    seconds: float = 0  # of waiting, or of processes that start
    programs: frozenset = frozenset()  # that are compiled: each once in a process

    def plus(self, other: "Work", times: float = 1) -> "Work":
        """Return the sum of this work and `times` times the other."""
        amounts = ("samples", "steps", "evaluated", "seconds")
        sums = {name: getattr(self, name) + times * getattr(other, name) for name in amounts}
        return Work(**sums, programs=self.programs | other.programs)


@dataclass
class Context:
    """All that a measurement may use; there are no globals."""

    dataset: Dataset
    seed: int
    get_trainer: Callable[[int], Trainer]  # number of replicas -> the trainer of this process
    required: tuple[Result, ...] = ()  # of `requires()`, in its order, with their states
    resume_from: Result | None = None  # a checkpoint, or the complete result of one of the `prefixes()`

    @property
    def trainer(self) -> Trainer:
        """The trainer on one device."""
        return self.get_trainer(1)

    def trained_weights(self, number: int = 0) -> list[np.ndarray]:
        """Return the final weights of a required training; if it diverged, NaN, so that all that follows is NaN."""
        weights = weights_of(self.required[number].state)
        if not self.required[number].diverged:
            return weights
        return [np.full_like(weight, np.nan) if weight.dtype.kind == "f" else weight for weight in weights]


@dataclass(frozen=True)
class Experiment(Checked):
    """One measurement. Its fields are everything that its result depends on, besides data, model and seed."""

    KIND: ClassVar[str]  # part of the key: a class may be renamed without losing results
    VERSION: ClassVar[int] = 1  # raised whenever `measure` returns other numbers
    EXCLUSIVE: ClassVar[bool] = False  # True for time and memory measurements, which must not run in parallel
    EXTENDS: ClassVar[str] = ""  # a field that counts repetitions: a result of fewer can be extended

    def requires(self) -> tuple["Experiment", ...]:
        """Return the experiments whose final weights this one starts from: those among its fields."""
        values = [getattr(self, each.name) for each in fields(self)]
        return tuple(leaf for value in values for leaf in _as_tuple(value) if isinstance(leaf, Experiment))

    def prefixes(self) -> Iterable[tuple[float, "Experiment"]]:
        """Return (fraction, experiment) for every shorter version whose result can be extended, longest first."""
        total = getattr(self, self.EXTENDS) if self.EXTENDS else 0
        return ((count / total, replace(self, **{self.EXTENDS: count})) for count in range(total - 1, 0, -1))

    def validate(self, dataset: Dataset) -> None:
        """Raise InvalidInput if this cannot be measured on these data."""
        for experiment in self.requires():
            experiment.validate(dataset)

    def with_replicas(self, replicas: int) -> "Experiment":
        """Return this experiment with the number of replicas filled in where a Recipe in it leaves that open."""

        def filled(value):
            if isinstance(value, tuple):
                return tuple(map(filled, value))
            return value.with_replicas(replicas) if isinstance(value, Experiment) else value

        return replace(self, **{each.name: filled(getattr(self, each.name)) for each in fields(self)})

    def work(self, dataset: Dataset) -> Work:
        """Return how much there is to compute, without the required experiments."""
        raise NotImplementedError

    def measure(self, context: Context) -> Iterator[tuple[float, Result]]:
        """Yield `(progress, result)` about once a second.

        `progress` is in [0, 1]; `result` is the latest checkpoint. The last one is complete.
        """
        raise NotImplementedError

    def table(self, run: "Runs") -> dict[str, np.ndarray]:
        """Return {column: (seeds,)} of a page's table of results: by default all columns of one number a seed."""
        return {name: values for name, values in run.columns.items() if values.ndim == 1}

    def derived(self, columns: dict[str, np.ndarray], samples: int) -> dict[str, np.ndarray]:
        """Return further columns (seeds, ...) that are computed from the measured ones, and not stored."""
        return {}

    def progress_text(self, progress: float) -> str:
        """Return how far a measurement is, in words."""
        if not self.EXTENDS:
            return f"{100 * progress:.0f} %"
        total = getattr(self, self.EXTENDS)
        return f"{self.EXTENDS} {progress * total:.0f} of {total}"

    def key(self, dataset: Dataset, model: ModelSpec, seed: int) -> str:
        """Return the name of the result in the store: a SHA-256 hash of everything that changes its bits."""
        question = {"experiment": canonical(self), "dataset": dataset.digest, "model": model.cache_key(), "seed": seed}
        return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()


def _as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def canonical(value: Any) -> Any:
    """Return a field's value in JSON's types; an experiment includes its kind and version."""
    if is_dataclass(value):
        kind = {"kind": value.KIND, "version": value.VERSION} if isinstance(value, Experiment) else {}
        named = {each.name: getattr(value, each.name) for each in fields(value)}
        unchanged = [
            each.name for each in fields(value) if "added" in each.metadata and named[each.name] == each.default
        ]
        return kind | {name: canonical(item) for name, item in named.items() if name not in unchanged}
    return [canonical(item) for item in value] if isinstance(value, tuple) else value


def for_typical_sizes(name: str, batch_sizes: Iterable[int], values: np.ndarray) -> dict[str, np.ndarray]:
    """Return {"name, B = size": (seeds,)} of values (seeds, batch sizes), for a table."""
    columns = {size: values[:, i] for i, size in enumerate(batch_sizes)}
    return {f"{name}, B = {size}": columns[size] for size in TYPICAL_BATCH_SIZES if size in columns}


class Runs:
    """The results of one experiment for all seeds: named columns whose first axis is the seed.

    `runs["test_accuracy"]` has the shape (seeds, epochs + 1) for a Recipe; see each kind of experiment for its columns.

    Args:
        experiment: What was measured.
        seeds: The seeds, in the order of the first axis.
        columns: Name -> array (seeds, ...).
        diverged: (seeds,) whether the loss of a run stopped being finite.
        metadata: For each seed, what is known about its measurement.
        samples: The size of the training set.
    """

    def __init__(self, experiment, seeds, columns, diverged, metadata=(), samples=None):
        self.experiment: Experiment = experiment
        self.seeds: tuple[int, ...] = tuple(seeds)
        self.columns: dict[str, np.ndarray] = columns
        self.diverged = np.asarray(diverged, bool)
        self.metadata: tuple[dict, ...] = tuple(metadata)
        self.samples: int | None = samples

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column.

        Raises:
            KeyError: there is no such column; the message names those there are.
        """
        if name not in self.columns:
            raise KeyError(f"{self.experiment!r} has no column {name!r}; it has {', '.join(sorted(self.columns))}")
        return self.columns[name]

    def final(self, name: str, over: int = 5) -> np.ndarray:
        """Return (seeds, ...) the mean of a column's last `over` epochs, without the untrained start.

        Five is the book's rule for the end of a run: a single epoch varies more than the difference of two runs.

        A column of one number a seed is returned as it is.
        """
        column = self[name]
        return column if column.ndim == 1 else column[:, 1:][:, -over:].mean(axis=1, dtype=np.float64)

    def table(self) -> dict[str, np.ndarray]:
        """Return {column: (seeds,)} of a page's table of results."""
        return self.experiment.table(self)

    def __repr__(self):
        return f"<Runs of {self.experiment}, seeds {', '.join(map(str, self.seeds))}>"

    def _repr_html_(self) -> str:
        return show_cell(tables=build_tables([Entry((), self, self._shown(), {})]))

    def _shown(self):
        try:
            return self.table()
        except KeyError:  # the runs of a page have only the columns that the page reads
            return {name: self.final(name) for name, column in self.columns.items() if column.ndim < 3}


class Results(dict):
    """Nested dicts of Runs. A notebook shows them as tables: the mean over seeds with its 95 % interval."""

    def _repr_html_(self) -> str:
        entries = (Entry(path, run, run._shown(), {}) for path, run in leaves(self).items())
        return show_cell(tables=build_tables(entries))


def map_leaves(function: Callable, tree: Any) -> Any:
    """Return nested dicts of the same keys, with `function(leaf)` in place of each leaf."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, branch) for key, branch in tree.items()}
    return function(tree)


def leaves(tree: Any, path: tuple = ()) -> dict[tuple, Any]:
    """Return {path of keys: leaf} of nested dicts, in their order."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {name: leaf for key, branch in tree.items() for name, leaf in leaves(branch, (*path, key)).items()}


def stack(runs: dict[Any, Runs], what: str | Callable[[Runs], np.ndarray]) -> tuple[list, np.ndarray]:
    """Return the keys of `runs`, and (seeds, n) one value of each.

    Args:
        runs: Key -> Runs, such as batch sizes.
        what: A column, of which the final value is taken, or a function of Runs that returns (seeds,).
    """
    value = (lambda run: run.final(what)) if isinstance(what, str) else what
    return list(runs), np.stack([value(run) for run in runs.values()], axis=1)
