"""Data sets: the digits' split, files, and what is wrong with a file."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from bstudy.data import load
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
        ({"x_train": np.ones((6, 2, 4))}, "the same number"),
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
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**13, 4)})
    with zipfile.ZipFile(saved(tmp_path, x_train=None), "a") as archive:
        archive.writestr("x_train.npy", header.getvalue() + b"few")
    with pytest.raises(DataError, match="is not a data set: it needs more memory than there is"):
        load(tmp_path / "set.npz")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("bstudy.data.MAX_BYTES", 100)
    with pytest.raises(DataError, match="its arrays take more than"):
        load(saved(tmp_path))


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
