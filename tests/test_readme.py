"""What the README shows runs as it stands, and its numbers are those of the kept figures."""

import contextlib
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bstudy import Lab, book, models
from bstudy.cli import main
from bstudy.findings import findings
from bstudy.html import Leaf, write
from bstudy.page import Page
from bstudy.store import Store

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON, MODEL, CHAPTER = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(set(re.findall(r"^ {4}(?:.*&& )?(bstudy [^&\n]*)$|`(bstudy [a-z][^`]*)`", README, re.MULTILINE)))


def test_the_findings_are_those_of_the_kept_figures():
    page = findings(book.chapters(), ROOT / "figures")
    assert (ROOT / "figures" / "findings.md").read_text(encoding="utf-8") == page
    table = page.split("\n\n")[0]
    assert f"<!-- findings -->\n{table}\n<!-- end of findings -->" in README, (
        "copy the first table of findings.md there"
    )


def test_the_figures_that_it_shows_are_there():
    for path in re.findall(r"\]\(((?:figures|chapters)/[^)]*)\)", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("words", [a or b for a, b in COMMANDS])
def test_its_commands_are_understood(words):
    name, *arguments = shlex.split(words.replace(" N ", " 3 "))[1:]
    with contextlib.suppress(click.exceptions.Exit):  # which --help raises
        main.commands[name].make_context(name, arguments)


def test_the_example_in_python_runs(capsys):
    exec(PYTHON.replace("epochs=30", "epochs=1").replace("seeds=3", "seeds=2"), {})
    assert "Claim(claim='A smaller batch raises the test accuracy.'" in capsys.readouterr().out


def test_the_example_of_a_model_fits(tmp_path, monkeypatch):
    from bstudy.measure.model import built

    (tmp_path / "my_module.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    assert built(models.Architecture(models.model("my_module:my_function"), (8, 8), 10)).count_params() == 7510


def test_a_chapter_is_one_file(tiny, tmp_path, monkeypatch):
    """The README's, with a parameter that the book has no word for: listed, run, told of, and in the book."""
    chapters = import_module("bstudy.chapters")
    (tmp_path / "ch99_mine.py").write_text(CHAPTER.replace("batch_size=128", "own_size=16").replace("batch_", "own_"))
    monkeypatch.setattr(chapters, "__path__", [*chapters.__path__, str(tmp_path)])
    assert "  99  Half the batch size does what" in CliRunner().invoke(main, ["chapters"]).stdout
    assert "own_size" in CliRunner().invoke(main, ["chapter", "99", "--help"]).stdout

    chapter, lab = book.chapter(99), Lab(tiny, 2, Store(tmp_path), quiet=True)
    page = Page.of(chapter, chapter.with_set(["epochs=2"]), lab)
    assert [claim.claim for claim in page.claims] == ["Both end alike, to within a point."]
    assert len(page.write(tmp_path / "out", ["svg"], "page")) == 2
    assert len(chapter.text["Exercises"]) == 2
    assert "own_size=16" in write([Leaf(chapter, why="asleep")], tmp_path / "book", lab, "")[1].read_text()
