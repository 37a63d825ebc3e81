"""Bad input: each is told in one sentence that names it, with the right exit status; nothing is measured or written."""

import io
import os
import pickle
import sys
import zipfile

import click
import numpy as np
import pytest
from click.testing import CliRunner

from bstudy import Lab, book
from bstudy.cli import main
from bstudy.errors import BstudyError


class Reached(BstudyError):
    """Raised in place of measuring."""

    exit_status = 77


@pytest.fixture
def call(monkeypatch, tmp_path):
    """call(*words, NAME=VALUE) runs the command here, up to where it would measure; gives exit status and stderr."""

    def reached(*_):
        raise Reached("it would measure")

    monkeypatch.setattr(Lab, "_measure", reached)
    monkeypatch.chdir(tmp_path)

    def run(*words, **environment):
        done = CliRunner().invoke(main, [str(word) for word in words], env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done.exit_code, " ".join(done.stderr.split()), done.stdout

    return run


HUGE = 10**30
TRAIN = {"--batch-size": 64, "--learning-rate": 0.01, "--epochs": 1}


def train(*more, **changes):
    options = TRAIN | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return ["train", *(word for pair in options.items() for word in pair), *more]


COMMANDS = [
    (["frobnicate"], "No such command 'frobnicate'"),
    (["--frobnicate"], "No such option"),
    (["chapter"], "Missing argument 'NUMBER'"),
    (["chapter", 0], "there is no chapter 0; there are 1, 2, 3, "),
    (["chapter", 99], "there is no chapter 99; there are 1, 2, 3, "),
    (["chapter", HUGE], "there is no chapter 1000000000000000000000000000000; there are 1, 2, 3, "),
    (["chapter", "9" * 5000], "is not a valid integer"),
    (["chapter", -1], click.NoSuchOption("-1").format_message()),  # as this Click words it
    (["chapter", 1.5], "'1.5' is not a valid integer"),
    (["chapter", "one"], "'one' is not a valid integer"),
    (["chapter", "²"], "'²' is not a valid integer"),
    (["chapter", ""], "'' is not a valid integer"),
    (["chapter", 1, 2], "unexpected extra argument (2)"),
    (["chapter", 99, "--help"], "there is no chapter 99; there are 1, 2, 3, "),
    (["chapter", 1, "--seeds", 0], "0 is not in the range 1<=x<=1000"),
    (["chapter", 1, "--seeds", -3], "-3 is not in the range 1<=x<=1000"),
    (["chapter", 1, "--seeds", HUGE], "is not in the range 1<=x<=1000"),
    (["chapter", 1, "--seeds", "nan"], "'nan' is not a valid integer"),
    (["chapter", 1, "--jobs", 0], "0 is not in the range 1<=x<=64"),
    (["chapter", 1, "--jobs", HUGE], "is not in the range 1<=x<=64"),
    (["chapter", 1, "--jobs", "many"], "'many' is not a valid integer"),
    (["chapter", 1, "--devices", 0], "wanted a number from 1 to 9999, all, or cpu, not '0'"),
    (["chapter", 1, "--devices", -1], "wanted a number from 1 to 9999, all, or cpu, not '-1'"),
    (["chapter", 1, "--devices", HUGE], "wanted a number from 1 to 9999, all, or cpu, not '1000"),
    (["chapter", 1, "--devices", "²"], "wanted a number from 1 to 9999, all, or cpu, not '²'"),
    (["chapter", 1, "--devices", "gpu"], "wanted a number from 1 to 9999, all, or cpu, not 'gpu'"),
    (["chapter", 1, "--model", "resnet"], "there is no model 'resnet'; wanted mlp, cnn, or MODULE:FUNCTION"),
    (["chapter", 1, "--model", "no.such:model"], "module 'no.such' cannot be imported: ModuleNotFoundError"),
    (["chapter", 1, "--model", "model.keras"], "'model.keras' is a file, and loading a saved model can run any code"),
    (["chapter", 1, "--format", "gif"], "'gif' is not one of"),
    (["chapter", 1, "--style", "glossy"], "'glossy' is not one of"),
    (["chapter", 1, "--out", __file__], "is a file"),
    (["chapter", 1, "--dataset", "mnits"], "there is no data set or file 'mnits'; name one of digits, mnist, "),
    (["chapter", 1, "--dataset", "nowhere.npz"], "there is no data set or file 'nowhere.npz'"),
    (["chapter", 1, "--dataset", "x" * 5000], "there is no data set or file 'xxx"),
    (["chapter", 1, "--dataset", "~nobody-of-this-name/x.npz"], "there is no data set or file '~nobody"),
    (["chapter", 1, "--set", "epoch=3"], "--set 'epoch=3' names nothing that can be set; that is"),
    (["chapter", 1, "--set", "epochs"], "--set 'epochs' names nothing that can be set"),
    (["chapter", 1, "--set", ""], "--set '' names nothing that can be set"),
    (["chapter", 1, "--set", "=3"], "--set '=3' names nothing that can be set"),
    (["chapter", 1, "--set", "epochs="], "wanted a value such as epochs=30"),
    (["chapter", 1, "--set", "epochs=many"], "wanted a value such as epochs=30"),
    (["chapter", 1, "--set", "epochs=1.5"], "wanted a value such as epochs=30"),
    (["chapter", 1, "--set", "epochs=0"], "epochs must be a whole number of at least 1, not 0"),
    (["chapter", 1, "--set", "epochs=-1"], "epochs must be a whole number of at least 1, not -1"),
    (["chapter", 1, "--set", f"epochs={HUGE}"], "epochs must be at most 100000"),
    (["chapter", 1, "--set", "epochs=" + "9" * 400], "epochs must be at most 100000"),
    (["chapter", 1, "--set", "epochs=" + "9" * 5000], "wanted a value such as epochs=30"),
    (["chapter", 1, "--set", "learning_rate=0"], "learning_rate must be a positive, finite number, not 0.0"),
    (["chapter", 1, "--set", "learning_rate=-0.1"], "learning_rate must be a positive, finite number, not -0.1"),
    (["chapter", 1, "--set", "learning_rate=nan"], "wanted a value such as learning_rate=0.01"),
    (["chapter", 1, "--set", "learning_rate=1e400"], "wanted a value such as learning_rate=0.01"),
    (["chapter", 1, "--set", "batch_sizes=64"], "wanted a value such as batch_sizes=64,256,1024"),
    (["chapter", 1, "--set", "batch_sizes=64,64"], "wanted a value such as batch_sizes=64,256,1024"),
    (["chapter", 1, "--set", "batch_sizes=0,64"], "batch_size must be a whole number of at least 1, not 0"),
    (["chapter", 1, "--set", "batch_sizes=64,2000"], "batch_size 2000 is larger than the training set of digits"),
    (["chapter", 1, "--set", f"batch_sizes=64,{HUGE}"], "batch_size must be at most 2147483647"),
    (["chapter", 4, "--set", "trials=0"], "trials must be a whole number of at least 1, not 0"),
    (["chapter", 4, "--set", f"trials={HUGE}"], "trials must be at most 100000"),
    (["chapter", 20, "--set", "epochs=100000"], "a recipe has at most 1000 phases"),
    (["chapter", 16, "--set", "target=1.5"], "the target accuracy must lie between 0 and 1, not 1.5"),
    (["train"], "Missing option '--batch-size'"),
    (train(batch_size=0), "batch_size must be a whole number of at least 1, not 0"),
    (train(batch_size=-1), "batch_size must be a whole number of at least 1, not -1"),
    (train(batch_size=HUGE), "batch_size must be at most 2147483647"),
    (train(batch_size=1438), "batch_size 1438 is larger than the training set of digits, which has 1437 samples"),
    (train(batch_size="nan"), "'nan' is not a valid integer"),
    (train(learning_rate="nan"), "learning_rate must be a positive, finite number, not nan"),
    (train(learning_rate="inf"), "learning_rate must be a positive, finite number, not inf"),
    (train(learning_rate=0), "learning_rate must be a positive, finite number, not 0.0"),
    (train(learning_rate="fast"), "'fast' is not a valid float"),
    (train(epochs=0), "epochs must be a whole number of at least 1, not 0"),
    (train(epochs=HUGE), "epochs must be at most 100000"),
    (train(optimizer="lion"), "'lion' is not one of 'sgd', 'adam'"),
    (train(seed=-1), "-1 is not in the range"),
    (train(seed=HUGE), "is not in the range"),
    (train(json="."), "is a directory"),
    (train(then="batch_size"), "--then 'batch_size' names nothing that can be set"),
    (train(then="speed=3"), "--then 'speed=3' names nothing that can be set"),
    (train(then="epochs=0"), "epochs must be a whole number of at least 1, not 0"),
    (train(then="optimizer=lion"), "optimizer must be 'sgd' or 'adam', not 'lion'"),
    (["advise", "--budget", "0s"], "wanted a time such as 90s, 2m or 1h, not '0s'"),
    (["advise", "--budget", "nan"], "wanted a time such as 90s, 2m or 1h, not 'nan'"),
    (["advise", "--budget", f"{HUGE}h"], "wanted a time such as 90s, 2m or 1h, not '1000"),
    (["results", "abc"], "0 stored results have a key that begins with 'abc'"),
    (["results", "../../etc"], "0 stored results have a key that begins with '../../etc'"),
]


@pytest.mark.parametrize(("words", "message"), COMMANDS, ids=lambda value: str(value)[:60])
def test_a_wrong_command_is_told(call, home, words, message):
    status, told, printed = call(*words)
    assert (status, printed) == (2, "") and message in told
    assert not home.exists() and not os.listdir()


ENVIRONMENT = [
    ({"BSTUDY_DATASET": "mnits"}, 2, "there is no data set or file 'mnits'"),
    ({"BSTUDY_DATASET": "."}, 1, ". is no data set: it is not a regular file"),
    ({"BSTUDY_MODEL": "resnet"}, 2, "there is no model 'resnet'"),
    ({"BSTUDY_DEVICES": "none"}, 2, "wanted a number from 1 to 9999, all, or cpu, not 'none'"),
    ({"BSTUDY_HOME": __file__}, 2, "test_input.py is not a folder; name one in BSTUDY_HOME"),
    ({"BSTUDY_HOME": "/dev/null"}, 2, "/dev/null is not a folder; name one in BSTUDY_HOME"),
]


@pytest.mark.parametrize(("environment", "status", "message"), ENVIRONMENT, ids=str)
def test_a_wrong_setting_in_the_environment_is_told(call, home, environment, status, message):
    found, told, printed = call("chapter", 1, **environment)
    assert (found, printed) == (status, "") and message in told
    assert not home.exists() and not os.listdir()


WRONG_VALUES = ("0", "-1", str(HUGE), "9" * 400, "1e300", "nan", "text", "", "0,1", "-1,1", f"1,{HUGE}", "1e-300,1e300")


@pytest.mark.parametrize("chapter", book.chapters(), ids=lambda chapter: chapter.name)
def test_no_value_of_a_parameter_ends_in_a_traceback(call, chapter):
    """Either it is refused with a sentence that names it, or it can be measured."""
    for name in chapter.parameters:
        for value in WRONG_VALUES:
            status, told, _ = call("chapter", chapter.number, "--set", f"{name}={value}", "--seeds", 1)
            assert status == 77 or (status == 2 and told.startswith("bstudy: ") and len(told) > 30), (name, value, told)


GOOD = {
    "x_train": np.arange(48, dtype=np.uint8).reshape(6, 2, 4),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.zeros((2, 2, 4), np.uint8),
    "y_test": np.array([0, 1]),
}


def array_file(array):
    """What an .npy file of this array holds."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def boasting(shape, then=b"few", kind="|u1"):
    """What an .npy file holds that claims this shape, and goes on with so much."""
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + then


def zipped(path, declared=None, **members):
    """An .npz file of these members' bytes, else GOOD's arrays; `declared` is what its directory says of x_train."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in GOOD.items():
            content = members.get(name, array_file(array))
            if content is not None:
                archive.writestr(f"{name}.npy", content)
        if declared:
            archive.getinfo("x_train.npy").file_size = declared


HUGE_HEADER = b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 10**7
DATA_SETS = {
    "a folder": (os.mkdir, "it is not a regular file"),
    "an empty file": (lambda path: path.write_bytes(b""), "File is not a zip file"),
    "text": (lambda path: path.write_text("x_train, y_train"), "File is not a zip file"),
    "half a zip file": (lambda path: path.write_bytes(b"PK\x03\x04"), "File is not a zip file"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(GOOD)), "File is not a zip file"),
    "one array": (lambda path: path.write_bytes(array_file(GOOD["x_train"])), "File is not a zip file"),
    "an empty zip file": (lambda path: zipfile.ZipFile(path, "w").close(), "it holds no x_train and no y_train and"),
    "no y_test": (lambda path: zipped(path, y_test=None), "it holds no y_test (it holds x_train, y_train, x_test)"),
    "many other names": (
        lambda path: np.savez(path, **{f"a{i}": [0] for i in range(100)}),
        "(it holds a0, a1, a2, a3, a4, a5, a6, a7, ...)",
    ),
    "a pickled array": (lambda path: zipped(path, x_train=array_file([[None]] * 6)), "must hold numbers, not object"),
    "no array": (lambda path: zipped(path, x_train=b"hello, world"), "the magic string is not correct"),
    "a header that claims 9 TB": (
        lambda path: zipped(path, x_train=boasting((10**12, 9))),
        "x_train declares the shape (1000000000000, 9), but holds 3 bytes",
    ),
    "a header and a directory that claim 9 TB": (
        lambda path: zipped(path, 9 * 10**12 + len(boasting((10**12, 9), b"")), x_train=boasting((10**12, 9))),
        "it declares 9000000000024 numbers, and at most 2147483648 can be trained on",
    ),
    "a directory that claims 9 TB": (lambda path: zipped(path, 9 * 10**12), "but holds 89999999998"),
    "a header without an end": (lambda path: zipped(path, x_train=HUGE_HEADER), "EOF: reading array header"),
    "a bomb of zeros": (
        lambda path: zipped(path, x_train=boasting((6, 2, 4), b"\0" * 10**8)),
        "declares the shape (6, 2, 4), but holds 100000000 bytes",
    ),
    "a negative shape": (lambda path: zipped(path, x_train=boasting((-6, -8), b"\0" * 48)), "is no data set: "),
    "records": (lambda path: zipped(path, x_train=array_file(np.zeros((6, 2), "i4,f4"))), "must hold numbers"),
    "text as inputs": (lambda path: zipped(path, x_train=array_file([["a"] * 4] * 6)), "must hold numbers, not <U1"),
    "complex inputs": (lambda path: zipped(path, x_train=array_file(np.zeros((6, 2), complex))), "not complex128"),
    "dates": (lambda path: zipped(path, x_train=array_file(np.zeros((6, 2), "M8[s]"))), "must hold numbers"),
    "labels that are no integers": (lambda path: zipped(path, y_train=array_file([0.5] * 6)), "must hold whole"),
    "labels that are true or false": (lambda path: zipped(path, y_train=array_file([True, False] * 3)), "not bool"),
    "a negative label": (lambda path: zipped(path, y_train=array_file([0, 1, 2, 0, 1, -2])), "negative label -2"),
    "an enormous label": (
        lambda path: zipped(path, y_train=array_file(np.array([0, 1, 2, 0, 1, 2**64 - 1], np.uint64))),
        "its labels go up to 18446744073709551615; wanted at least two classes from 0 on, and no more than samples",
    ),
    "one class": (
        lambda path: zipped(path, y_train=array_file([0] * 6), y_test=array_file([0, 0])),
        "its labels go up to 0; wanted at least two classes",
    ),
    "too few labels": (lambda path: zipped(path, y_train=array_file([0, 1, 2])), "has 6 samples, y_train 3 labels"),
    "labels in two columns": (lambda path: zipped(path, y_train=array_file([[0, 1]] * 6)), "their shapes are"),
    "one number a sample without a row": (lambda path: zipped(path, x_train=array_file([0] * 6)), "their shapes are"),
    "a single number": (lambda path: zipped(path, x_train=array_file(3)), "their shapes are ()"),
    "other test samples": (lambda path: zipped(path, x_test=array_file([[0], [1]])), "test samples (1,)"),
    "no samples": (
        lambda path: zipped(path, x_train=array_file(np.zeros((0, 2, 4))), y_train=array_file(np.zeros(0, int))),
        "x_train is empty",
    ),
    "ten million rows of nothing": (
        lambda path: zipped(
            path, x_train=array_file(np.zeros((10**7, 0))), y_train=array_file(np.zeros(10**7, np.uint8))
        ),
        "x_train is empty",
    ),
    "NaN": (lambda path: zipped(path, x_train=array_file(np.full((6, 2, 4), np.nan))), "its inputs hold NaN"),
    "infinity": (lambda path: zipped(path, x_test=array_file(np.full((2, 2, 4), np.inf))), "hold NaN, infinity"),
    "too large": (lambda path: zipped(path, x_test=array_file(np.full((2, 2, 4), 1e200))), "too large for float32"),
    "all the same": (lambda path: zipped(path, x_train=array_file(np.ones((6, 2, 4)))), "are the same number"),
}  # fmt: skip


