"""The commands: what they print, what they write, and how they refuse wrong input. Few are processes of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bstudy import Lab, leaves
from bstudy.chapter import as_text, chapter, chapters, option_name
from bstudy.cli import main
from bstudy.errors import BstudyError, printable
from bstudy.store import MARK, Result, Store

NO_TENSORFLOW = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
TINY_CHAPTER = ["--small-batch-size", "8", "--large-batch-size", "32", "--epochs", "2", "--seeds", "2"]
WILD = "a\x1b[31m\nbad"
TRAIN = {"--batch-size": 64, "--learning-rate": 0.01, "--epochs": 1}


def train(*more, **changes):
    """Return the words of the command `train`, with changed options."""
    options = TRAIN | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return ["train", *(word for option in options.items() for word in option), *more]


@pytest.fixture
def call(tmp_path, monkeypatch):
    """call(*words) runs a command in this process, from an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*words, **environment):
        done = CliRunner().invoke(main, [str(word) for word in words], env=environment, prog_name="bstudy")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done

    return run


@pytest.fixture
def call_without_measuring(call, monkeypatch):
    """The same, but a command that would measure ends with status 77."""

    class WouldMeasure(BstudyError):
        exit_status = 77

    def refuse(*_):
        raise WouldMeasure("it would measure")

    monkeypatch.setattr("bstudy.lab.InProcess", refuse)
    return call


