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


@pytest.mark.parametrize(
    "form", [["."], pytest.param(["-e", "."], marks=pytest.mark.slow)], ids=["regular", "editable"]
)
def test_installed_it_finds_its_chapters_and_styles(form, tmp_path):
    copy = shutil.copytree(ROOT, tmp_path / "source", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info"))
    venv.create(tmp_path / "venv", with_pip=False)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = (tmp_path / "venv").rglob("site-packages")
    (packages / "what_the_tests_have.pth").write_text("\n".join(site.getsitepackages()))  # TensorFlow and the like
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", *form], cwd=copy, check=True)

    def run(*words):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        done = subprocess.run(words, cwd=elsewhere, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(scripts / "python", "-c", "import bstudy.chapters as c; print(c.__file__)")
    assert Path(where.strip()).is_relative_to(copy / "chapters" if "-e" in form else packages / "bstudy/chapters")
    assert "3  A large batch does not get the model stuck." in run(scripts / "bstudy", "chapters")
    run(scripts / "bstudy", "chapter", "2", "--set", "epochs=1", "--seeds", "1", "--style", "slide", "--quiet")
    assert (tmp_path / "elsewhere/bstudy-out/ch02.svg").stat().st_size > 1000
    templates = "from jinja2 import PackageLoader; print(PackageLoader('bstudy').list_templates())"
    assert "chapter.html" in run(scripts / "python", "-c", templates)
    with pytest.raises(AssertionError, match="No module named 'tests'"):
        run(scripts / "python", "-c", "import tests")
