"""Chapters as notebooks: their cells, and several of them executed by a real kernel."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
import warnings
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbclient
import nbformat
import numpy as np
import pytest
from click.testing import CliRunner
from jupyter_client.manager import start_new_kernel
from matplotlib.figure import Figure

from bstudy import Claims, Lab, Recipe, Results, Runs, claim, leaves, plots, report
from bstudy.chapter import chapter, chapters
from bstudy.cli import main
from bstudy.errors import BstudyError, InvalidInput
from bstudy.notebook import Setting, install_source, make_notebook, write_notebook
from bstudy.progress import Display
from bstudy.store import Result, Store

FIGURES = Path(__file__).parents[1] / "figures"
INSTALL = '    %pip install --quiet "./bstudy.whl"'


def notebook_of(number, solutions=False, settings=(), source="./bstudy.whl", **setting):
    found = chapter(number)
    return make_notebook(found, Setting(found.with_settings(settings), **setting), solutions, source)


def sources(notebook, kind):
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def test_a_notebook_has_the_text_of_the_chapter_and_places_to_fill_in():
    text = "\n\n".join(sources(notebook_of(3), "markdown"))
    found = chapter(3).text
    for name in ("Idea", "Explanation", "In practice", "Sources"):
        assert f"## {name}\n\n{found.sections[name]}" in text
    assert f"# {found.title}\n\n{found.introduction}" in text
    assert "**Predict, before you run anything.** Which of the last three" in text
    assert text.count("**My prediction.**") == 1
    assert text.count("**My answer.**") == len(found.exercises)
    assert text.index("My prediction") < text.index("## Explanation")


def test_solutions_are_left_out_unless_asked_for():
    for found in chapters():
        without = "\n".join(sources(notebook_of(found.number), "markdown"))
        complete = "\n".join(sources(notebook_of(found.number, solutions=True), "markdown"))
        for exercise in found.text.exercises:
            assert exercise.question in without
            assert exercise.solution not in without
            assert f"**Solution.** {exercise.solution}" in complete


def test_the_same_arguments_give_the_same_notebook():
    assert nbformat.writes(notebook_of(3)) == nbformat.writes(notebook_of(3))
    nbformat.validate(notebook_of(3))


def test_the_cells_that_run_it_honor_parameters_data_seeds_and_model():
    setting = {"dataset": "data/mine.npz", "seeds": 5, "model": "cnn", "settings": ["large_batch_size=512"]}
    code = "\n".join(sources(notebook_of(3, **setting), "code"))
    assert 'lab = Lab("data/mine.npz", seeds=5, model="cnn")\n' in code
    assert "runs = lab.run(experiments(large_batch_size=512))\nruns" in code
    assert 'lab = Lab("digits", seeds=3)\nruns = lab.run(experiments())\n' in "\n".join(sources(notebook_of(3), "code"))
    many = [f"{name}=9.5" for name, value in chapter(22).parameters.items() if isinstance(value, float)]
    many += ["batch_sizes=8,16,32,64,128,256,512"] if "batch_sizes" in chapter(22).parameters else []
    for text in sources(notebook_of(22, settings=many), "code")[1:]:
        compile(text, "cell", "exec")


def test_published_numbers_are_shown_only_in_the_setting_of_the_source():
    def shown(**setting):
        return next(text for text in sources(notebook_of(3, **setting), "code") if text.startswith("Claims("))

    assert "published=lab.dataset.is_mnist" in shown()
    assert "published=False" in shown(model="cnn")
    assert "published=False" in shown(settings=["epochs=3"])
    assert all(each.published is None for each in Claims([claim("c", [1, 2], above=0, published=1)], published=False))


def test_the_command_of_an_exercise_is_a_cell_that_is_not_run_by_accident():
    cells = sources(notebook_of(3, settings=["epochs=3"]), "code")
    (cell,) = [text for text in cells if "512" in text]
    assert all(line.startswith("# ") for line in cell.splitlines())
    assert "# changed = lab.run(experiments(large_batch_size=512, epochs=3))\n" in cell
    (cell,) = [text for text in sources(notebook_of(10), "code") if "bstudy train" in text] or [""]
    assert not cell or cell.splitlines()[1].startswith("# !bstudy train --batch-size")


def code_of(number):
    """Return the cells that import and define, without those that run something."""
    return [text for text in sources(notebook_of(number), "code")[1:] if re.search(r"^(from|import|def|class|@)", text)]


EACH = [pytest.param(found, marks=[pytest.mark.slow] * (found.number % 4 > 0)) for found in chapters()]


@pytest.mark.parametrize("found", EACH, ids=lambda found: found.name)
def test_the_code_of_every_chapter_works_in_the_order_of_the_cells(found):
    record = json.loads((FIGURES / f"{found.name}.json").read_text(encoding="utf-8"))
    runs = report.runs_from_record(found, record)
    cells, names = sources(notebook_of(found.number), "code"), {"__name__": "a_notebook"}
    position = {text.split("(")[0].split("\n")[0]: number for number, text in enumerate(cells)}
    exec(compile("\n".join(cells[1 : position["lab = Lab"]]), "cells", "exec"), names)
    assert list(map(str, leaves(names["experiments"]()).values())) == list(
        map(str, leaves(found.module.experiments()).values())
    )
    with plots.style("page"), warnings.catch_warnings(action="ignore"):
        exec(cells[position["draw"] - 1], names)
        names["figure"](runs, Figure())
        exec(cells[position["Claims"] - 1], names)
        claims = list(names["verdicts"](runs))
    assert [each.outcome for each in claims] == [each["outcome"] for each in record["verdicts"]]


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words], prog_name="bstudy")


def test_the_command_writes_a_new_file_and_replaces_none(call, tmp_path):
    done = call("notebook", 3, "--large-batch-size", 512, "--seeds", 2)
    assert done.exit_code == 0
    assert done.stdout.startswith("ch03.ipynb; open it in ")
    notebook = nbformat.read(tmp_path / "ch03.ipynb", 4)
    assert "runs = lab.run(experiments(large_batch_size=512))\nruns" in "\n".join(sources(notebook, "code"))
    again = call("notebook", 3)
    assert again.exit_code == 1
    assert again.stderr == (
        "bstudy: ch03.ipynb exists, and may have your answers in it; move it, or choose another --out\n"
    )
    with pytest.raises(BstudyError, match="exists"):
        write_notebook(tmp_path / "ch03.ipynb", notebook)


def test_a_data_file_is_named_as_seen_from_the_notebook(call, tmp_path, tiny_file):
    (tmp_path / "mine.npz").write_bytes(tiny_file.read_bytes())
    assert call("notebook", 3, "--dataset", "mine.npz", "--out", "week 1/three.ipynb").exit_code == 0
    text = (tmp_path / "week 1/three.ipynb").read_text(encoding="utf-8")
    assert json.dumps(f'Lab("..{os.sep}mine.npz"')[1:-1] in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "mnits"], "there is no data set or file 'mnits'; use digits, "),
        (["--model", "resnet"], "there is no model 'resnet'"),
        (["--epochs", "0"], "'0' is not a whole number"),
        (["--out", "."], "is a directory"),
        (["--solutions", "--epohcs", "3"], "No such option"),
    ],
    ids=str,
)
def test_a_wrong_command_is_refused(call, tmp_path, words, message):
    done = call("notebook", 3, *words)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_without_nbformat_one_sentence_names_the_extra(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbformat", None)
    done = call("notebook", 3)
    assert done.exit_code == 1
    assert done.stderr == "bstudy: a notebook needs nbformat: run pip install 'bstudy[notebook]'\n"


@pytest.mark.parametrize(
    ("direct_url", "project_urls", "source"),
    [
        (
            {"url": "https://host/b.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            [],
            "bstudy @ git+https://host/b.git@abc",
        ),
        (None, ["Source, https://host/b"], "bstudy @ git+https://host/b"),
        ({"url": "file:///home/me/bstudy", "dir_info": {}}, [], None),
    ],
)
def test_the_first_cell_installs_from_where_bstudy_is(monkeypatch, direct_url, project_urls, source):
    text = None if direct_url is None else json.dumps(direct_url)
    metadata = SimpleNamespace(get=lambda name: None, get_all=lambda name, other: project_urls)
    found = SimpleNamespace(read_text=lambda name: text, metadata=metadata)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)
    expected = source or "./bstudy-"
    assert install_source().startswith(expected)
    assert install_source() != "bstudy"  # it could be another package of a registry
    assert INSTALL in sources(notebook_of(3), "code")[0]
    assert f'install --quiet "{expected}' in sources(notebook_of(3, source=""), "code")[0]


# What a notebook shows below a cell


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in ("img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


class Named:
    """Takes the place of an experiment."""

    def __str__(self):
        return "<script>one</script>"

    def table(self, run):
        return run.columns


def make_runs():
    return Runs(Named(), range(2), {"test_accuracy": np.array([90.0, 92.0])}, np.zeros(2))


@pytest.mark.parametrize(
    "shown",
    [
        make_runs(),
        Results({"<i>role</i>": make_runs(), "nested": {1: make_runs()}}),
        claim("<script>x</script> held", [1, 1.1], above=0, source="<b>me</b>"),
        Claims([claim("a", [1, 1.1], above=0, unit="<script>")]),
    ],
    ids=["Runs", "Results", "Claim", "Claims"],
)
def test_what_a_notebook_shows_is_well_formed_and_escaped(shown):
    page = Tags(shown._repr_html_())
    assert page.open == []
    assert not {"script", "i", "b"} & set(page.seen)
    assert "<script>" in page.text or "<i>role</i>" in page.text


def test_tables_scroll_and_the_style_is_confined():
    text = make_runs()._repr_html_()
    assert '<div class="scroll" tabindex="0"' in text
    rules = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1].strip().splitlines()
    assert all(part.strip().startswith(".bstudy") for rule in rules for part in rule.partition("{")[0].split(", "))
    assert "91.00 ± " in text
    assert "color: #" not in text.replace("border-color: #", "")  # letters have the color of the theme


def test_a_claim_shows_its_outcome_in_words(tiny):
    for values, words in (([1, 1.1], "✓ held"), ([-1, -1.1], "✗ did not hold"), ([1], "? undecided")):
        assert words in Tags(claim("c", values, above=0)._repr_html_()).text


def test_a_lab_returns_results_that_a_notebook_shows(tiny, small_model, shared_trainers):
    runs = Lab(tiny, 2, quiet=True, model=small_model).run({"small": {8: Recipe.sgd(8, 0.01, 1)}})
    assert isinstance(runs, dict)
    assert "8 at 0.01 for 1 epoch" in runs._repr_html_()
    assert repr(runs["small"][8]) == "<Runs of 8 at 0.01 for 1 epoch, seeds 0, 1>"
    page = Runs(runs["small"][8].experiment, (0, 1), {"test_loss": np.ones((2, 2))}, np.zeros(2))
    assert "test loss" in page._repr_html_()  # the runs of a page have only some columns


def test_an_error_is_one_sentence_in_a_notebook():
    assert InvalidInput("no\nepochs")._render_traceback_() == ["InvalidInput: no epochs"]


@pytest.fixture
def cell_lines(monkeypatch):
    """The texts that were shown in the line below a cell, as if this were a kernel."""
    lines = []

    class Handle:
        def update(self, content, raw):
            lines.append(content["text/plain"])

    def display(content, raw, display_id):
        lines.append(content["text/plain"])
        return Handle()

    monkeypatch.setattr("bstudy.progress.in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    return lines


def test_progress_is_one_line_in_a_notebook(cell_lines, capsys):
    with Display(100) as display:
        display.show("[0/2] first", 10)  # too soon after the line before
        display.show("[1/2] first", 60, milestone=True)
    assert cell_lines == [
        "Measuring, about 2 min; interrupting the kernel keeps what is measured.",
        "[1/2] first, 40 s left",
        "Measured in 1 s.",
    ]
    with pytest.raises(KeyboardInterrupt), Display(100):
        raise KeyboardInterrupt
    assert cell_lines[-1] == "Stopped after 1 s."
    with Display(100, quiet=True) as display:
        display.show("[1/2] first", 60, milestone=True)
    assert len(cell_lines) == 5
    assert capsys.readouterr().err == ""


GLOBAL_STATE = """
import os, signal, sys, random, warnings, logging
import numpy, matplotlib, matplotlib.pyplot, keras, tensorflow

