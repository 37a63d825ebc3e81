"""Data sets: the digits' split, files, and what is wrong with a file."""

import hashlib
import io
import os
import zipfile

import numpy as np
import pytest

from bstudy.data import load, standardize
from bstudy.errors import DataError, InvalidInput

GOOD = {
    "x_train": np.arange(48, dtype=np.uint8).reshape(6, 2, 4),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.zeros((2, 2, 4), np.uint8),
    "y_test": np.array([0, 1]),
}


def saved(tmp_path, **changes):
    path = tmp_path / "set.npz"
    np.savez(path, **{name: array for name, array in (GOOD | changes).items() if array is not None})
    return path


def test_the_digits_have_their_fixed_split():
    digits = load()
    assert digits.x_train.shape == (1437, 8, 8)
    assert digits.x_test.shape == (360, 8, 8)
    assert digits.x_train.dtype == np.float32
    assert digits.y_train.dtype == np.int32
    assert np.bincount(digits.y_test).tolist() == [36, 36, 36, 36, 37, 36, 36, 36, 35, 36]
    assert hashlib.sha256(digits.y_train.tobytes()).hexdigest()[:16] == "86ff49c779e2691b"
    assert digits.digest[:16] == "c908c3d3587c2633"
    assert digits.x_train.mean(dtype=float) == pytest.approx(0, abs=1e-6)
    assert digits.x_train.std(dtype=float) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("file", "name"),
    [("$\\frac$.npz", r"$\frac$"), ("red\x1b[31m\n.npz", r"red\x1b[31m "), ("b\udcffd.npz", r"b\udcffd")],
    ids=["formula", "escapes", "not UTF-8"],
)
def test_the_name_of_a_data_set_can_be_printed(tmp_path, file, name):
    try:
        path = saved(tmp_path).rename(tmp_path / file)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such name")
    assert load(path).name == name


def test_a_file_is_standardized_with_the_mean_and_deviation_of_its_training_set(tmp_path):
    data = load(saved(tmp_path))
    pixels = GOOD["x_train"] / 255
    np.testing.assert_allclose(data.x_train, (pixels - pixels.mean()) / pixels.std(), rtol=1e-6)
    np.testing.assert_allclose(data.x_test, -pixels.mean() / pixels.std(), rtol=1e-6)
    assert data.name == "set"
    assert data.classes == 3
    assert data.input_shape == (2, 4)
    assert not data.is_mnist
    assert str(data) == "set (6 training and 2 test samples)"
    assert data.facts()["training_samples"] == 6


def test_the_digest_is_of_the_content(tmp_path):
    first = load(saved(tmp_path)).digest
    assert load(saved(tmp_path).rename(tmp_path / "other.npz")).digest == first
    assert load(saved(tmp_path, y_test=np.array([1, 0]))).digest != first


def test_labels_may_be_a_column_as_in_keras(tmp_path):
    assert load(saved(tmp_path, y_train=GOOD["y_train"][:, None])).y_train.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, "it has no y_test"),
        ({"x_train": None, "y_train": None}, "no x_train and no y_train"),
        ({"y_train": np.array([0.5] * 6)}, "y_train must hold whole numbers"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -2])}, "negative label -2"),
        ({"y_train": np.array([0, 1, 2])}, "6 samples, y_train 3 labels"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 10**9])}, "labels go up to 1000000000"),
        ({"y_train": np.zeros(6, int), "y_test": np.zeros(2, int)}, "at least two classes"),
        ({"y_train": np.zeros((6, 3), int)}, "shapes are"),
        ({"x_train": np.full((6, 2, 4), np.nan)}, "NaN"),
        ({"x_train": np.arange(48.0).reshape(6, 2, 4), "x_test": np.full((2, 2, 4), np.inf)}, "infinity"),
        ({"x_test": np.full((2, 2, 4), 1e200)}, "too large"),
        ({"x_train": np.arange(48.0).reshape(6, 2, 4) * 1e200}, "too large"),
        ({"x_train": np.ones((6, 2, 4))}, "the same number"),
        ({"x_train": np.full((6, 7), 0.1), "x_test": np.ones((2, 7))}, "the same number"),
        ({"x_train": np.arange(48.0).reshape(6, 2, 4) * 1e-200}, "training inputs differ by too little; multiply"),
        ({"y_train": np.array([0, 1, 4, 0, 1, 4])}, "no training sample has the label 2, 3; number the classes from 0"),
        ({"y_train": np.array([1, 2, 3, 1, 2, 3])}, "no training sample has the label 0; number the classes from 0 on"),
        (
            {"y_test": np.array([0, 3])},
            "no training sample has the label 3; number the classes from 0 on, without gaps",
        ),
        ({"x_train": np.zeros((0, 2, 4)), "y_train": np.zeros(0, int)}, "x_train is empty"),
        ({"x_train": np.zeros(6)}, "shapes are"),
        ({"x_test": np.zeros((2, 3, 3))}, "test samples (3, 3)"),
        ({"x_train": np.zeros((6, 2, 4), complex)}, "x_train must hold numbers, not complex128"),
        ({"x_train": np.array([[None]] * 6)}, "Object arrays cannot be loaded"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_file_is_reported_in_a_sentence(tmp_path, changes, words):
    with pytest.raises(DataError) as error:
        load(saved(tmp_path, **changes))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more"], ids=["empty", "text", "half a zip"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(DataError, match="is not a data set: File is not a zip file"):
        load(tmp_path / "set.npz")


def test_a_header_that_declares_too_much_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (19 * 10**5, 1000)})
    with zipfile.ZipFile(saved(tmp_path, x_train=None), "a") as archive:
        archive.writestr("x_train.npy", header.getvalue() + b"few")
    with pytest.raises(
        DataError, match=r"is not a data set: it needs 8\.8 GiB of memory; use one that needs 8\.0 or less"
    ):
        load(tmp_path / "set.npz")


