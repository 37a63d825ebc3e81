"""Data sets by name or file, standardized as in the study."""

import hashlib
import math
import os
import socket
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bstudy.backend import keras
from bstudy.errors import DataError, InvalidInput, printable
from bstudy.processes import Child
from bstudy.store import data_dir, open_regular, write_atomically

NAMES = ("digits", "mnist", "fashion_mnist")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MNIST_DIGEST = "0edce7ea46b7b3bc6c29f4a35cdd2828ac1fc513931f00b7e08204c8fd0b007c"
MAX_BYTES = 2**33  # of arrays and their standardized copies; a file that declares more is not read
BLOCK = 2**20  # entries that are computed at a time in double precision
DOWNLOAD_SECONDS = 30  # without any answer


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to train on and to test on.

    x_train (n, ...) and x_test (m, ...) are float32, standardized with the one mean and the one standard deviation of
    all of x_train; y_train (n,) and y_test (m,) are int32 labels from 0 to classes - 1.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    digest: str  # SHA-256 of the raw arrays: two files with the same content are the same data set

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.x_train.shape[1:]

    @property
    def is_mnist(self) -> bool:
        """Whether the content is MNIST, whatever name it was loaded by."""
        return self.digest == MNIST_DIGEST

    def subset(self, samples: int) -> "Dataset":
        """Return at most `samples` training samples and a quarter as many test samples, drawn once at random."""
        if samples >= len(self.x_train):
            return self
        random, arrays = np.random.default_rng(0), {}
        for part, size in (("train", samples), ("test", max(1, samples // 4))):
            rows = np.sort(random.permutation(len(getattr(self, f"y_{part}")))[:size])
            arrays |= {f"{axis}_{part}": getattr(self, f"{axis}_{part}")[rows] for axis in "xy"}
        return replace(self, digest=f"{samples} of {self.digest}", **arrays)

    def facts(self) -> dict[str, object]:
        """Return what a record reports of the data."""
        return {
            "name": self.name,
            "digest": self.digest,
            "training_samples": len(self.x_train),
            "test_samples": len(self.x_test),
            "classes": self.classes,
        }

    def __str__(self):
        return f"{self.name} ({len(self.x_train):,} training and {len(self.x_test):,} test samples)"


def load(name: str | Path = "digits") -> Dataset:
    """Return a data set.

    Args:
        name: digits, mnist, fashion_mnist, or the path of an `.npz` file with x_train, y_train, x_test, y_test.

    Raises:
        InvalidInput: there is no such name or file.
        DataError: it cannot be downloaded, read, or trained on.
    """
    if name == "digits":
        return standardize(name, *_digits())
    if name in NAMES:
        return standardize(name, *read_npz(_download(name)))
    path = Path(os.path.expanduser(name))
    return standardize(path.stem, *read_npz(path))


def _digits():
    """scikit-learn's 1,797 handwritten digits; every fifth of each class is a test sample.

    The rows are sorted by writer, so the end of the file would be no fair test set.
    """
    from sklearn.datasets import load_digits  # takes a second

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    test = np.zeros(len(labels), bool)
    test[np.argsort(labels, kind="stable")[::5]] = True
    return images[~test], labels[~test], images[test], labels[test]


def _download(name: str) -> Path:
    """Return our copy of one of Keras's data sets, downloaded once, by a process of its own: loading Keras is slow."""
    path = data_dir() / "datasets" / f"{name}.npz"
    if path.exists():
        return path
    print(f"Downloading {name}, once ...", file=sys.stderr, flush=True)
    child = Child(_download_with_keras, name, path)
    try:
        reason = child.connection.recv()
    except EOFError:
        reason = child.exit_reason()
    finally:
        child.kill()
    if reason:
        raise DataError(
            f"{name} could not be downloaded ({reason}); use --dataset digits, which needs no network, or --dataset "
            f"FILE.npz with {', '.join(ARRAYS)}; if a download was cut short, delete it from ~/.keras/datasets"
        )
    return path


def _download_with_keras(connection, name, path):
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
        arrays = dict(zip(ARRAYS, (x_train, y_train, x_test, y_test), strict=True))
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
        connection.send("")
    except Exception as error:
        connection.send(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__)


def read_npz(path: Path, needs_test: bool = True) -> list[np.ndarray]:
    """Return the four arrays of an `.npz` file, without pickle. A file that declares too much is not read.

    All is read from one descriptor, with checksums: if the file is replaced or changed meanwhile, the arrays are those
    of the old file, or it is refused. Unless it needs a test set of labels, two arrays are enough, and labels may be
    any numbers.
    """

    def refuse(reason):
        raise DataError(f"{path} is not a data set: {reason}") from None

    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            wanted = ARRAYS if needs_test or {*ARRAYS[2:]} & {*names} else ARRAYS[:2]
            if missing := [name for name in wanted if name not in names]:
                shown = ", ".join(names[:8]) + ", ..." * (len(names) > 8)
                refuse(f"it has no {' and no '.join(missing)} (it has {shown or 'nothing'})")
            needed = sum(_bytes_needed(archive, name) for name in wanted)
            if needed > MAX_BYTES:
                refuse(
                    f"it needs {needed / 2**30:,.1f} GiB of memory; use one that needs {MAX_BYTES / 2**30:.1f} or less"
                )
            arrays = {}
            for name in wanted:
                with archive.open(f"{name}.npy") as member:
                    arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    except DataError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(
            f"there is no data set or file {str(path)!r}; use {', '.join(NAMES)}, or an .npz file"
        ) from None
    except MemoryError:
        refuse("it needs more memory than there is; use a smaller one")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # anything that zipfile and NumPy make of another kind of file
        refuse(str(error).splitlines()[0] if str(error) else type(error).__name__)
    for name, array in arrays.items():
        has_any = name[0] == "x" or not needs_test
        kinds, described = ("biuf", "numbers") if has_any else ("iu", "whole numbers (an integer type)")
        if array.dtype.kind not in kinds:
            refuse(f"{name} must hold {described}, not {array.dtype}")
    return list(arrays.values())


def _bytes_needed(archive, name):
    """Return the memory for an array, by its header, and for its copy in float32."""
    with archive.open(f"{name}.npy") as member:
        is_first_version = np.lib.format.read_magic(member) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if is_first_version else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
    return math.prod(shape) * (dtype.itemsize + 4)


def standardize(name: str, x_train, y_train, x_test, y_test) -> Dataset:
    """Return the Dataset of four raw arrays.

    Raises:
        DataError: one cannot train and test on them.
    """

    def refuse(reason):
        raise DataError(f"{name} cannot be trained on: {reason}")

    # CIFAR in Keras has labels of shape (n, 1)
    y_train, y_test = (y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for y in (y_train, y_test))
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim < 2 or y.ndim != 1:
            refuse(f"x_{part} needs a row and y_{part} a number a sample; their shapes are {x.shape} and {y.shape}")
        if len(x) != len(y):
            refuse(f"x_{part} has {len(x)} samples, y_{part} {len(y)} labels")
        if x.size == 0:
            refuse(f"x_{part} is empty")
        if y.min() < 0:
            refuse(f"y_{part} holds the negative label {y.min()}")
    if x_train.shape[1:] != x_test.shape[1:]:
        refuse(f"training samples have the shape {x_train.shape[1:]}, test samples {x_test.shape[1:]}")
    classes = int(max(y_train.max(), y_test.max())) + 1
    if not 2 <= classes <= len(y_train):
        refuse(f"its labels go up to {classes - 1}; use at least two classes from 0 on, and no more than samples")

    y_train, y_test, raw = y_train.astype(np.int32), y_test.astype(np.int32), (x_train, y_train, x_test, y_test)
    absent = np.flatnonzero(np.bincount(y_train, minlength=classes) == 0)
    if len(absent):
        shown = ", ".join(map(str, absent[:5])) + ", ..." * (len(absent) > 5)
        refuse(f"no training sample has the label {shown}; number the classes from 0 on, without gaps")
    if x_train.min() == x_train.max():
        refuse("all its training inputs are the same number")
    with np.errstate(all="ignore"):  # an overflow is refused below
        mean = x_train.mean(dtype=np.float64)
        deviation = np.sqrt(_sum_of_squares(x_train.ravel(order="K"), mean) / x_train.size)
        if deviation**2 < np.finfo(np.float64).tiny:
            refuse("its training inputs differ by too little; multiply all inputs by a large number")
        x_train, x_test = (_scale(x, mean, deviation) for x in (x_train, x_test))
    if not np.isfinite([deviation, x_train.min(), x_train.max(), x_test.min(), x_test.max()]).all():
        refuse("its inputs hold NaN, infinity, or numbers too large for float32")
    return Dataset(printable(name), x_train, y_train, x_test, y_test, classes, _digest(*raw))


def _sum_of_squares(x, mean):
    """Return the sum of the squared deviations of x (n,), to the bit that of NumPy, without all of them in double."""
    if x.size <= BLOCK:
        return np.square(x - mean).sum(dtype=np.float64)
    half = x.size // 2 - x.size // 2 % 8  # as NumPy's pairwise summation does
    return _sum_of_squares(x[:half], mean) + _sum_of_squares(x[half:], mean)


def _scale(x, mean, deviation):
    """Return (x - mean) / deviation in float32, computed in double."""
    scaled = np.empty(x.shape, np.float32)
    rows = -(-BLOCK * len(x) // x.size)
    for first in range(0, len(x), rows):
        part = slice(first, first + rows)
        scaled[part] = (x[part] - mean) / deviation
    return scaled


def _digest(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
