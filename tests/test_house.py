"""The architecture: the direction of imports, the one file with TensorFlow, and the sizes."""

import ast
import functools
import graphlib
import io
import re
import tokenize
from pathlib import Path

import pytest

import bstudy

ROOT = Path(__file__).parents[1]
PACKAGE = sorted(ROOT.glob("bstudy/**/*.py"))
CHAPTERS = sorted(ROOT.glob("chapters/*.py"))
# A module imports only from those before it. `experiments` and `chapters` are folders.
ORDER = [
    "errors",
    "prose",
    "rendering",
    "backend",
    "processes",
    "stats",
    "claims",
    "tables",
    "store",
    "data",
    "user_model",
    "models",
    "trainer",
    "distribute",
    "experiments",
]
ORDER += [
    "machine",
    "plan",
    "worker",
    "engines",
    "dask_worker",
    "dask_engine",
    "progress",
    "runner",
    "lab",
    "plots",
    "drawing",
    "chapters",
    "chapter",
]
ORDER += [
    "report",
    "slides",
    "handin",
    "exchange",
    "findings",
    "terminal",
    "api",
    "html",
    "notebook",
    "advice",
    "bench",
    "options",
    "commands",
    "cli",
    "__main__",
]
IMPORTS_BY_NAME = {"backend", "chapter", "user_model"}  # TensorFlow, the chapters, the reader's model
FUNCTION_LINES, PARAMETERS, MODULE_LINES = 50, 6, 300
PACKAGE_LINES = 8570  # the present size; the aim is 3000: lower it with every change that makes the package shorter
OWN_IMPORT = re.compile(r"(?:from|import) (bstudy[.\w]*)")


def floor(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "chapters" else parts[1]


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(path, *kinds):
    return [node for node in ast.walk(tree(path)) if isinstance(node, kinds)]


def loads_by_name(path):
    """Return the first arguments of import_module and __import__."""
    calls = [node for node in nodes(path, ast.Call) if "import_" in ast.unparse(node.func)]
    return [ast.unparse(call.args[0]).removeprefix("f").strip("'\"") for call in calls]


def imported(path):
    """Return the full names that a module imports: at its top, late, by name, and in texts of programs."""
    names = loads_by_name(path)
    for node in nodes(path, ast.Import, ast.ImportFrom):
        assert getattr(node, "level", 0) == 0, f"{path}: a relative import"
        prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        names += [prefix + alias.name for alias in node.names]
    for node in nodes(path, ast.Constant):
        if isinstance(node.value, str):
            names += OWN_IMPORT.findall(node.value)
    return names


@functools.cache
def public_names():
    """Return {public name: the module that defines it}."""
    stub = ast.parse((ROOT / "bstudy" / "__init__.pyi").read_text(encoding="utf-8"))
    froms = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: (node.module or alias.name).split(".")[0] for node in froms for alias in node.names}


def floors_below(path):
    """Return the modules of bstudy that a module imports."""
    parts = [name.split(".")[1] for name in imported(path) if name.startswith("bstudy.")]
    return {public_names().get(part, part) for part in parts} - {"__version__"}


def code_lines(path):
    """Return the number of lines with code: no blank ones, no comments, no docstrings."""
    text = path.read_text(encoding="utf-8")
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in nodes(path, ast.Module, ast.ClassDef, ast.FunctionDef):
        if ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_every_module_has_its_place():
    assert {floor(path) for path in PACKAGE + CHAPTERS} - {"__init__"} == set(ORDER)
    assert "utils" not in {path.stem for path in PACKAGE}


@pytest.mark.parametrize("path", [path for path in PACKAGE if floor(path) != "__init__"], ids=lambda path: path.stem)
def test_a_module_imports_only_from_lower_ones(path):
    mine = ORDER.index(floor(path))
    higher = {name for name in floors_below(path) - {floor(path)} if ORDER.index(name) > mine}
    assert not higher


def test_experiments_import_each_other_without_a_circle():
    graph = {}
    for path in (path for path in PACKAGE if floor(path) == "experiments"):
        names = [name.split(".") for name in imported(path)]
        graph[path.stem] = {parts[2] for parts in names if parts[:2] == ["bstudy", "experiments"]} - {path.stem}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_only_the_backend_imports_tensorflow():
    roots = {path: {name.split(".")[0] for name in imported(path)} for path in PACKAGE + CHAPTERS}
    assert [path.name for path in roots if roots[path] & {"tensorflow", "keras"}] == ["backend.py"]


def test_modules_are_imported_by_name_only_where_it_is_needed():
    assert {floor(path) for path in PACKAGE + CHAPTERS if loads_by_name(path)} <= IMPORTS_BY_NAME


def test_chapters_import_only_public_names():
    allowed = {f"bstudy.{name}" for name in public_names()}
    for path in CHAPTERS:
        if path.stem == "ch00_one_step":  # it writes the training loop, and measures it with an experiment of its own
            continue
        names = [name for name in imported(path) if not name.startswith("bstudy.chapters.published.")]
        assert [name for name in names if name not in allowed | {"numpy", "bstudy"}] == [], path.name


def test_every_module_says_what_it_is_for():
    assert [path.name for path in PACKAGE + CHAPTERS if not ast.get_docstring(nodes(path, ast.Module)[0])] == []


def functions(paths):
    for path in paths:
        for node in nodes(path, ast.FunctionDef):
            yield f"{path.stem}.{node.name} (line {node.lineno})", node


def test_functions_are_short():
    lengths = {name: node.end_lineno - node.lineno + 1 for name, node in functions(PACKAGE + CHAPTERS)}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_functions_have_few_parameters():
    counts = {}
    for name, node in functions(PACKAGE):
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        if not any("command" in ast.unparse(decorator) for decorator in node.decorator_list):
            counts[name] = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
    for function in ("claims.claim ", "measure.advise "):  # their arguments are named where they are called
        del counts[next(name for name in counts if name.startswith(function))]
    assert {name: count for name, count in counts.items() if count > PARAMETERS} == {}


def test_modules_are_short():
    sizes = {path.name: code_lines(path) for path in PACKAGE + CHAPTERS}
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES} == {}


def test_the_package_is_short():
    sizes = {str(path.relative_to(ROOT)): code_lines(path) for path in PACKAGE}
    assert sum(sizes.values()) <= PACKAGE_LINES, sizes


def test_the_public_names_can_be_loaded_and_listed():
    names = public_names()
    assert set(names) == set(bstudy.__all__)
    assert set(names) <= set(dir(bstudy))
    for name in names:
        assert getattr(bstudy, name) is not None
    with pytest.raises(AttributeError):
        bstudy.nothing  # noqa: B018