def squeezed(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def stored(tiny_file, tmp_path_factory):
    """A folder in which chapter 2 was run in a small setting: (folder, words of the command, finished process)."""
    folder = tmp_path_factory.mktemp("stored")
    words = ["chapter", "2", *TINY_CHAPTER, "--dataset", str(tiny_file)]
    return folder, words, run_in(folder, [sys.executable, "-m", "bstudy", *words])


def run_in(folder, command):
    environment = os.environ | {"BSTUDY_HOME": str(folder / "home")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def run_without_tensorflow(folder, words):
    program = NO_TENSORFLOW + f"from bstudy.cli import main; main({words!r}, prog_name='bstudy')"
    return run_in(folder, [sys.executable, "-c", program])


def test_a_chapter_prints_its_page(stored):
    _, _, done = stored
    page = squeezed(done.stdout)
    assert done.returncode == 0
    assert "Measured on tiny (50 training and 20 test samples), small_batch_size=8, " in page
    assert "large_batch_size=32, epochs=2, 2 seeds: mean ± 95 % interval" in page
    assert "Does a larger learning rate recover the lost accuracy?" in page
    assert "32 at 0.1 for 2" in page
    assert "held if above 0" in page
    assert "bstudy-out/ch02.json" in page


def test_a_chapter_writes_its_files(stored):
    folder, _, _ = stored
    assert sorted(path.name for path in (folder / "bstudy-out").iterdir()) == ["ch02.json", "ch02.png", "ch02.svg"]
    record = json.loads((folder / "bstudy-out/ch02.json").read_text())
    assert record["command"] == "bstudy chapter 2 --small-batch-size 8 --large-batch-size 32 --epochs 2"
    assert record["changed"] == ["small_batch_size", "large_batch_size", "epochs"]
    assert record["measured_on"]["threads"] == [2]
    assert {"bstudy", "python", "tensorflow", "keras", "matplotlib"} <= set(record["versions"])


def test_only_the_estimate_and_the_progress_are_on_standard_error(stored):
    lines = stored[2].stderr.splitlines()
    assert lines[0].startswith("Measuring on tiny (50 training and 20 test samples): 6 results")
    assert "6 results, about " in lines[0]
    assert len(lines) > 1
    assert all(line.startswith("[") for line in lines[1:])


def test_a_stored_chapter_needs_no_tensorflow_and_prints_the_same_page(stored):
    folder, words, done = stored
    again = run_without_tensorflow(folder, words)
    assert again.stderr == ""
    assert again.stdout == done.stdout
    assert again.returncode == 0


def test_figures_of_stored_results_need_no_tensorflow_and_are_the_same(stored, tiny_file):
    folder, _, _ = stored
    settings = ["--set", "small_batch_size=8", "--set", "large_batch_size=32", "--set", "epochs=2", "--seeds", "2"]
    data = ["--dataset", str(tiny_file)]
    done = run_without_tensorflow(folder, ["figures", *settings, *data, "--out", "again"])
    assert done.stdout.split() == [f"again/ch02.{ending}" for ending in ("png", "svg", "json")]
    assert done.stderr.splitlines()[-1] == f"bstudy: {len(chapters()) - 1} figures are missing"
    assert (folder / "again/ch02.svg").read_bytes() == (folder / "bstudy-out/ch02.svg").read_bytes()


def test_a_figure_is_drawn_again_in_another_process_from_its_json(stored):
    folder, _, _ = stored
    program = (
        NO_TENSORFLOW
        + """
import json, pathlib, sys
from bstudy import plots, report
from bstudy.chapter import chapter
found, record = chapter(2), json.loads(pathlib.Path("bstudy-out/ch02.json").read_text(encoding="utf-8"))
runs = report.runs_from_record(found, record)
for name in ("first.svg", "second.svg"):
    with plots.style("page"), open(name, "wb") as file:
        figure = plots.make_figure(lambda fig: found.module.figure(runs, fig), record["headline"], record["footer"])
        plots.save(figure, "svg", found.name, file)
"""
    )
    done = run_in(folder, [sys.executable, "-c", program])
    assert done.stderr == ""
    assert (folder / "first.svg").read_bytes() == (folder / "bstudy-out/ch02.svg").read_bytes()
    assert (folder / "second.svg").read_bytes() == (folder / "bstudy-out/ch02.svg").read_bytes()


def test_results_are_listed_printed_and_deleted(stored, call, tmp_path):
    home = str(shutil.copytree(stored[0] / "home", tmp_path / "copy"))
    *lines, total = call("results", BSTUDY_HOME=home).stdout.splitlines()
    assert len(lines) == 6
    assert total.startswith("6 results, ")
    assert "recipe: 32 at 0.1 for 2 epochs" in "".join(lines)
    key = lines[0].split()[0]
    printed = json.loads(call("results", key, BSTUDY_HOME=home).stdout.partition("\n")[2])
    assert printed["threads"] == 2
    assert printed["last values"]["test_accuracy"]
    assert call("results", key, "--clear", "--yes", BSTUDY_HOME=home).stdout == "Deleted 1 stored result.\n"
    assert len(call("results", BSTUDY_HOME=home).stdout.splitlines()) == 6


def test_a_hand_in_is_checked(stored, call, tiny_file):
    home = str(shutil.copytree(stored[0] / "home", "home"))
    numbers = Path(shutil.copytree(stored[0] / "bstudy-out", "class/anna")) / "ch02.json"
    words = ["check", "class", "--dataset", tiny_file]
    done = call(*words, BSTUDY_HOME=home)
    assert done.exit_code == 0
    assert squeezed(done.stdout).endswith(
        "✓ equal to the bit ch02.json chapter 2, small_batch_size=8, large_batch_size=32, epochs=2, tiny, 2 seeds"
    )
    numbers.write_text(numbers.read_text(encoding="utf-8").replace("of the lost accuracy", "of all"), encoding="utf-8")
    done = call(*words, BSTUDY_HOME=home)
    assert done.exit_code == 1
    assert "✗ inconsistent" in done.stdout
    assert done.stderr == "bstudy: 1 of 1 file did not pass\n"


def test_results_are_exported_and_imported(stored, call):
    home = str(shutil.copytree(stored[0] / "home", "home"))
    assert call("results", "--export", "all.zip", BSTUDY_HOME=home).stdout.startswith("all.zip: 6 results without")
    refused = call("results", "--import", "all.zip", BSTUDY_HOME="other")  # the standard input is empty
    assert "Store 6 results, " in refused.output
    assert not os.path.exists("other/results")
    done = call("results", "--import", "all.zip", "--yes", BSTUDY_HOME="other")
    assert done.stdout == "Stored 6 results; 0 were there before.\n"
    assert call("results", "--clear", "--export", "other.zip").exit_code == 2


def test_slides_are_written_from_stored_results(stored, call, tiny_file, monkeypatch):
    home = str(shutil.copytree(stored[0] / "home", "home"))
    small = {"small_batch_size": 8, "large_batch_size": 32, "epochs": 2}
    found = replace(chapter(2), parameters=chapter(2).parameters | small)
    monkeypatch.setattr("bstudy.chapter.chapter", lambda number: found)
    words = ["--chapters", "2", "--dataset", tiny_file, "--seeds", "2"]
    done = call("slides", "deck.pdf", *words, BSTUDY_HOME=home)
    assert done.stdout == "deck.pdf: 2 slides\n"
    assert call("slides", "deck.key", *words).exit_code == 2


def test_an_entry_that_cannot_be_read_does_not_hide_the_others(call, home):
    store = Store()
    for key, metadata in (("a" * 64, {"dataset": "tiny", "model": "cnn", "seed": 3}), ("c" * 64, {})):
        store.write(key, Result({"loss": np.ones(2)}, {}, metadata))
    (store.folder / f"{'b' * 64}.npz").mkdir()
    done = call("results")
    assert done.exit_code == 0
    assert done.stderr == f"bstudy: {store.folder / ('b' * 64)}.npz cannot be read: it is not a regular file\n"
    assert done.stdout.splitlines()[:2] == ["aaaaaaaaaa  tiny, cnn  seed 3  ?: ?", "cccccccccc  ?, ?  seed ?  ?: ?"]
    assert json.loads(call("results", "c").stdout.partition("\n")[2]) == {"last values": {"loss": [1.0]}}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_stops_with_a_sentence_and_status_130(tmp_path, tiny_file):
    words = ["train", "--batch-size", "1", "--learning-rate", "0.001", "--epochs", "9999", "--dataset", str(tiny_file)]
    program = "from bstudy import progress; progress.SECONDS_BETWEEN_LINES = 0; "
    program += f"from bstudy.cli import main; main({words!r})"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("Measuring on tiny")
    next(line for line in process.stderr if "epoch" in line)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopping: 0 of 1 results are stored" in err
    assert "bstudy: stopped; 0 of 1 results are stored" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["chapters"], ["chapter", "3", "--help"], ["results"]])
