"""The reader's arrays, of any shape: read from a file or a function, checked, and split."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bstudy import data as datasets
from bstudy.errors import InvalidInput, in_one_line, printable
from bstudy.processes import stdout_to_stderr
from bstudy.user_model import is_function_name, load_function

HELD_OUT = 0.2  # of the training set, if there is no test set
MAX_HELD_OUT = 2000  # samples that are split off
EVALUATED = 1000  # held-out samples at most, whose loss is evaluated: as long as a few dozen steps
MIN_SAMPLES = 64
FUNCTION_RETURNS = "x_train, y_train and, if there is a test set, x_test, y_test"


@dataclass(frozen=True, eq=False)
class Arrays:
    """Samples and labels to train on and to test on: x (n, ...) and y (n, ...) of numbers."""

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    was_split: bool = False  # the test part was taken from the training set

    @property
    def classes(self) -> int | None:
        """The number of classes, if the labels are class numbers from 0 on; else None."""
        labels = self.y_train
        if labels.dtype.kind != "i" or labels[0].size != 1 or labels.min() < 0:
            return None
        return int(max(labels.max(), self.y_test.max())) + 1

    def standardized(self) -> "Arrays":
        """Return these data as bstudy trains on them, for classification with a model that is not compiled."""
        four = datasets.standardize(self.name, self.x_train, self.y_train, self.x_test, self.y_test)
        return replace(self, x_train=four.x_train, y_train=four.y_train, x_test=four.x_test, y_test=four.y_test)

    def __str__(self):
        return f"{self.name} ({len(self.x_train):,} training and {len(self.x_test):,} held-out samples)"


def read_arrays(source: str) -> Arrays:
    """Return the data of `--dataset`: a name, an .npz file, or MODULE:FUNCTION.

    Raises:
        InvalidInput: there is nothing of this name, or its arrays do not fit together.
        DataError: it cannot be read.
    """
    if source in datasets.NAMES:
        loaded = datasets.load(source)
        return Arrays(loaded.name, loaded.x_train, loaded.y_train, loaded.x_test, loaded.y_test)
    if is_function_name(source):
        return make_arrays(source, *_call(source))
    path = Path(source).expanduser()
    return make_arrays(path.stem, *datasets.read_npz(path, needs_test=False))


def _call(source: str) -> list[Any]:
    function = load_function(source)
    with stdout_to_stderr():
        try:
            returned = function()
        except (Exception, SystemExit) as error:  # anything that a user's code raises
            raise InvalidInput(f"the function {source} raised {in_one_line(error)}") from None
    try:
        parts = [*returned]
        if len(parts) == 2 and all(isinstance(part, tuple | list) and len(part) == 2 for part in parts):
            parts = [*parts[0], *parts[1]]  # as keras.datasets returns them
    except TypeError:
        parts = []
    if len(parts) not in (2, 4):
        raise InvalidInput(f"the function {source} must return {FUNCTION_RETURNS}")
    return parts


def make_arrays(name: str, x_train, y_train, x_test=None, y_test=None) -> Arrays:
    """Return checked arrays: whole numbers as int32, others as float32. Without a test set, a part is held out.

    Raises:
        InvalidInput: they cannot be trained on.
    """
    if (x_test is None) != (y_test is None):
        raise InvalidInput(f"{name} has only one of x_test and y_test; give both, or none")
    pairs = {"train": (x_train, y_train)} | ({} if x_test is None else {"test": (x_test, y_test)})
    arrays = [
        _numbers(name, f"{axis}_{part}", array)
        for part, pair in pairs.items()
        for axis, array in zip("xy", pair, strict=True)
    ]
    for part, x, y in zip(pairs, arrays[::2], arrays[1::2], strict=True):
        if len(x) != len(y):
            raise InvalidInput(f"{name}: x_{part} has {len(x)} samples, y_{part} {len(y)} labels")
    if len(arrays) == 4 and [each.shape[1:] for each in arrays[:2]] != [each.shape[1:] for each in arrays[2:]]:
        raise InvalidInput(f"{name}: the samples or labels of the training set and the test set differ in shape")
    was_split = len(arrays) == 2
    if len(arrays[0]) < MIN_SAMPLES * (1 + HELD_OUT * was_split) or len(arrays[-1]) == 0:
        raise InvalidInput(
            f"{name} has {len(arrays[0])} training samples; advice needs at least {MIN_SAMPLES}, and held-out ones"
        )
    if was_split:
        order = np.random.default_rng(0).permutation(len(arrays[0]))
        held_out = min(MAX_HELD_OUT, int(HELD_OUT * len(order)))
        arrays = [array[rows] for rows in (order[held_out:], order[:held_out]) for array in arrays]
    return Arrays(printable(name), *arrays, was_split)


def _numbers(name, part, array) -> np.ndarray:
    """Return an array in 32 bits."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise InvalidInput(f"{name}: {part} must hold numbers, a row a sample; it has the type {array.dtype}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InvalidInput(f"{name}: {part} holds NaN or infinity")
        return array.astype(np.float32)
    return array.astype(np.int32)


def held_out(arrays: Arrays, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples whose loss is evaluated: at most 1,000, always the same, in whole batches if there is one."""
    rows = np.random.default_rng(0).permutation(len(arrays.x_test))[:EVALUATED]
    if len(rows) > batch_size:
        rows = rows[: len(rows) // batch_size * batch_size]
    return arrays.x_test[rows], arrays.y_test[rows]
