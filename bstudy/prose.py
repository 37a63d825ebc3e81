"""Markdown: a chapter's docstring in its sections, and the same text as HTML or for the terminal."""

import functools
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

from bstudy.errors import BstudyError

if TYPE_CHECKING:
    from markdown_it.token import Token
    from rich.markdown import Markdown

SECTIONS = ("Idea", "Experiment", "Explanation", "In practice", "Exercises", "Sources")  # of a chapter, in this order
HISTORY = "History"  # an optional last section: what was changed after a result was seen
CHAPTER_REFERENCE = r"[Cc]hapters? \d+(?:(?:, | and |, and | to )\d+)*"


@dataclass(frozen=True)
class Exercise:
    """A question, and its solution, both in Markdown."""

    question: str
    solution: str


@dataclass(frozen=True)
class ChapterText:
    """The docstring of a chapter."""

    title: str  # a question
    introduction: str
    sections: dict[str, str]  # heading -> Markdown, without the exercises
    exercises: list[Exercise]


def parse_chapter(docstring: str, name: str) -> ChapterText:
    """Return the text of a chapter.

    Args:
        docstring: Markdown with a title and SECTIONS.
        name: Of the file, for messages.

    Raises:
        BstudyError: the title or a section is missing.
    """
    title, _, rest = inspect.cleandoc(docstring).partition("\n")
    parts = re.split(r"^## (.+)$", rest, flags=re.MULTILINE)
    sections = {heading.strip(): text.strip() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}
    wanted = [*SECTIONS, HISTORY] if HISTORY in sections else [*SECTIONS]
    if not title.startswith("# ") or list(sections) != wanted:
        raise BstudyError(
            f"{name} must begin with a docstring of a title, '# Question?', and the sections {', '.join(SECTIONS)}; "
            f"it has {', '.join(sections) or 'none'}"
        )
    exercises = [parse_exercise(item) for item in re.split(r"^\d+\. ", sections.pop("Exercises"), flags=re.M)[1:]]
    return ChapterText(title.removeprefix("# ").strip(), parts[0].strip(), sections, exercises)


def parse_exercise(item: str) -> Exercise:
    """Return the question and the solution, a quotation, of an item of a numbered list."""
    lines = inspect.cleandoc(item).splitlines()
    question = [line for line in lines if not line.startswith(">")]
    solution = [line.removeprefix(">").removeprefix(" ") for line in lines if line.startswith(">")]
    return Exercise("\n".join(question).strip(), "\n".join(solution).strip())


def read_text(name: str) -> str:
    """Return one of the texts of the book's front matter, in Markdown."""
    return (resources.files("bstudy") / "texts" / f"{name}.md").read_text(encoding="utf-8")


@functools.cache
def glossary() -> dict[str, str]:
    """Return {term: its definition in Markdown}, in alphabetical order."""
    parts = re.split(r"^## (.+)$", read_text("glossary"), flags=re.MULTILINE)
    return dict(
        sorted(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True), key=lambda item: item[0].lower())
    )


def anchor(term: str) -> str:
    """Return the name of a term's place on the glossary page."""
    return re.sub(r"\W+", "-", term.lower()).strip("-")


def for_terminal(text: str) -> "Markdown":
    """Return Markdown that rich can print; links are followed by their addresses."""
    from rich.markdown import Markdown

    return Markdown(text, code_theme="ansi_dark", hyperlinks=False)


def plain_text(text: str) -> str:
    """Return Markdown without its marks: paragraphs with an empty line between them."""
    breaks = {"softbreak": " ", "hardbreak": "\n"}
    paragraphs = []
    for token in _parser().parse(text):
        if token.type == "inline":
            paragraphs.append("".join(breaks.get(child.type, child.content) for child in token.children or []))
        elif token.type in ("code_block", "fence"):
            paragraphs.append(token.content.rstrip("\n"))
    return "\n\n".join(paragraphs)


class HtmlWriter:
    """Turns the Markdown of one page into HTML. The first use of each glossary term, and chapters, become links."""

    def __init__(self, chapters: Iterable[int] = (), link_terms: bool = True):
        self._chapters = {*chapters}
        self._terms = {term.lower(): term for term in glossary()} if link_terms else {}
        words = sorted(map(re.escape, self._terms), key=len, reverse=True)
        term = rf"|\b(?P<term>{'|'.join(words)})(?:s|es)?\b" if words else ""
        self._pattern = re.compile(rf"(?P<chapters>{CHAPTER_REFERENCE}){term}", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the HTML of a Markdown text."""
        parser = _parser()
        tokens = parser.parse(text)
        for before, token in pairwise(tokens):
            if before.type == "heading_open":
                before.attrSet("id", anchor(token.content))
            elif token.type == "inline":
                token.children = list(self._with_links(token.children or []))
        return parser.renderer.render(tokens, parser.options, {})

    def _with_links(self, tokens: list["Token"]) -> Iterator["Token"]:
        is_link = False
        for token in tokens:
            is_link = token.type == "link_open" or (is_link and token.type != "link_close")
            if token.type == "text" and not is_link:
                token.type, token.content = "html_inline", self._link(token.content)
            yield token

    def _link(self, text):
        pieces, end = [], 0
        for match in self._pattern.finditer(text):
            pieces.append(escape(text[end : match.start()]))
            pieces.append(self._link_chapters(match[0]) if match["chapters"] else self._link_term(match))
            end = match.end()
        return "".join([*pieces, escape(text[end:])])

    def _link_chapters(self, text):
        def link(number):
            known = int(number[0]) in self._chapters
            return f'<a href="ch{int(number[0]):02}.html">{number[0]}</a>' if known else number[0]

        return re.sub(r"\d+", link, escape(text))

    def _link_term(self, match):
        term = self._terms.pop(match["term"].lower(), None)  # only the first use on a page
        shown = escape(match[0])
        return f'<a class="term" href="glossary.html#{anchor(term)}">{shown}</a>' if term else shown


@functools.cache
def _parser():
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False, "highlight": _highlight}).enable("table")


def _highlight(code: str, language: str, _attributes: str) -> str:
    return highlight_python(code) if language == "python" else ""


def highlight_python(code: str) -> str:
    """Return Python code as HTML with classes for its colors, without a surrounding element."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(code, PythonLexer(), HtmlFormatter(nowrap=True))
