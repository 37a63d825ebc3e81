"""Both forms of pip install, each used from another folder, without the checkout on the path and without a network."""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTER = ["chapter", "2", "--small-batch-size", "8", "--large-batch-size", "32", "--epochs", "1", "--seeds", "1"]


@pytest.fixture(scope="module", params=[".", pytest.param("-e .", marks=pytest.mark.slow)], ids=["regular", "editable"])
def installed(request, tmp_path_factory):
    """installed(program, *words) runs a program of an environment into which a copy of the checkout is installed."""
    folder = tmp_path_factory.mktemp("installed")
    copy = shutil.copytree(
        ROOT, folder / "source", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "figures")
    )
    venv.create(folder / "venv", with_pip=False)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = (folder / "venv").rglob("site-packages")
    (packages / "of_the_tests.pth").write_text("\n".join(site.getsitepackages()))  # TensorFlow and the like
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet"]
    form = request.param.split()
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", *form], cwd=copy, check=True)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()

    def run(program, *words):
        environment = os.environ | {"BSTUDY_HOME": str(folder / "home")}
        done = subprocess.run(
            [scripts / program, *words], cwd=elsewhere, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder, run.chapters = elsewhere, copy / "chapters" if "-e" in form else packages / "bstudy/chapters"
    return run


def test_it_finds_its_own_chapters(installed):
    found = installed("python", "-c", "import bstudy.chapters as c; print(c.__file__)")
    assert Path(found.strip()).parent == installed.chapters
    assert "3  Does a large batch get the model stuck?" in installed("bstudy", "chapters")


def test_it_measures_and_draws_in_every_style(installed, tiny_file):
    installed("bstudy", *CHAPTER, "--dataset", str(tiny_file), "--style", "slide", "--quiet")
    assert (installed.folder / "bstudy-out/ch02.svg").stat().st_size > 1000


def test_its_other_files_are_installed(installed):
    program = (
        "from importlib.resources import files; root = files('bstudy'); "
        "print(*(each.name for part in (root, root / 'templates', root / 'styles') for each in part.iterdir()))"
    )
    names = installed("python", "-c", program).split()
    for name in ("py.typed", "__init__.pyi", "chapter.html", "book.css", "dark.mplstyle"):
        assert name in names


def test_it_brings_no_tests(installed):
    assert installed("python", "-c", "import importlib.util; print(importlib.util.find_spec('tests'))") == "None\n"
