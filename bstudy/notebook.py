"""A chapter as a Jupyter notebook: its text, its functions to edit and run, and cells to fill in. Runs nothing."""

import ast
import importlib.metadata
import inspect
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bstudy import __version__
from bstudy.chapter import Chapter
from bstudy.errors import BstudyError, InvalidInput
from bstudy.models import MLP
from bstudy.report import writing_into
from bstudy.store import write_atomically

if TYPE_CHECKING:
    from nbformat import NotebookNode

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LINE = 100  # characters of a call, at most
TO_RUN_IT = ("Claims", "Lab", "draw")  # of bstudy, besides what the chapter imports
TO_FILL_IN = "**{}** *Double-click here, and write. Shift+Enter ends it.*"


@dataclass(frozen=True)
class Setting:
    """What a notebook measures: the chapter's parameters, the data, the seeds, the model."""

    parameters: dict[str, Any]
    dataset: str = "digits"
    seeds: int = 3
    model: str = MLP.name


def make_notebook(chapter: Chapter, setting: Setting, solutions: bool = False, source: str = "") -> "NotebookNode":
    """Return a chapter as a notebook without outputs. The same arguments give the same notebook.

    Args:
        chapter: The chapter.
        setting: What its cells measure.
        solutions: Whether the solutions of the exercises are in it.
        source: What `%pip install` gets if bstudy is missing; by default `install_source()`.

    Raises:
        BstudyError: nbformat is not installed.
    """
    try:
        import nbformat
    except ModuleNotFoundError:
        raise BstudyError("a notebook needs nbformat: run pip install 'bstudy[notebook]'") from None
    new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    cells = [
        new[kind](text, id=f"cell-{number:02}")
        for number, (kind, text) in enumerate(cells_of(chapter, setting, solutions, source or install_source()), 1)
    ]
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}, "bstudy": {"version": __version__}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(notebook)
    return notebook


def cells_of(chapter: Chapter, setting: Setting, solutions: bool, source: str) -> Iterator[tuple[str, str]]:
    """Yield ("markdown" or "code", text) of each cell."""
    text, code = chapter.text, ChapterCode(chapter)
    experiment, _, prediction = text.sections["Experiment"].partition("**Predict.**")
    yield "markdown", f"*Chapter {chapter.number} · {chapter.part}*\n\n# {text.title}\n\n{text.introduction}"
    yield "code", install_cell(source)
    yield "markdown", f"## Idea\n\n{text.sections['Idea']}"
    yield "markdown", f"## Experiment\n\n{experiment.strip()}"
    yield "markdown", f"**Predict, before you run anything.** {prediction.strip()}"
    yield "markdown", TO_FILL_IN.format("My prediction.")
    parts = {name: code.part(name) for name in ("experiments", "figure", "verdicts")}
    yield "code", code.imports(parts.values())
    yield "code", parts["experiments"]
    yield "code", f"lab = {lab_call(setting)}\nruns = lab.run({experiments_call(chapter, setting)})\nruns"
    yield "code", parts["figure"]
    footer = 'f"on {lab.dataset}, seeds: {len(lab.seeds)}"'
    yield "code", f"draw(figure, runs, {quoted(text.title)}, {footer})"
    yield "code", parts["verdicts"]
    yield "code", claims_call(chapter, setting, parts["verdicts"])
    for name in ("Explanation", "In practice"):
        yield "markdown", f"## {name}\n\n{text.sections[name]}"
    yield "markdown", "## Exercises"
    for number, exercise in enumerate(text.exercises, 1):
        yield "markdown", f"**Exercise {number}.** {exercise.question}"
        if commands := re.findall(r"`(bstudy [^`]*)`", exercise.question):
            yield "code", "\n".join(line for command in commands for line in commented(command, chapter, setting))
        yield "markdown", TO_FILL_IN.format("My answer.")
        if solutions and exercise.solution:
            yield "markdown", f"**Solution.** {exercise.solution}"
    for name in ("Sources", "History"):
        if name in text.sections:
            yield "markdown", f"## {name}\n\n{text.sections[name]}"


def commented(command: str, chapter: Chapter, setting: Setting) -> list[str]:
    """Return the lines of a cell that does what an exercise's command does, as comments: to run it takes time."""
    words = shlex.split(command)
    options = zip(words[3::2], words[4::2], strict=False)
    try:
        if words[:3] != ["bstudy", "chapter", str(chapter.number)] or len(words) % 2 == 0:
            raise InvalidInput("not a run of this chapter")
        settings = [f"{name.removeprefix('--')}={value}" for name, value in options]
        changed = replace(setting, parameters=chapter.with_settings(settings, setting.parameters))
    except InvalidInput:  # another command, or an option of the command: it is run as it is
        return ["# Remove the # to run it.", f"# !{' '.join(words)}"]
    arguments = experiments_call(chapter, changed)
    return [
        "# Remove each # to run it.",
        *(f"# {line}" for line in f"changed = lab.run({arguments})".splitlines()),
        f"# display(draw(figure, changed, {quoted(', '.join(settings))}), Claims(verdicts(changed)))",
    ]


def quoted(text: str) -> str:
    """Return a text as Python code, in double quotes as the chapters have it."""
    return json.dumps(text, ensure_ascii=False)


