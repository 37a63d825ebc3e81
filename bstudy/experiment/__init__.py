"""The questions, frozen, and their answers. Knows nothing of how a question is answered, stored or drawn.

What a module of this folder asks, the module of the same name in `measure/` answers.
"""

import hashlib
import json
import math
import numbers
from dataclasses import dataclass, fields, is_dataclass
from typing import ClassVar

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.models import MLP


def count(name, value, most=2**31 - 1):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise InvalidInput(f"{name} must be a whole number of at least 1, not {value!r}")
    if value > most:
        raise InvalidInput(f"{name} must be at most {most}")
    return int(value)


def positive(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise InvalidInput(f"{name} must be a positive, finite number, not {value!r}")
    return float(value)


def _plain(value):
    """What `value` says, in JSON's types; an experiment says its kind and version too."""
    if is_dataclass(value):
        kind = {"kind": type(value).__name__, "version": value.VERSION} if isinstance(value, Experiment) else {}
        return kind | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Experiment:
    """A question whose fields say all that its answer depends on, besides a data set and a seed.

    A kind of experiment is a frozen dataclass below this one, in a module of this folder; the function `measure` of the
    module of the same name in `bstudy.measure` answers it.
    """

    VERSION = 1  # raised when the way of measuring this kind changes, so that old answers are not taken for new ones
    GAPS = ()  # columns in which NaN does not say that a run diverged
    DERIVED: ClassVar = {}  # column -> what it is of the measured columns, for those that read it
    ALONE = False  # whether its answer is of seconds or bytes, which what runs beside it would disturb

    def key(self, dataset, seed):
        """The name of the answer in the store: SHA-256 over the question, the data, the model and the seed."""
        question = {"experiment": _plain(self), "dataset": dataset.fingerprint, "seed": int(seed)}
        if dataset.model != MLP:  # the study's own goes without saying
            question["model"] = dataset.model.says()
        return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()

    def starts(self):
        """The experiments that must be answered first, because this one begins from their final weights."""
        return ()

    def beginnings(self):
        """Pairs (share of this one, experiment), longest first, whose complete answers this one may go on from."""
        return ()

    def check(self, dataset):
        """Raise InvalidInput where `dataset` cannot answer this question."""
        for start in self.starts():
            start.check(dataset)

    def guess(self, dataset):
        """A rough number of seconds on two cores, for estimates alone."""
        raise NotImplementedError

    def on(self, replicas):
        """This question, answered on so many replicas where it can be."""
        return self

    def reached(self, share):
        """Where a measurement is when this share of it is done, in words."""
        return f"{100 * share:.0f} %"

    def summary(self, run):
        """{name: (seeds,)} of what a page shows of the answer in its table."""
        raise NotImplementedError


class Runs:
    """The answer to one experiment for all seeds: named columns whose first axis is the seed.

    runs["test_accuracy"]        (seeds, epochs + 1) for a Recipe; see each kind of experiment for its columns
    runs.final("test_accuracy")  (seeds,)
    """

    def __init__(self, experiment, seeds, columns, about=(), samples=None):
        self.experiment, self.seeds, self.about = experiment, tuple(seeds), tuple(about)
        self.samples = samples  # of the training set
        self._columns = columns
        self.used = set()  # the columns that were looked at: what a figure and its verdicts rest on

    def __getitem__(self, name):
        """Raises KeyError, with the names there are, where there is no such column."""
        if name not in self._columns and name in self.experiment.DERIVED:
            self._columns[name] = self.experiment.DERIVED[name](self._columns)
        if name not in self._columns:
            raise KeyError(f"{self.experiment!r} has no column {name!r}; it has {', '.join(sorted(self._columns))}")
        self.used.add(name)
        return self._columns[name]

    def final(self, name, over=1):
        """(seeds, ...) the column's last value, or the mean of its last `over` epochs, without the untrained start.

        Train accuracy and loss over one epoch are those of the whole training set.
        """
        if over == 1 and f"final_{name}" in self._columns:
            return self[f"final_{name}"]
        column = self[name]
        return column if column.ndim == 1 else column[:, 1:][:, -over:].mean(axis=1)

    @property
    def diverged(self):
        """(seeds,) whether a run's numbers stopped being finite."""
        told = [column for name, column in self._columns.items() if name not in self.experiment.GAPS]
        return np.any([np.isnan(column.reshape(len(self.seeds), -1)).any(axis=1) for column in told], axis=0)