@pytest.mark.parametrize(("write", "message"), DATA_SETS.values(), ids=DATA_SETS)
def test_a_wrong_data_set_is_told(call, home, tmp_path, write, message):
    write(tmp_path / "set.npz")
    status, told, printed = call("chapter", 1, "--dataset", "set.npz")
    assert (status, printed) == (1, "") and message in told
    assert told.startswith(("bstudy: set.npz is no data set: ", "bstudy: set is no data set to train on: "))
    assert not home.exists() and os.listdir() == ["set.npz"]


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev")
def test_devices_and_pipes_are_not_read(call, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", "/dev/stdin", "pipe"):
        status, told, _ = call("chapter", 1, "--dataset", path)
        assert status == 1 and "it is not a regular file" in told


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(call, tmp_path):
    zipped(tmp_path / "set.npz")
    os.chmod(tmp_path / "set.npz", 0)
    assert call("chapter", 1, "--dataset", "set.npz")[:2] == (1, "bstudy: set.npz is no data set: Permission denied")


def test_good_input_is_not_refused(call, tmp_path):
    zipped(tmp_path / "set.npz")
    assert call("chapter", 1, "--set", "batch_sizes=1,1437")[0] == 77
    assert call(*train(batch_size=6), "--dataset", "set.npz")[0] == 77