def test_a_command_that_measures_nothing_loads_no_tensorflow(words, tmp_path):
    done = run_without_tensorflow(tmp_path, words)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import bstudy", {"tensorflow", "keras", "numpy", "matplotlib"}),
        ("from bstudy import *", {"tensorflow", "keras", "matplotlib.pyplot"}),
        (
            "import click; from bstudy.cli import main; main.get_help(click.Context(main))",
            {"tensorflow", "keras", "numpy", "matplotlib", "scipy", "sklearn", "rich"},
        ),
        (
            "import bstudy.report, bstudy.html, bstudy.advice.measure, bstudy.chapter; bstudy.chapter.chapters()",
            {"tensorflow", "keras", "matplotlib.pyplot", "sklearn"},
        ),
    ],
)
def test_an_import_loads_no_large_library_that_it_does_not_need(program, unwanted):
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"], capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert "bstudy" in loaded
    assert not loaded & unwanted


@pytest.fixture
def parameters_of(monkeypatch, call):
    """parameters_of(*words) returns the parameters with which a command would build its page."""

    def run(*words):
        found = []

        def build(chapter, parameters, lab):
            found.append(parameters)
            raise BstudyError("it would build the page")

        with monkeypatch.context() as patch:
            patch.setattr("bstudy.report.build", build)
            assert call(*words).stderr == "bstudy: it would build the page\n"
        return found[0]

    return run


