"""A chapter as text, parameters and functions. Runs and draws nothing.

A chapter is a module `bstudy.chapters.chNN_name` with a docstring in Markdown, PART, and the functions
experiments(**parameters), figure(runs, fig) and verdicts(runs). It may also have table(runs), PUBLISHED and HELP.
"""

import ast
import difflib
import inspect
import math
import pkgutil
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from bstudy.errors import BstudyError, InvalidInput
from bstudy.prose import ChapterText, parse_chapter

KINDS = {int: "a whole number of at least 1", float: "a positive, finite number"}


@dataclass(frozen=True)
class Chapter:
    """One chapter of the book."""

    number: int
    part: str
    text: ChapterText
    parameters: dict[str, Any]  # name -> default
    help: dict[str, str]  # name -> what the parameter means
    published: dict  # experiment -> {column: the source's number}
    module: ModuleType

    @property
    def question(self) -> str:
        """The title."""
        return self.text.title

    @property
    def name(self) -> str:
        """The name of its files: ch01."""
        return f"ch{self.number:02}"

    def with_settings(self, texts: Iterable[str], parameters: dict | None = None) -> dict[str, Any]:
        """Return `parameters`, by default the chapter's own, changed by `NAME=VALUE` texts.

        Raises:
            InvalidInput: the chapter has no such parameter, or the value does not fit.
        """
        settings = read_settings(texts, self.parameters, f"chapter {self.number}")
        return self.parameters | (parameters or {}) | settings

    def changed(self, parameters: dict) -> dict[str, str]:
        """Return {name: value as text} of the parameters that differ from the chapter's defaults."""
        return {name: as_text(value) for name, value in parameters.items() if value != self.parameters[name]}

    def command(self, parameters: dict) -> str:
        """Return the command that runs the chapter with these parameters, without dataset, seeds and model."""
        options = (f" {option_name(name)} {shlex.quote(value)}" for name, value in self.changed(parameters).items())
        return f"bstudy chapter {self.number}{''.join(options)}"


def option_name(parameter: str) -> str:
    """Return the command-line option of a parameter: --batch-size."""
    return f"--{parameter.replace('_', '-')}"


def as_text(value: Any) -> str:
    """Return a parameter's value as a user writes it: a tuple as 64,256."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_value(text: str, default: Any) -> Any:
    """Return `text` as a value of the type of `default`; a tuple is read from a list with commas.

    Raises:
        ValueError: it is no such value.
    """
    if isinstance(default, tuple):
        values = tuple(read_value(part, default[0]) for part in text.rstrip(",").split(","))
        if len(set(values)) < 2:  # a chapter that takes several values compares them
            raise ValueError(f"{text!r} has fewer than two different values")
        return values
    kind = type(default)
    try:
        value = kind(text)
        is_valid = kind not in KINDS or 0 < value < math.inf
    except (ValueError, OverflowError):  # no number, or far too large a one
        is_valid = False
    if not is_valid:
        raise ValueError(f"{text!r} is not {KINDS[kind]}")
    return value


def read_settings(texts: Iterable[str], defaults: dict[str, Any], source: str) -> dict[str, Any]:
    """Return {name: value} of `NAME=VALUE` texts, each with the type of its default.

    Args:
        texts: The settings, as a user writes them; a name may have hyphens.
        defaults: What can be set.
        source: What the defaults belong to, for messages: "chapter 3".

    Raises:
        InvalidInput: a name is unknown, or a value does not fit.
    """
    values = {}
    for setting in texts:
        name, equals, text = (part.strip() for part in setting.partition("="))
        name = name.replace("-", "_")
        if name not in defaults:
            guess = "".join(f"; did you mean {match!r}?" for match in difflib.get_close_matches(name, defaults, n=1))
            known = ", ".join(f"{name}={as_text(default)}" for name, default in defaults.items())
            raise InvalidInput(f"{source} has no parameter {name!r}{guess or '.'} It has: {known}")
        example = f"for example {name}={as_text(defaults[name])}"
        if not equals:
            raise InvalidInput(f"{name!r} needs a value, {example}")
        try:
            values[name] = read_value(text, defaults[name])
        except ValueError as error:
            raise InvalidInput(f"{name}: {error}; {example}") from None
    return values


def chapters() -> list[Chapter]:
    """Return all chapters, in order."""
    return [_load(number, name) for number, name in _find_modules().items()]


def chapter(number: int) -> Chapter:
    """Return the chapter of this number.

    Raises:
        InvalidInput: there is none.
    """
    modules = _find_modules()
    if number not in modules:
        raise InvalidInput(f"there is no chapter {number}; the chapters are {', '.join(map(str, modules))}")
    return _load(number, modules[number])


def chapters_with_settings(texts: Iterable[str]) -> list[tuple[Chapter, dict[str, Any]]]:
    """Return all chapters with their parameters, changed by `NAME=VALUE` texts in every chapter that has them.

    Raises:
        InvalidInput: no chapter has such a parameter, or the value does not fit.
    """
    found = chapters()
    every = {name: default for each in found for name, default in each.parameters.items()}  # a name has one type
    values = read_settings(texts, every, "the book")
    return [(each, {name: values.get(name, default) for name, default in each.parameters.items()}) for each in found]


def _find_modules():
    """Return {number: module name}, sorted."""
    try:
        package = import_module("bstudy.chapters")
    except ModuleNotFoundError as error:
        if error.name != "bstudy.chapters":
            raise
        raise BstudyError(
            "bstudy.chapters is not installed; in a checkout, run 'pip install -e .', "
            "and then 'bstudy' or 'pytest' instead of 'python -m'"
        ) from None
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return {int(name[2:4]): name for name in sorted(names) if re.fullmatch(r"ch\d\d_\w+", name)}


def docstring(thing: Any) -> str:
    """Return the docstring of a module or a function from its source: `python -OO` removes it from the object."""
    if inspect.ismodule(thing):
        return ast.get_docstring(ast.parse(Path(thing.__file__).read_bytes())) or ""
    return ast.get_docstring(ast.parse(inspect.getsource(thing)).body[0]) or ""


def _load(number, name):
    module = import_module(f"bstudy.chapters.{name}")
    missing = [each for each in ("PART", "experiments", "figure", "verdicts") if not hasattr(module, each)]
    if missing:
        raise BstudyError(f"the chapter {module.__file__} has no {', no '.join(missing)}; chapter 1 has all of them")
    text = parse_chapter(docstring(module), module.__file__)
    defaults = {name: each.default for name, each in inspect.signature(module.experiments).parameters.items()}
    known = import_module("bstudy.chapters.parameters").PARAMETER_HELP | getattr(module, "HELP", {})
    meanings = {name: known.get(name, "") for name in defaults}
    return Chapter(number, module.PART, text, defaults, meanings, getattr(module, "PUBLISHED", {}), module)
