"""Data sets by name or file, standardised as the study has them. Knows nothing of models or training."""

import hashlib
import io
import math
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bstudy.errors import DataError, InvalidInput
from bstudy.models import MLP, Architecture, Model
from bstudy.store import home

NAMES = ("digits", "mnist", "fashion_mnist")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MNIST = "0edce7ea46b7b3bc6c29f4a35cdd2828ac1fc513931f00b7e08204c8fd0b007c"  # its fingerprint
MOST_ENTRIES = 2**31  # a file that declares more is refused before it is read: they are 8 GiB in float32
MOST_HEADER = 2**16  # bytes that say what an array is


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to train on and to test on, and the model that is trained on them.

    x_train (n, ...) and x_test (m, ...) are float32, standardised with the one mean and the one standard deviation of
    all of x_train; y_train (n,) and y_test (m,) are int32 labels from 0 to classes - 1.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    fingerprint: str  # SHA-256 over the raw arrays: two files of the same content are the same data set
    model: Model = MLP

    @property
    def is_published(self):
        """Whether the published numbers belong to this data set, by whatever name it was loaded, and to this model."""
        return self.fingerprint == MNIST and self.model == MLP

    @property
    def architecture(self):
        """The model for samples of this shape."""
        return Architecture(self.model, self.x_train.shape[1:], self.classes)

    def part(self, samples):
        """A data set of at most so many training samples, and a quarter as many test samples, drawn once at random."""
        if samples >= len(self.x_train):
            return self
        random, rows = np.random.default_rng(0), {}
        for name, most in (("train", samples), ("test", max(1, samples // 4))):
            drawn = np.sort(random.permutation(len(getattr(self, f"y_{name}")))[:most])
            rows |= {f"{axis}_{name}": getattr(self, f"{axis}_{name}")[drawn] for axis in "xy"}
        return replace(self, fingerprint=f"{samples} of {self.fingerprint}", **rows)

    def facts(self):
        """What a record says of the data."""
        samples = {"training_samples": len(self.x_train), "test_samples": len(self.x_test)}
        facts = {"name": self.name, "fingerprint": self.fingerprint, **samples, "classes": self.classes}
        return facts | {"model": self.model.name, "model_fingerprint": self.model.fingerprint}

    def __str__(self):
        samples = f"{self.name} ({len(self.x_train):,} training and {len(self.x_test):,} test samples)"
        return samples if self.model == MLP else f"{samples} with the model {self.model}"


def load(name="digits"):
    """The data set of this name (digits, mnist, fashion_mnist), or that of an `.npz` file.

    Raises InvalidInput where there is no such name or file, and DataError where the data cannot be had or used.
    """
    if name == "digits":
        return standardised(name, *_digits())
    if name in NAMES:
        return standardised(name, *_read(_downloaded(name)))
    path = Path(os.path.expanduser(name))
    if not os.path.exists(path):
        raise InvalidInput(
            f"there is no data set or file {str(name)!r}; name one of {', '.join(NAMES)} or an .npz file"
        )
    try:
        return standardised(path.stem, *_read(path))
    except MemoryError:
        raise DataError(f"{path} needs more memory than there is; name a smaller data set") from None


def _digits():
    """scikit-learn's 1,797 handwritten digits, every fifth of each class kept for the test.

    The rows of the file are not exchangeable (they go from writer to writer), so that its end is no fair test set.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    test = np.zeros(len(labels), bool)
    test[np.argsort(labels, kind="stable")[::5]] = True
    return images[~test], labels[~test], images[test], labels[test]


DOWNLOAD = """
import os, socket, sys
import numpy
from keras.datasets import {name} as source
socket.setdefaulttimeout(30)
(x_train, y_train), (x_test, y_test) = source.load_data()
part = sys.argv[1] + ".part"
with open(part, "wb") as file:
    numpy.savez_compressed(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
os.replace(part, sys.argv[1])
"""


def _downloaded(name):
    """Our copy of one of Keras's data sets, which Keras fetches in a process of its own: no TensorFlow in this one."""
    path = home() / "datasets" / f"{name}.npz"
    if not path.exists():
        print(f"Fetching {name}, once ...", file=sys.stderr)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{path.parent} cannot be written to: {error.strerror}") from None
        command = [sys.executable, "-c", DOWNLOAD.format(name=name), str(path)]
        environment = os.environ | {"KERAS_BACKEND": "tensorflow"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            reason = done.stderr.strip().split("\n")[-1]
            raise DataError(
                f"{name} could not be fetched ({reason}); use --dataset digits, which needs no network, or --dataset "
                f"FILE.npz with {', '.join(ARRAYS)}; where a download was cut short, delete it in ~/.keras/datasets"
            )
    return path


def _read(path):
    """The four arrays of an `.npz` file: without pickle, and nothing larger than its directory and headers agree on."""

    def refuse(reason):
        raise DataError(f"{path} is no data set: {reason}") from None

    if not path.is_file():
        refuse("it is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
            missing = [name for name in ARRAYS if name not in sizes]
            if missing:
                there = ", ".join([*sizes][:8]) + ", ..." * (len(sizes) > 8)
                refuse(f"it holds no {' and no '.join(missing)} (it holds {there or 'nothing'})")
            entries = 0
            for name in ARRAYS:
                with archive.open(f"{name}.npy") as member:
                    start = io.BytesIO(member.read(MOST_HEADER))
                version = np.lib.format.read_magic(start)
                header = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
                shape, _, dtype = getattr(np.lib.format, header)(start)
                held = archive.getinfo(f"{name}.npy").file_size - start.tell()
                kinds, wanted = ("biuf", "numbers") if name[0] == "x" else ("iu", "whole numbers (an integer type)")
                if dtype.kind not in kinds:
                    refuse(f"{name} must hold {wanted}, not {dtype}")
                if math.prod(shape) * dtype.itemsize != held:
                    refuse(f"{name} declares the shape {shape}, but holds {held} bytes")
                entries += math.prod(shape)
            if entries > MOST_ENTRIES:
                refuse(f"it declares {entries} numbers, and at most {MOST_ENTRIES} can be trained on")
            return [_array(archive, name) for name in ARRAYS]
    except DataError:
        raise
    except OSError as error:
        refuse(error.strerror or str(error))
    except Exception as error:  # whatever zipfile and NumPy make of a file that is something else
        refuse(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _array(archive, name):
    with archive.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def standardised(name, x_train, y_train, x_test, y_test):
    """The Dataset of four raw arrays. Raises DataError where one cannot train and test on them."""

    def refuse(reason):
        raise DataError(f"{name} is no data set to train on: {reason}")

    # one label a row, as Keras has CIFAR's, is one label a sample
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
        refuse(f"its labels go up to {classes - 1}; wanted at least two classes from 0 on, and no more than samples")

    digest = hashlib.sha256()
    for array in (x_train, y_train, x_test, y_test):
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)

    with np.errstate(all="ignore"):  # what overflows here is refused below
        mean, deviation = x_train.mean(dtype=np.float64), x_train.std(dtype=np.float64)
        if deviation == 0:
            refuse("all its training inputs are the same number")
        x_train, x_test = (((x - mean) / deviation).astype(np.float32) for x in (x_train, x_test))
    if not (np.isfinite(x_train).all() and np.isfinite(x_test).all()):
        refuse("its inputs hold NaN, infinity, or numbers too large for float32")
    return Dataset(
        name, x_train, y_train.astype(np.int32), x_test, y_test.astype(np.int32), classes, digest.hexdigest()
    )
