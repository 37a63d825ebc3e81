"""The architecture, held: where imports may go, where TensorFlow may be, how large a file may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*ROOT.glob("bstudy/**/*.py"), *ROOT.glob("chapters/*.py")]
ORDER = [
    "errors",
    "stats",
    "lock",
    "store",
    "models",
    "data",
    "experiment",
    "measure",
    "stop",
    "progress",
    "draw",
    "workers",
    "jobs",
    "lab",
    "chapters",
    "book",
    "page",
    "findings",
    "html",
    "advise",
    "options",
    "cli",
    "__main__",
]


def module(path):
    """A file's place in ORDER: the measuring modules and the chapters stand for one each."""
    parts = path.relative_to(ROOT).parts
    return parts[0] if parts[0] == "chapters" else parts[1].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_house(path):
    names = list(imported(path))
    if module(path) == "chapters":
        assert all(name.split(".")[0] in ("bstudy", "numpy") for name in names)
        assert not [name for name in names if name.startswith("bstudy.") and name.count(".") > 1]
    elif module(path) != "__init__":
        mine = ORDER.index(module(path))
        below = {name.split(".")[1] for name in names if name.startswith("bstudy.")} & set(ORDER)
        assert all(ORDER.index(other) < mine or other == module(path) for other in below)
    if module(path) != "measure":
        assert not [name for name in names if name.split(".")[0] in ("tensorflow", "keras")]
    assert ast.get_docstring(ast.parse(path.read_text())), "every module says in its first line why it exists"
    assert len(path.read_text().splitlines()) <= (80 if module(path) == "chapters" else 300)
