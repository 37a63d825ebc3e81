"""The commands as a user runs them: in processes of their own, from an empty folder."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from bstudy.cli import main

NO_TENSORFLOW = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A home in which chapter 2 was run on digits in a small setting, and what that printed."""
    home = tmp_path_factory.mktemp("home")
    words = ["chapter", "2", "--set", "epochs=1", "--seeds", "2"]
    command = [sys.executable, "-m", "bstudy", *words]
    environment = os.environ | {"BSTUDY_HOME": str(home)}
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, env=environment)
    return home, words, done


def test_a_chapter_from_nothing_to_its_files(stored):
    home, _, done = stored
    assert done.returncode == 0
    page = " ".join(done.stdout.split())
    assert "Measured on digits (1,437 training and 360 test samples), epochs=1, 2 seeds: mean ± 95 % interval" in page
    for words in ("A larger learning rate recovers", "1024 at 0.1 for 1", "held if above 0", "bstudy-out/ch02.json"):
        assert words in page
    assert sorted(path.name for path in (home / "bstudy-out").iterdir()) == ["ch02.json", "ch02.png", "ch02.svg"]
    record = json.loads((home / "bstudy-out/ch02.json").read_text())
    assert record["command"] == "bstudy chapter 2 --set epochs=1" and record["changed"] == ["epochs=1"]
    assert record["measured_on"]["threads"] == [2]
    assert {"bstudy", "python", "tensorflow", "keras", "matplotlib"} <= set(record["versions"])


def test_progress_and_estimate_are_on_standard_error_and_nothing_else_is(stored):
    lines = stored[2].stderr.splitlines()
    assert lines[0].startswith("Measuring on digits") and "6 results, 0 more are stored; about" in lines[0]
    assert all(line.startswith(("Measuring on", "[")) for line in lines), "TensorFlow's noise reaches the user"
    assert len(lines) == 7 and lines[-1].endswith("almost done")


def test_from_the_store_a_chapter_needs_no_tensorflow_and_prints_the_same_page(stored):
    home, words, done = stored
    program = NO_TENSORFLOW + f"from bstudy.cli import main; main({words!r})"
    again = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home,
        capture_output=True,
        text=True,
        env=os.environ | {"BSTUDY_HOME": str(home)},
    )
    assert (again.stdout, again.stderr, again.returncode) == (done.stdout, "", 0)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"], ["chapters"], ["chapter", "--help"], ["results"]])
def test_what_measures_nothing_loads_no_tensorflow(words, tmp_path):
    program = NO_TENSORFLOW + f"from bstudy.cli import main; main({words!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_help_loads_no_large_library():
    program = "import sys; from bstudy.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split()
    assert "click" in modules and not {"numpy", "matplotlib", "scipy", "sklearn", "rich", "tensorflow"} & set(modules)


def test_the_help_of_a_chapter_tells_its_parameters(bstudy):
    told = " ".join(bstudy("chapter", 3, "--help").stdout.split())
    assert "Parameters of chapter 3, for --set: small the small batch size of the comparison [default: 64]" in told
    assert "Options:" in told
    assert "Parameters of" not in bstudy("chapter", "--help").stdout


TRAIN = ["train", "--batch-size", "512", "--learning-rate", "0.01", "--epochs", "1"]


def test_train_writes_the_numbers_of_a_run(bstudy, tmp_path):
    done = CliRunner().invoke(main, [*TRAIN, "--then", "batch_size=360,epochs=2", "--seed", "1", "--json", "-"])
    numbers = json.loads(done.stdout)
    assert list(numbers) == [
        "test_accuracy", "train_accuracy", "test_loss", "train_loss", "weight_distance", "bias_distance", "weight_norm",
        "bias_norm", "cosines", "parameters", "steps", "seconds", "seconds_total", "diverged",
    ]  # fmt: skip
    assert numbers["parameters"] == 65 * 1024 + 1025 * 1024 + 1025 * 10
    assert numbers["steps"] == 3 + 2 * 4
    assert len(numbers["cosines"]) == 3 and 0.9 < numbers["cosines"][0] < 1
    assert 0 < numbers["seconds"] < numbers["seconds_total"]
    assert numbers["diverged"] is False
    again = bstudy(*TRAIN, "--then", "batch-size=360,epochs=2", "--seed", 1, "--json", "new/run.json")
    assert json.loads((tmp_path / "new/run.json").read_text()) == numbers and not again.stderr
    assert f"test_accuracy      {numbers['test_accuracy']}" in again.stdout


def test_a_run_that_diverges_is_reported():
    words = ["train", "--batch-size", "512", "--learning-rate", "1e20", "--epochs", "1", "--json", "-"]
    done = CliRunner().invoke(main, words)
    numbers = json.loads(done.stdout)
    assert done.exit_code == 0 and numbers["diverged"] is True and numbers["test_accuracy"] is None


def test_the_data_set_is_taken_from_the_environment(bstudy, tiny_file):
    told = bstudy("chapter", 1, BSTUDY_DATASET=str(tiny_file)).stderr
    assert "larger than the training set of tiny, which has 50 samples" in told
    assert bstudy("chapter", 1, BSTUDY_DATASET="nowhere.npz").returncode == 2


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["chapter", 99], 2, "there is no chapter 99; there are 1, 2, 3, "),
        (["chapter", 1, "--seeds", 0], 2, "0 is not in the range"),
        (["chapter", 1, "--set", "batch_sizes=64,2000"], 2, "batch_size 2000 is larger than the training set"),
        (["chapter", 1, "--dataset", "."], 1, "not a regular file"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence(bstudy, home, words, status, message):
    """As a user meets it; test_input.py has the rest."""
    done = bstudy(*words)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not home.exists()


def test_a_folder_that_cannot_be_written_to_gets_a_sentence(stored):
    home, words, _ = stored
    (home / "file").write_text("")
    command = [sys.executable, "-m", "bstudy", *words, "--out", "file/out"]
    done = subprocess.run(
        command, cwd=home, capture_output=True, text=True, env=os.environ | {"BSTUDY_HOME": str(home)}
    )
    assert done.returncode == 1 and done.stderr == "bstudy: file/out cannot be written to: Not a directory\n"


def test_results_are_listed_shown_and_cleared(bstudy, stored):
    home = str(stored[0])
    listed = bstudy("results", BSTUDY_HOME=home).stdout.splitlines()
    assert len(listed) == 7 and listed[-1].startswith("6 results, ") and "Recipe.sgd(1024, 0.1, 1)" in "".join(listed)
    key = listed[0].split()[0]
    shown = bstudy("results", key, BSTUDY_HOME=home).stdout
    assert json.loads(shown.partition("\n")[2])["threads"] == 2
    assert bstudy("results", key, "--clear", "--yes", BSTUDY_HOME=home).stdout == "Deleted 1 stored result.\n"
    assert len(bstudy("results", BSTUDY_HOME=home).stdout.splitlines()) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_is_prompt_and_exits_with_130(tmp_path, talkative):
    words = ["train", "--batch-size", "2", "--learning-rate", "0.001", "--epochs", "500"]
    program = talkative + f"from bstudy.cli import main; main({words!r})"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("Measuring on digits")
    next(line for line in process.stderr if "epoch 1 of" in line)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - asked < 10
    assert "Stopping: 0 of 1 results are kept" in err and "Traceback" not in err