def test_standardizing_in_blocks_gives_the_bits_of_numpy(monkeypatch):
    monkeypatch.setattr("bstudy.data.BLOCK", 1000)
    random, y = np.random.default_rng(0), np.arange(203) % 3
    for x in (
        random.normal(size=(203, 7, 5)),
        random.integers(0, 255, (203, 61), np.uint8),
        random.random((203, 1300)),
    ):
        expected = ((x - x.mean(dtype=np.float64)) / x.std(dtype=np.float64)).astype(np.float32)
        np.testing.assert_array_equal(standardize("x", x, y, x[:9], y[:9]).x_train, expected)
        by_columns = np.asfortranarray(x)
        np.testing.assert_allclose(standardize("x", by_columns, y, x[:9], y[:9]).x_train, expected, atol=1e-6)


def other_content(tmp_path):
    (tmp_path / "other").mkdir()
    return saved(tmp_path / "other", x_train=GOOD["x_train"][::-1])


def test_a_file_that_is_replaced_while_it_is_read_gives_the_old_data(tmp_path, monkeypatch):
    path, other, opened = saved(tmp_path), other_content(tmp_path), []
    digest, initialize = load(path).digest, zipfile.ZipFile.__init__

    def replace(archive, *arguments, **settings):
        initialize(archive, *arguments, **settings)
        if not opened:
            opened.append(os.replace(other, path))

    monkeypatch.setattr(zipfile.ZipFile, "__init__", replace)
    assert load(path).digest == digest
    assert load(path).digest != digest


def test_a_file_that_is_overwritten_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path, content, opened = saved(tmp_path), other_content(tmp_path).read_bytes(), []
    open_member = zipfile.ZipFile.open

    def overwrite(*arguments, **settings):
        if not opened:
            opened.append(path.write_bytes(content))
        return open_member(*arguments, **settings)

    monkeypatch.setattr(zipfile.ZipFile, "open", overwrite)
    with pytest.raises(DataError, match="is not a data set: Bad CRC-32 for file 'x_train"):
        load(path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: os.symlink(path.name, path), "Too many levels of symbolic links"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: os.symlink("/dev/zero", path), "it is not a regular file"),
    ],
    ids=["loop", "pipe", "device"],
)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, make, reason):
    make(tmp_path / "set.npz")
    with pytest.raises(DataError, match=f"set.npz cannot be read: {reason}"):
        load(tmp_path / "set.npz")


def test_a_wrong_name_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no data set or file 'mnits'; use digits, mnist, fashion_mnist"):
        load("mnits")
    with pytest.raises(DataError, match="not a regular file"):
        load(tmp_path)


def test_a_failed_download_names_the_alternatives(monkeypatch, tmp_path, home):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with pytest.raises(DataError, match=r"mnist could not be downloaded .* --dataset digits.* --dataset FILE\.npz"):
        load("mnist")
    assert not list(home.glob("datasets/*"))


def test_a_subset_is_drawn_once_and_is_another_data_set(tiny):
    part = tiny.subset(20)
    assert part.x_train.shape == (20, 4, 4)
    assert part.x_test.shape == (5, 4, 4)
    assert part.digest != tiny.digest
    np.testing.assert_array_equal(tiny.subset(20).x_train, part.x_train)
    rows = {sample.tobytes(): label for sample, label in zip(tiny.x_train, tiny.y_train, strict=True)}
    assert [rows[sample.tobytes()] for sample in part.x_train] == part.y_train.tolist()
    assert tiny.subset(50) is tiny


@pytest.mark.mnist
def test_mnist_is_recognized_by_its_content(mnist):
    assert mnist.is_mnist
    assert mnist.name == "mnist"
    assert mnist.x_train.shape == (60000, 28, 28)
    assert mnist.x_train.min() == pytest.approx(-0.1307 / 0.3081, abs=1e-3)
