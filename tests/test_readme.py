"""What the README shows works: its commands, its examples, its links, and its table of chapters."""

import contextlib
import inspect
import re
import shlex
import sys
import types
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import bstudy
import bstudy.chapters
from bstudy import Lab
from bstudy.chapter import chapter, chapters
from bstudy.cli import main
from bstudy.html import ChapterPage, write
from bstudy.models import build_model, find_model
from bstudy.report import build
from bstudy.report import write as write_files

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON, MODEL, ADVICE, CHAPTER = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(
    {
        line or quoted
        for line, quoted in re.findall(r"^ {4}.*?(bstudy [a-z][^&\n]*)$|`(bstudy [a-z][^`]*)`", README, re.M)
    }
)
LISTED = [each for each in chapters() if each.number < 90]


def understand(words):
    """Read the words of a command as the command line does, without running it."""
    name, *arguments = words
    with contextlib.suppress(click.exceptions.Exit):  # which --help raises
        main.commands[name].make_context(name, arguments)


def test_there_are_commands():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_understood(command):
    understand(shlex.split(command.replace(" N", " 3"))[1:])


@pytest.mark.parametrize("found", LISTED, ids=lambda found: found.name)
def test_the_commands_of_a_chapters_exercises_are_understood(found):
    texts = [found.text.introduction, *found.text.sections.values()]
    texts += [part for exercise in found.text.exercises for part in (exercise.question, exercise.solution)]
    for command in re.findall(r"`(bstudy [^`]*)`", "\n".join(texts)):
        understand(shlex.split(command)[1:])


@pytest.mark.parametrize("found", LISTED, ids=lambda found: found.name)
def test_its_table_lists_the_chapter_in_its_part(found):
    row = f"| [{found.number}](chapters/{found.module.__name__.split('.')[-1]}.py) | {found.question} |"
    assert row in README
    above = re.findall(r"^\| \| \*\*(.*?)\*\* \|", README[: README.index(row)], re.M)
    assert above[-1] == found.part


def test_its_table_lists_nothing_else():
    assert len(re.findall(r"^\| \[\d+\]\(chapters/", README, re.M)) == len(LISTED)


def test_the_files_that_it_links_to_exist():
    linked = re.findall(r"\]\(([^):]+)\)", README)
    assert len(linked) > 25
    assert [path for path in linked if not (ROOT / path).is_file()] == []


def test_its_example_in_python_runs(tiny_file, small_model, shared_trainers, capsys):
    program = PYTHON.replace("epochs=30", "epochs=1").replace("batch_size=1024", "batch_size=32").replace("=64", "=8")
    program = program.replace('Lab("digits", seeds=3', f"Lab({str(tiny_file)!r}, model={small_model!r}, seeds=2")
    exec(program, {})
    assert "Claim(claim='A smaller batch raises the test accuracy.'" in capsys.readouterr().out


def test_its_example_of_advice_is_understood():
    """The arguments are those of `advise`, and the attributes those of an Advice; test_advise.py measures."""
    program = ADVICE.replace("from bstudy import advise\n", "")
    known = inspect.signature(bstudy.advise)

    def advise(*arguments, **named):
        known.bind(*arguments, **named)
        return types.SimpleNamespace(**dict.fromkeys(dir(bstudy.Advice)))

    exec(program, {"advise": advise, "x_train": 1, "y_train": 1, "my_compiled_model": 1})


def test_its_example_of_a_model_fits(tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    assert build_model(find_model("my_module:my_function"), (8, 8), 10).count_params() == 7510


@pytest.fixture
def own_chapter(tmp_path, monkeypatch):
    """The README's chapter as a file of a reader, with a parameter of its own, which it explains."""
    text = CHAPTER.replace("batch_size=128", "own_size=16").replace("(batch_size", "(own_size")
    text = text.replace('PART = "X. My own"\n', 'PART = "X. My own"\nHELP = {"own_size": "a size of my own"}\n')
    assert text.count("own_size") == 5
    (tmp_path / "ch99_mine.py").write_text(text)
    monkeypatch.setattr(bstudy.chapters, "__path__", [*bstudy.chapters.__path__, str(tmp_path)])
    yield chapter(99)
    del sys.modules["bstudy.chapters.ch99_mine"]


def test_its_chapter_is_listed_and_explained(own_chapter):
    assert "  99  Does half the batch size do what twice" in CliRunner().invoke(main, ["chapters"]).stdout
    text = " ".join(CliRunner().invoke(main, ["chapter", "99", "--help"]).stdout.split())
    assert "--own-size INTEGER a size of my own [default: 16]" in text
    assert "--epochs INTEGER epochs per phase of training" in text
    assert len(own_chapter.text.exercises) == 3


def test_its_chapter_runs_and_is_in_the_book(own_chapter, tiny, small_model, shared_trainers, tmp_path):
    lab = Lab(tiny, 2, quiet=True, model=small_model)
    page = build(own_chapter, own_chapter.with_settings(["epochs=2"]), lab)
    text = "Half the batch size and twice the learning rate end within a percentage point."
    assert [claim.claim for claim in page.answers] == [text]
    assert page.command == "bstudy chapter 99 --epochs 2"
    assert [path.name for path in write_files(page, tmp_path, ("svg",), "page")] == ["ch99.svg", "ch99.json"]
    *_, path = write([ChapterPage(own_chapter, page, {"page": "data:,", "dark": "data:,"})], tmp_path / "book", lab, "")
    html = path.read_text(encoding="utf-8")
    assert "own_size=16" in html
    assert "a size of my own" in html
    assert text in html
