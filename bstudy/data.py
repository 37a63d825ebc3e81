"""Data sets by name or file, standardised as the study has them. Knows nothing of models or training."""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bstudy.errors import DataError, InvalidInput
from bstudy.store import home

NAMES = ("digits", "mnist", "fashion_mnist")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MNIST = "0edce7ea46b7b3bc6c29f4a35cdd2828ac1fc513931f00b7e08204c8fd0b007c"  # its fingerprint
MOST_BYTES = 8 * 2**30  # a file that declares more is refused before it is read


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to train on and to test on.

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

    @property
    def is_mnist(self):
        """Whether this is the data set that the published numbers belong to, by whatever name it was loaded."""
        return self.fingerprint == MNIST

    def facts(self):
        """What a record says of the data."""
        samples = {"training_samples": len(self.x_train), "test_samples": len(self.x_test)}
        return {"name": self.name, "fingerprint": self.fingerprint, **samples, "classes": self.classes}

    def __str__(self):
        return f"{self.name} ({len(self.x_train):,} training and {len(self.x_test):,} test samples)"


def load(name="digits"):
    """The data set of this name (digits, mnist, fashion_mnist), or that of an `.npz` file.

    Raises InvalidInput where there is no such name or file, and DataError where the data cannot be had or used.
    """
    if name == "digits":
        return _dataset(name, *_digits())
    if name in NAMES:
        return _dataset(name, *_read(_downloaded(name)))
    path = Path(name).expanduser()
    if not path.exists():
        raise InvalidInput(
            f"there is no data set or file {str(name)!r}; name one of {', '.join(NAMES)}, or an .npz file"
        )
    return _dataset(path.stem, *_read(path))


def _digits():
    """scikit-learn's 1,797 handwritten digits, every fifth of each class kept for the test.

    The rows of the file are not exchangeable (they go from writer to writer), so that its end is no fair test set.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    by_class = np.argsort(labels, kind="stable")
    test = np.zeros(len(labels), bool)
    test[by_class[::5]] = True
    return images[~test], labels[~test], images[test], labels[test]


def _downloaded(name):
    """The path of a copy of one of Keras's data sets, fetched by Keras itself, in a process of its own: no TensorFlow here."""
    path = home() / "datasets" / f"{name}.npz"
    if path.exists():
        return path
    print(f"Fetching {name} (once) ...", file=sys.stderr)
    program = (
        "import os, socket, sys; socket.setdefaulttimeout(30); import numpy; from keras.datasets import "
        f"{name} as source; (a, b), (c, d) = source.load_data(); path = sys.argv[1]; "
        "os.makedirs(os.path.dirname(path), exist_ok=True); part = path + f'.{os.getpid()}.part'; "
        "file = open(part, 'wb'); numpy.savez_compressed(file, x_train=a, y_train=b, x_test=c, y_test=d); "
        "file.close(); os.replace(part, path)"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "tensorflow"})
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(
            f"{name} could not be fetched ({reason}); use --dataset digits, which needs no network, or --dataset FILE.npz "
            f"with {', '.join(ARRAYS)}; where a download was cut short, delete its file in ~/.keras/datasets and try again"
        )
    return path


def _read(path):
    """The four arrays of an `.npz` file, without pickle, and nothing that the file does not declare beforehand."""

    def refuse(reason):
        raise DataError(f"{path} is no data set: {reason}") from None

    if not path.is_file():
        refuse("it is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            missing = [name for name in ARRAYS if f"{name}.npy" not in members]
            if missing:
                found = ", ".join(name.removesuffix(".npy") for name in members) or "nothing"
                refuse(f"it holds no {' and no '.join(missing)} (it holds {found})")
            if sum(members[f"{name}.npy"].file_size for name in ARRAYS) > MOST_BYTES:
                refuse(f"it declares more than {MOST_BYTES // 2**30} GiB")
            for name in ARRAYS:
                with archive.open(f"{name}.npy") as member:
                    shape, dtype = _declared(member)
                    if dtype.kind not in ("biuf" if name[0] == "x" else "iu"):
                        wanted = "numbers" if name[0] == "x" else "whole numbers (an integer type)"
                        refuse(f"{name} must hold {wanted}, not {dtype}")
                    size = members[f"{name}.npy"].file_size - member.tell()
                    if int(np.prod(shape, dtype=object)) * dtype.itemsize != size:
                        refuse(f"{name} declares the shape {shape}, but holds {size} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in ARRAYS]
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zipfile.zlib.error,
    ) as error:
        refuse(str(error) or type(error).__name__)


def _declared(member):
    """The shape and type in the header of a `.npy` member."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    return shape, dtype


def _dataset(name, x_train, y_train, x_test, y_test):
    """Check the raw arrays, and standardise."""

    def refuse(reason):
        raise DataError(f"{name} is no data set to train on: {reason}")

    def labels(what, y):
        return y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y

    y_train, y_test = labels("y_train", y_train), labels("y_test", y_test)
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim < 2 or y.ndim != 1:
            refuse(
                f"x_{part} must have a row a sample and y_{part} a number a sample; their shapes are {x.shape} and {y.shape}"
            )
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
        refuse(
            f"its labels go up to {classes - 1}; they must number at least two classes from 0, and no more than samples"
        )

    digest = hashlib.sha256()
    for array in (x_train, y_train, x_test, y_test):
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)

    mean, deviation = x_train.mean(dtype=np.float64), x_train.std(dtype=np.float64)
    with np.errstate(all="ignore"):
        x_train, x_test = (((x - mean) / deviation).astype(np.float32) for x in (x_train, x_test))
    if deviation == 0:
        refuse("all its training inputs are the same number")
    if not (np.isfinite(x_train).all() and np.isfinite(x_test).all()):
        refuse("its inputs hold NaN, infinity, or numbers too large for float32")
    return Dataset(
        name, x_train, y_train.astype(np.int32), x_test, y_test.astype(np.int32), classes, digest.hexdigest()
    )