def test_an_option_and_a_setting_are_the_same(parameters_of):
    by_option = parameters_of("chapter", 3, "--large-batch-size", 512)
    assert by_option == chapter(3).parameters | {"large_batch_size": 512}
    assert by_option == parameters_of("chapter", 3, "--set", "large_batch_size=512")
    assert by_option == parameters_of("chapter", 3, "--set", "large-batch-size = 512")


def test_an_option_may_be_before_the_number_of_the_chapter(parameters_of):
    expected = chapter(1).parameters | {"batch_sizes": (2, 64), "epochs": 1}
    assert parameters_of("chapter", "--batch-sizes", "2,64", "--epochs", 1, 1) == expected
    assert parameters_of("chapter", "--batch-sizes=2,64", "--quiet", 1, "--epochs", 1) == expected


def test_every_parameter_of_every_chapter_is_an_option(parameters_of):
    for found in chapters():
        words = [word for name, value in found.parameters.items() for word in (option_name(name), as_text(value))]
        assert parameters_of("chapter", found.number, *words) == found.parameters


def test_help_explains_every_parameter_with_its_default(call):
    for found in chapters():
        text = "".join(call("chapter", found.number, "--help").stdout.split())
        for name, default in found.parameters.items():
            assert option_name(name) in text
            assert f"{found.help[name]}[default:{as_text(default)}]".replace(" ", "") in text
        assert text.index("Parametersofthechapter:") < text.index("Options:")
    assert "Parameters of the chapter:" not in call("chapter", "--help").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["chapter"], "Missing argument 'NUMBER'"),
        (["chapter", "--epochs", 3], "Missing argument 'NUMBER'"),
        (["chapter", "--epochs", 3, "--seeds=2"], "Missing argument 'NUMBER'"),
        (["chapter", 99], "there is no chapter 99; the chapters are 0, 1, 2, 3, "),
        (["chapter", "9" * 5000], "is not a valid integer"),
        (["chapter", "²"], "'²' is not a valid integer"),
        (["chapter", 1, 2], "unexpected extra argument (2)"),
        (["chapter", 3, "--set", "large_batch_sise=512"], "did you mean 'large_batch_size'? It has: small_batch_size="),
        (["chapter", 1, "--epochs", "1.5"], "'1.5' is not a whole number of at least 1; for example 30"),
        (["chapter", 1, "--batch-sizes", "64"], "'64' has fewer than two different values; for example 64,256,1024"),
        (["chapter", 1, "--batch-sizes", "64,2000"], "batch_size 2000 is larger than the training set of digits"),
        (["chapter", 1, "--seeds", 0], "0 is not in the range 1<=x<=1000"),
        (["chapter", 1, "--devices", "gpu"], "'gpu' is not a number from 1 to 9999, all, or cpu"),
        (["chapter", 1, "--model", "model.keras"], "'model.keras' is a file, and loading a saved model can run "),
        (["chapter", 1, "--style", "glossy"], "'glossy' is not one of 'page', 'slide', 'dark'"),
        (["chapter", 1, "--dataset", "mnits"], "there is no data set or file 'mnits'; use digits, mnist, "),
        (["figures", "--set", "trial=9"], "the book has no parameter 'trial'; did you mean 'trials'?"),
        (train(learning_rate="nan"), "learning_rate must be a positive, finite number, not nan"),
        (train(epochs=10**30), "epochs must be a whole number from 1 to "),
        (train(then="speed=3"), "a phase has no parameter 'speed'. It has: batch_size=64, "),
        (train(then="optimizer=lion"), "optimizer must be 'sgd' or 'adam', not 'lion'"),
        (train(json="."), "is a directory"),
        (["advise", "--budget", "soon"], "'soon' is not a duration such as 90s, 2m or 1h"),
        (["results", "../../etc"], "0 stored results have a key that begins with '../../etc'"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_a_wrong_command_is_refused_in_a_sentence(call_without_measuring, home, words, message):
    done = call_without_measuring(*words)
    assert message in squeezed(done.stderr)
    assert done.stdout == ""
    assert done.exit_code == 2
    assert not home.exists()
    assert os.listdir() == []


@pytest.mark.parametrize(
    "words",
    [
        [WILD], [f"--{WILD}"], ["chapter", 1, WILD], ["chapter", 1, f"--{WILD}"], ["chapter", 1, "--epochs", WILD],
        ["chapter", 1, "--dataset", WILD], ["chapter", 1, "--model", f"{WILD}:f"], ["chapter", 1, "--set", f"{WILD}=3"],
        ["results", WILD], train(then=WILD), ["figures", "--out", f"file/{WILD}"],
    ],
    ids=ascii,
)  # fmt: skip
def test_no_argument_is_printed_with_control_characters(call_without_measuring, words):
    with open("file", "w"):
        pass
    done = call_without_measuring(*words)
    assert r"\x1b[31m" in done.stderr
    assert "\x1b" not in done.output
    assert "bad" in done.stderr.splitlines()[-1]
    assert done.exit_code in (1, 2)


@pytest.mark.skipif(os.name == "nt", reason="no such folder")
def test_no_path_is_printed_with_control_characters(second_is_stored, call, bstudy, home):
    done = call("figures", "--out", WILD)
    assert f"{printable(WILD)}/ch02.png  {printable(WILD)}/ch02.svg" in done.stdout
    wild_home = shutil.copytree(home, home.with_name(WILD))
    for entry in wild_home.glob("results/*.npz"):
        entry.write_bytes(b"damaged")
    done = bstudy("results", BSTUDY_HOME=str(wild_home))
    assert f"{printable(WILD)}/results/{entry.stem}.damaged, and it is measured again.\n" in done.stderr
    assert done.stdout.endswith(f"{printable(WILD)}/results\n")


def test_ctrl_c_outside_of_a_measurement_ends_with_a_sentence(call, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("bstudy.chapter.chapters", interrupt)
    done = call("chapters")
    assert done.exit_code == 130
    assert done.stderr.strip() == "bstudy: stopped; all measured results are stored."


def test_an_unknown_option_says_which_one_may_be_meant(call_without_measuring):
    for words in (["chapter", 3, "--large-batch-sise", 512], ["chapter", "--large-batch-sise", 512, 3]):
        done = call_without_measuring(*words)
        assert "No such option" in done.stderr  # the words around it differ between the versions of click
        assert "--large-batch-size" in done.stderr
        assert done.exit_code == 2


@pytest.mark.parametrize(
    ("environment", "status", "message"),
    [
        ({"BSTUDY_DATASET": "."}, 1, ". cannot be read: it is not a regular file"),
        ({"BSTUDY_MODEL": "resnet"}, 2, "there is no model 'resnet'"),
        ({"BSTUDY_DEVICES": "none"}, 2, "'none' is not a number from 1 to 9999, all, or cpu"),
        ({"BSTUDY_HOME": __file__}, 2, "test_cli.py is not a folder; set BSTUDY_HOME"),
    ],
    ids=str,
)
def test_a_wrong_setting_in_the_environment_is_refused(call_without_measuring, environment, status, message):
    done = call_without_measuring("chapter", 1, **environment)
    assert message in squeezed(done.stderr)
    assert done.exit_code == status
    assert os.listdir() == []


@pytest.mark.parametrize("value", ["0", "1e300", "text"])
def test_no_value_of_a_parameter_ends_in_a_traceback(call_without_measuring, value):
    for found in chapters():
        for name in found.parameters:
            done = call_without_measuring("chapter", found.number, option_name(name), value, "--seeds", 1)
            assert done.exit_code in (2, 77), (found.number, name)


def test_good_input_is_not_refused(call_without_measuring, tiny_file):
    assert call_without_measuring("chapter", 1, "--batch-sizes", "1,1437").exit_code == 77
    assert call_without_measuring(*train(batch_size=50), "--dataset", tiny_file).exit_code == 77
    assert call_without_measuring(*train(batch_size=50), BSTUDY_DATASET=str(tiny_file)).exit_code == 77


@pytest.mark.parametrize(
    "words", [["chapter", 2], ["book"], ["figures"], ["advise"], train(json="file/x.json")], ids=str
)
def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_measured(call_without_measuring, words):
    with open("file", "w"):
        pass
    out = [] if words[0] == "train" else ["--out", "file/out"]
    done = call_without_measuring(*words, *out)
    assert done.exit_code == 1
    assert done.stderr.startswith("bstudy: file")
    assert done.stderr.endswith(" cannot be written to: Not a directory\n")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["chapter", 2], "ch02.svg"),
        (["figures", "--format", "pdf"], "ch22.pdf"),
        (["figures"], "findings.md"),
        (["book"], "index.html"),
        (["book"], "ch01.html"),
        (["advise"], "advice.json"),
        (train(json="mine.json"), "mine.json"),
    ],
    ids=str,
)
def test_a_file_of_the_user_is_refused_before_anything_is_measured(call_without_measuring, words, name):
    with open(name, "w") as file:
        file.write("mine")
    out = [] if words[0] == "train" else ["--out", "."]
    done = call_without_measuring(*words, *out)
    assert done.exit_code == 1
    assert (
        done.stderr
        == f"bstudy: {name} was not written by bstudy, which does not replace it; move it, or write elsewhere\n"
    )
    assert os.listdir() == [name]
    with open(name) as file:
        assert file.read() == "mine"


