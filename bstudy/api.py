"""The public names of the package with their signatures and docstrings, read from its source. Imports no TensorFlow."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import griffe

import bstudy

LITERALS = bool | int | float | str | tuple | None
FIRST = ("lab", "experiments.base", "claims", "drawing", "data")  # modules; the others follow in their order
TITLES = {"parameters": "Args", "returns": "Returns", "yields": "Yields", "raises": "Raises"}  # of sections


@dataclass(frozen=True)
class Item:
    """A line of a section: a parameter, a returned value, or an error."""

    name: str
    type: str
    text: str  # in Markdown


@dataclass(frozen=True)
class Entry:
    """A class, a function, a method or a property."""

    name: str
    signature: str
    text: str = ""  # in Markdown
    sections: dict[str, list[Item]] = field(default_factory=dict)  # title -> items
    members: list["Entry"] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """The public names of a module."""

    module: str
    text: str
    entries: list[Entry]


def groups() -> list[Group]:
    """Return all public names, by module: those of `bstudy/__init__.pyi`, and the functions of its modules."""
    package = griffe.load("bstudy", search_paths=[Path(bstudy.__file__).parents[1]], allow_inspection=False)
    found = {}
    for name in bstudy.__all__:
        target = package[name].final_target if package[name].is_alias else package[name]
        if target.is_module:
            found |= {each.path: each for each in public_members(target)}
        elif not target.is_attribute:
            found[target.path] = target
    order = sorted(found.values(), key=lambda each: place(module_of(each)))
    return [
        Group(name, first_sentence(package[name]), [read(each) for each in some])
        for name, some in groupby(order, key=module_of)
    ]


def place(module: str) -> tuple[int, str]:
    """Return where a module is in the list."""
    return FIRST.index(module) if module in FIRST else len(FIRST), module


def module_of(each: griffe.Object) -> str:
    """Return the module of an object, without the name of the package."""
    return each.module.path.removeprefix("bstudy.")


def first_sentence(module: griffe.Module) -> str:
    """Return the first line of a module's docstring."""
    return module.docstring.value.splitlines()[0]


def public_members(parent: griffe.Object) -> Iterator[griffe.Object]:
    """Yield the functions, methods and properties that are defined here and have a docstring."""
    for name, each in parent.members.items():
        is_own = not each.is_alias and not name.startswith("_")
        if is_own and each.docstring and (each.is_function or "property" in each.labels):
            yield each


def read(each: griffe.Object) -> Entry:
    """Return the entry of an object."""
    texts, sections = [], {}
    docstring = griffe.Docstring(columns_as_lists(each.docstring.value), parent=each)
    for section in docstring.parse("google", warnings=False):
        if section.kind.value in TITLES:
            sections[TITLES[section.kind.value]] = [
                Item(getattr(item, "name", ""), str(item.annotation or ""), item.description) for item in section.value
            ]
        else:
            texts.append(section.value)
    is_property = "property" in each.labels
    members = [read(member) for member in public_members(each)] if each.is_class else []
    called = f"{each.name}: {each.annotation}" if is_property else signature(each)
    return Entry(each.name, called, "\n\n".join(texts), sections, members)


def columns_as_lists(docstring: str) -> str:
    """Return a docstring in which the columns of an experiment are a list in Markdown."""
    lines, is_column = [], False
    for line in docstring.splitlines():
        if line.startswith("Columns") and line.endswith(":"):
            is_column = True
            lines += ["", f"**{line}**", ""]
        elif is_column and line.startswith("    "):
            name, colon, text = line.strip().partition(": ")
            lines.append(f"  {line.strip()}" if line.startswith(" " * 8) else f"- `{name}`{colon}{text}")
        else:
            lines += [""] * is_column + [line]
            is_column = False
    return "\n".join(lines)


def signature(each: griffe.Object) -> str:
    """Return how a function or a class is called, with the types that its source has."""
    if each.is_function or not (parameters := [part for part in each.parameters if part.name != "self"]):
        return each.signature() or each.name
    known = inspect.signature(getattr(bstudy, each.name)).parameters
    return f"{each.name}({', '.join(with_default(part, known[part.name].default) for part in parameters)})"


def with_default(parameter: griffe.Parameter, default: Any) -> str:
    """Return a parameter with its default; the source of a field may have a check in its place."""
    text = f"{parameter.name}: {parameter.annotation}" if parameter.annotation else parameter.name
    if default is inspect.Parameter.empty:
        return text
    return f"{text} = {default!r}" if isinstance(default, LITERALS) else f"{text} = {parameter.default}"
