"""The folder figures/: its drawings and its tables follow from its JSON files."""

import json
from pathlib import Path

import matplotlib
import pytest

from bstudy.findings import findings, published_tables, read_record, read_settings, settings_table
from bstudy.prose import read_text

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "figures"
FILES = sorted(FIGURES.glob("ch??.json"))
QUICK = ("ch03.json", "ch22.json", "mnist-mlp/ch12.json")  # all take half a minute
DRAWN = {path.relative_to(FIGURES).as_posix(): path for path in sorted(FIGURES.glob("**/ch??.json"))}
EACH = [
    pytest.param(path, marks=[pytest.mark.slow] * (name not in QUICK), id=name.removesuffix(".json"))
    for name, path in DRAWN.items()
    if path.with_suffix(".svg").exists()
]


@pytest.fixture(scope="module")
def records():
    return [read_record(path) for path in FILES]


def test_there_is_one_for_each_chapter():
    assert [path.stem for path in FILES] == [path.stem[:4] for path in sorted((ROOT / "chapters").glob("ch??_*.py"))]


@pytest.mark.parametrize("path", EACH)
def test_a_drawing_is_that_of_its_numbers_to_the_byte(path, redrawn):
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["versions"]["matplotlib"] != matplotlib.__version__:
        pytest.skip(f"drawn with matplotlib {record['versions']['matplotlib']}")
    assert redrawn(record) == path.with_suffix(".svg").read_bytes()


def test_the_findings_are_those_of_the_numbers(records):
    page = (FIGURES / "findings.md").read_text(encoding="utf-8")
    assert page.split("\n\n", 1)[1] == findings(records, read_settings(FIGURES))


def test_the_readme_and_the_front_page_have_their_tables(records):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    questions = findings(records).split("\n\n")[0]
    table = settings_table([records, *read_settings(FIGURES)])
    assert f"<!-- findings -->\n{questions}\n<!-- end of findings -->" in readme
    assert f"<!-- settings -->\n{table}<!-- end of settings -->" in readme
    assert read_text("settings") == table
    published = published_tables([record for setting in (records, *read_settings(FIGURES)) for record in setting])
    assert f"<!-- published -->\n{published}\n<!-- end of published -->" in readme


def test_every_file_is_small():
    sizes = {path.relative_to(FIGURES).as_posix(): path.stat().st_size for path in FIGURES.rglob("*.*")}
    assert {name: size for name, size in sizes.items() if size > 500_000} == {}