def test_the_module_can_be_run_and_refuses_in_one_sentence(bstudy):
    done = bstudy("chapter", 99)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("bstudy: there is no chapter 99; ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def trained(call, tiny_file, small_model, shared_trainers):
    """trained(*words) trains on the tiny data with the small model."""
    return lambda *words: call("train", *words, "--dataset", tiny_file, "--model", small_model)


def test_train_prints_and_writes_the_numbers_of_a_run(trained):
    words = ["--batch-size", 20, "--learning-rate", 0.01, "--epochs", 1, "--seed", 1]
    numbers = json.loads(trained(*words, "--then", "batch_size=16,epochs=2", "--json", "-").stdout)
    assert list(numbers) == [
        "test_accuracy", "train_accuracy", "test_loss", "train_loss", "weight_distance", "bias_distance", "weight_norm",
        "bias_norm", "cosines", "parameters", "steps", "seconds", "seconds_total", "diverged",
    ]  # fmt: skip
    assert numbers["parameters"] == 17 * 8 + 9 * 8 + 9 * 3
    assert numbers["steps"] == 3 + 2 * 4
    assert len(numbers["cosines"]) == 3
    assert 0 < numbers["test_accuracy"] <= 100
    assert numbers["diverged"] is False
    again = trained(*words, "--then", "batch-size=16,epochs=2", "--json", "new/run.json")
    with open("new/run.json", encoding="utf-8") as file:
        assert json.load(file) == {"note": MARK} | numbers
    assert again.stderr == ""
    assert f"test_accuracy      {numbers['test_accuracy']}" in again.stdout


def test_a_flag_that_changes_the_bits_is_printed_with_the_numbers(trained, monkeypatch):
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")  # recorded, but too late for TensorFlow
    numbers = json.loads(trained("--batch-size", 25, "--learning-rate", 0.01, "--epochs", 1, "--json", "-").stdout)
    assert numbers["TF_DETERMINISTIC_OPS"] == "1"


def test_a_run_that_diverges_is_reported(trained):
    done = trained("--batch-size", 20, "--learning-rate", 1e20, "--epochs", 1, "--json", "-")
    numbers = json.loads(done.stdout)
    assert done.exit_code == 0
    assert numbers["diverged"] is True
    assert numbers["test_accuracy"] is None


@pytest.fixture
def second_is_stored(home):
    """Made-up results, as if chapter 2 had been run on digits."""
    lab, random = Lab("digits", seeds=3), np.random.default_rng(0)
    metadata = {"bstudy": "0", "dataset": "digits", "model": "mlp"}
    for experiment in leaves(chapter(2).module.experiments()).values():
        loss = np.ones(experiment.steps(len(lab.dataset.x_train))[-1])
        for seed in lab.seeds:
            key = experiment.with_replicas(1).key(lab.dataset, lab.model, seed)
            columns = {"test_accuracy": random.uniform(90, 99, 31), "loss": loss}
            Store().write(key, Result(columns, {}, metadata))


def test_stored_figures_are_drawn_and_the_others_come_with_their_command(second_is_stored, call):
    done = call("figures", "--style", "slide")
    first, *_, last = done.stderr.splitlines()
    assert done.exit_code == 1
    assert done.stdout.split() == [f"bstudy-out/ch02.{ending}" for ending in ("png", "svg", "json")]
    assert first == "bstudy: chapter 0: 9 results are not measured yet; measure with: bstudy chapter 0"
    assert last == f"bstudy: {len(chapters()) - 1} figures are missing"
    with Image.open("bstudy-out/ch02.png") as image:
        assert image.size == (1920, 1080)
    with open("bstudy-out/findings.md", encoding="utf-8") as file:
        assert "[2](chapters/ch02_learning_rate.py)" in file.read()


def test_the_findings_are_those_of_the_figures_drawn_now(second_is_stored, call):
    call("figures", "--format", "svg")
    os.rename("bstudy-out/ch02.json", "bstudy-out/ch01.json")  # as if it were of another command
    with open("bstudy-out/ch03.json", "w") as file:
        file.write('{"mine": 1}')
    refused = call("figures", "--format", "svg")
    assert refused.stderr.startswith("bstudy: bstudy-out/ch03.json was not written by bstudy")
    os.remove("bstudy-out/ch03.json")
    call("figures", "--format", "svg")
    with open("bstudy-out/findings.md", encoding="utf-8") as file:
        text = file.read()
    assert text.startswith(f"<!-- {MARK} -->\n")
    assert "[2](chapters/ch02_learning_rate.py)" in text
    assert "[1](" not in text
    call("figures", "--format", "svg", "--seeds", 2)
    with open("bstudy-out/findings.md", encoding="utf-8") as file:
        assert file.read() != text
    call("figures", "--format", "svg", "--model", "cnn")
    with open("bstudy-out/findings.md", encoding="utf-8") as file:
        assert "[2](" not in file.read()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--model", "cnn"], "bstudy chapter 2 --model cnn"),
        (["--seeds", 4, "--set", "epochs=9"], "bstudy chapter 2 --epochs 9 --seeds 4"),
    ],
)
def test_the_command_that_measures_has_the_data_the_seeds_and_the_settings(second_is_stored, call, words, command):
    assert f"; measure with: {command}" in call("figures", *words).stderr.splitlines()[2]


def test_a_chapter_that_the_data_are_too_few_for_has_no_command(call, tiny_file):
    first, *_ = call("figures", "--dataset", tiny_file).stderr.splitlines()
    assert first == "bstudy: chapter 0: batch_size 64 is larger than the training set of tiny, which has 50 samples"


def test_if_all_is_stored_figures_succeeds(second_is_stored, call, monkeypatch):
    monkeypatch.setattr("bstudy.chapter.chapters", lambda: [chapter(2)])
    done = call("figures", "--format", "pdf")
    assert done.stderr == ""
    assert done.exit_code == 0
    assert done.stdout.split() == ["bstudy-out/ch02.pdf", "bstudy-out/ch02.json"]