def call(name: str, arguments: Iterable[str]) -> str:
    """Return a call as Python code, with an argument a line if it is long."""
    arguments = list(arguments)
    short = f"{name}({', '.join(arguments)})"
    if len(short) <= LINE:
        return short
    return "\n".join([f"{name}(", *(f"    {each}," for each in arguments), ")"])


def lab_call(setting: Setting) -> str:
    """Return the Lab as Python code."""
    model = [f"model={quoted(setting.model)}"] * (setting.model != MLP.name)
    return call("Lab", [quoted(setting.dataset), f"seeds={setting.seeds}", *model])


def experiments_call(chapter: Chapter, setting: Setting) -> str:
    """Return the call of `experiments` with the changed parameters."""
    return call("experiments", (f"{name}={setting.parameters[name]!r}" for name in chapter.changed(setting.parameters)))


def claims_call(chapter: Chapter, setting: Setting, verdicts: str) -> str:
    """Return the cell of the claims. A published number belongs only to the source's setting, as in a Report."""
    if "published=" not in verdicts:
        return "Claims(verdicts(runs))"
    is_source_setting = setting.model == MLP.name and not chapter.changed(setting.parameters)
    published = "lab.dataset.is_mnist" if is_source_setting else "False"
    return f"Claims(verdicts(runs), published={published})  # the sources trained the default model on MNIST"


def install_cell(source: str) -> str:
    """Return the cell that installs bstudy if it is missing, as in a hosted notebook."""
    is_file = source.endswith(".whl") and "://" not in source
    return "\n".join(
        [
            "import importlib.util",
            "",
            'if importlib.util.find_spec("bstudy") is None:',
            *["    # put this file next to the notebook; in a checkout of bstudy, 'pip wheel --no-deps .' makes it"]
            * is_file,
            f"    %pip install --quiet {quoted(source)}",
        ]
    )


def install_source() -> str:
    """Return what `%pip install` gets: the repository that bstudy was installed from, or that it names, or its wheel.

    It is never only the name `bstudy`: that could be another package of a registry.
    """
    distribution = importlib.metadata.distribution("bstudy")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if "vcs_info" in origin:
        return f"bstudy @ {origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
    named = (each.partition(", ")[2] for each in distribution.metadata.get_all("Project-URL", []))
    url = next((each for each in (distribution.metadata.get("Home-page"), *named) if each), "")
    return f"bstudy @ git+{url}" if url else f"./bstudy-{__version__}-py3-none-any.whl"


class ChapterCode:
    """The code of a chapter in parts: a function with the helpers and constants that it is the first to need."""

    def __init__(self, chapter: Chapter):
        source = inspect.getsource(chapter.module)
        docstring, *self._statements = ast.parse(source).body
        lines, last = source.splitlines(), docstring.end_lineno
        self._text, self._defined_by, self._given = {}, {}, set()
        for statement in self._statements:  # with the comments above it
            self._text[statement] = "\n".join(lines[last : statement.end_lineno]).strip("\n")
            last = statement.end_lineno
            self._defined_by |= dict.fromkeys(defined_names(statement), statement)

    def part(self, name: str) -> str:
        """Return the code of a function, after what it needs and no earlier part has."""
        wanted, left = set(), [self._defined_by[name]]
        while left:
            statement = left.pop()
            if statement not in wanted:
                wanted.add(statement)
                left += [self._defined_by[each] for each in used_names(statement) & self._defined_by.keys()]
        new = [each for each in self._statements if each in wanted - self._given]
        self._given |= wanted
        pieces = []
        for before, statement in zip([None, *new], new, strict=False):
            is_block = any(isinstance(each, ast.FunctionDef | ast.ClassDef) for each in (before, statement))
            pieces += ["\n\n\n" if is_block else "\n"] * bool(pieces) + [self._text[statement]]
        return "".join(pieces)

    def imports(self, parts: Iterable[str]) -> str:
        """Return the imports that these parts use, and those that run them."""
        used = set().union(*(used_names(ast.parse(part)) for part in parts))
        lines = []
        for statement in self._statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                statement.names = [each for each in statement.names if (each.asname or each.name) in used]
                lines += [ast.unparse(statement)] * bool(statement.names)
        return "\n".join([*lines, f"from bstudy import {', '.join(TO_RUN_IT)}  # to run it here"])


def defined_names(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a module defines, without imports."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return {
            node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
    return set()


def used_names(tree: ast.AST) -> set[str]:
    """Return the names that occur in code."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def dataset_from(dataset: str, folder: Path) -> str:
    """Return a data set as a notebook in this folder names it: a relative path begins there."""
    path = Path(dataset)
    if path.is_absolute() or not path.is_file():
        return dataset
    return os.path.relpath(path, folder)


def check_new(path: Path) -> None:
    """Raise BstudyError if there is a file: someone may have written answers into it."""
    if os.path.lexists(path):
        raise BstudyError(f"{path} exists, and may have your answers in it; move it, or choose another --out")


def write_notebook(path: Path, notebook: "NotebookNode") -> None:
    """Write a notebook to a new file.

    Raises:
        BstudyError: it cannot be written, or there is a file.
    """
    import nbformat

    check_new(path)
    with writing_into(path.parent):
        write_atomically(path, lambda file: file.write(f"{nbformat.writes(notebook)}\n".encode()))