def state():
    config = tensorflow.config
    return {
        "matplotlib": dict(matplotlib.rcParams), "backend": matplotlib.get_backend(),
        "styles": [*matplotlib.style.library],
        "keras": (keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
                  keras.config.dtype_policy().name, keras.config.backend()),
        "threads": (config.threading.get_intra_op_parallelism_threads(),
                    config.threading.get_inter_op_parallelism_threads()),
        "devices": str(config.get_logical_device_configuration(config.list_physical_devices("CPU")[0])),
        "logging": (logging.root.level, [*logging.root.handlers], tensorflow.get_logger().level),
        "environment": dict(os.environ), "random": random.getstate(), "numpy": str(numpy.random.get_state()),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], "filters": [*warnings.filters],
        "path": [*sys.path], "streams": (sys.stdout, sys.stderr), "cwd": os.getcwd(),
    }

before = state()
import bstudy
for name in bstudy.__all__:
    getattr(bstudy, name)
import bstudy.notebook, bstudy.report, bstudy.html, bstudy.advice.measure, bstudy.chapter
bstudy.chapter.chapters()
after = state()
print([name for name in before if before[name] != after[name]])
"""


def test_importing_bstudy_changes_nothing_for_others(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GLOBAL_STATE], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


# Executed by a real kernel


@pytest.fixture
def execute(tmp_path, home):
    """execute(notebook) runs all cells, and returns their outputs; an error in one of them is raised."""

    def run(notebook):
        with warnings.catch_warnings(action="ignore"):  # of the kernel's messages without encryption
            nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(tmp_path))
        return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]

    return run


def html_of(outputs):
    return [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]


def test_a_notebook_runs_from_stored_results(execute):
    lab, random = Lab("digits", seeds=2), np.random.default_rng(0)
    for experiment in leaves(chapter(2).module.experiments()).values():
        columns = {name: random.uniform(90, 99, 31) for name in ("test_accuracy", "train_subset_accuracy")}
        columns |= {f"{what}_{kind}": np.ones(31) for what in ("weight", "bias") for kind in ("distance", "norm")}
        columns |= {"test_loss": np.ones(31), "loss": np.ones(experiment.steps(len(lab.dataset.x_train))[-1])}
        for seed in lab.seeds:
            key = experiment.with_replicas(1).key(lab.dataset, lab.model, seed)
            Store().write(key, Result(columns, {}, {}))
    outputs = execute(notebook_of(2, seeds=2))
    assert [output.output_type for output in outputs] == ["execute_result"] * 3
    table, picture, claims = html_of(outputs)
    assert "1024 at 0.01" in table
    assert 'alt="Does a larger learning rate recover the lost accuracy?' in picture
    assert "held if above" in claims


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "settings"),
    [
        (0, ["batch_size=8", "epochs=1"]),  # with an experiment of its own, which only the kernel has
        (3, ["small_batch_size=8", "large_batch_size=32", "epochs=2"]),
        (6, ["early_epochs=1", "late_epochs=2", "trials=3", "batch_sizes=2,8,32", "large_batch_size=32"]),
    ],
)
def test_a_notebook_trains(execute, number, settings):
    outputs = execute(notebook_of(number, settings=settings, seeds=2))
    assert [output.output_type for output in outputs] == ["display_data", *["execute_result"] * 3]
    assert outputs[0].data["text/plain"].startswith("Measured in ")
    assert len(html_of(outputs)) == 3


@pytest.mark.slow
def test_an_interrupted_cell_keeps_what_was_measured(home, tiny_file):
    program = (
        "from bstudy import Lab, Recipe\n"
        f"lab = Lab({str(tiny_file)!r}, seeds=1, jobs=1)\n"
        "work = {'long': Recipe.sgd(1, 0.01, 100_000)}\n"
        "runs = lab.run(work)"
    )
    with warnings.catch_warnings(action="ignore"):
        manager, client = start_new_kernel(kernel_name="python3")
    printed = []
    try:
        message = client.execute(program)
        while not [*home.glob("results/*.npz")]:
            time.sleep(0.5)
        time.sleep(2)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=100)
        while reply["parent_header"]["msg_id"] != message:  # of the start
            reply = client.get_shell_msg(timeout=100)
        assert reply["content"]["ename"] == "Interrupted"
        assert "0 of 1 results are stored; the same cell continues from there" in reply["content"]["evalue"]
        again = "print('runs' in dir(), 0 < lab.store.progress(lab.store.keys()[0]) < 1)"
        client.execute_interactive(again, timeout=100, output_hook=lambda each: printed.append(str(each["content"])))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "False True" in "".join(printed)  # a checkpoint is stored, and the kernel still runs
