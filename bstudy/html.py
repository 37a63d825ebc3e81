"""The book as web pages, each a file that needs no other: front matter, a page per chapter, glossary and appendix.

The templates are in `templates/`, the texts of the front matter in `texts/`.
"""

import ast
import base64
import inspect
import io
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import ModuleType

import jinja2
from markupsafe import Markup

from bstudy import __version__, plots, trainer
from bstudy.chapter import Chapter, as_text, chapters
from bstudy.claims import MARKS, Claim
from bstudy.errors import BstudyError, ClusterLost, Interrupted, WorkerDone, printable
from bstudy.lab import Lab
from bstudy.prose import HtmlWriter, anchor, glossary, highlight_python, read_text
from bstudy.report import Report, build, write_text
from bstudy.store import MARK

STYLES = ("page", "dark")
STOPS = (ClusterLost, Interrupted, WorkerDone)  # the other chapters cannot be measured either
FRONT_MATTER = ("index.html", "answers.html", "reading.html", "glossary.html", "source.html")


@dataclass(frozen=True)
class ChapterPage:
    """A chapter in the book: its report and figures, or the reason why they are missing."""

    chapter: Chapter
    report: Report | None = None
    figures: dict[str, str] = field(default_factory=dict)  # style -> data URI
    alt: str = ""  # the figure in words
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.chapter.name}.html"

    @property
    def claims(self) -> list[Claim]:
        return self.report.claims if self.report else []

    @property
    def code(self) -> str:
        """The chapter without its docstring."""
        source = inspect.getsource(self.chapter.module)
        return "".join(source.splitlines(keepends=True)[ast.parse(source).body[0].end_lineno :]).lstrip()


def build_pages(lab: Lab) -> list[ChapterPage]:
    """Return the page of every chapter. One that cannot be measured or drawn does not stop the others.

    Raises:
        ClusterLost: the scheduler ended.
        Interrupted: the user stopped it.
        WorkerDone: this machine only helped the chief.
    """
    found = chapters()
    try:
        lab.prepare({chapter.name: chapter.module.experiments(**chapter.parameters) for chapter in found})
    except STOPS:
        raise
    except Exception as error:  # of one experiment: the chapters without it can be measured one by one
        print(f"bstudy: {sentence(error)}; continuing with one chapter at a time.", file=sys.stderr)
    return [build_page(chapter, lab) for chapter in found]


def build_page(chapter: Chapter, lab: Lab) -> ChapterPage:
    """Return the page of a chapter, or one that gives the reason why it is missing."""
    try:
        report = build(chapter, chapter.parameters, lab)
        figures = {style: figure_data_uri(report, style) for style in STYLES}
        return ChapterPage(chapter, report, figures, plots.describe(report.draw()))
    except STOPS:
        raise
    except Exception as error:  # also an unforeseen one: the other chapters are worth more than its traceback
        page = ChapterPage(chapter, reason=sentence(error))
        print(f"bstudy: chapter {chapter.number} is missing: {page.reason}", file=sys.stderr)
        return page


def sentence(error: Exception) -> str:
    """Return what went wrong, in one line."""
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, BstudyError) else printable(f"{type(error).__name__}: {first}")


def figure_data_uri(report: Report, style: str) -> str:
    """Return the figure as an image of its own, so that its ids and its CSS touch nothing else on the page."""
    file = io.BytesIO()
    with plots.style(style):
        plots.save(report.draw(), "svg", report.chapter.name, file)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def files(found: list[Chapter], out: Path) -> list[Path]:
    """Return the files of a book of these chapters: the front matter, and a page each."""
    return [out / name for name in (*FRONT_MATTER, *(ChapterPage(chapter).name for chapter in found))]


def write(pages: list[ChapterPage], out: Path, lab: Lab, options: str) -> list[Path]:
    """Write the book into the folder `out`, and return the paths.

    Args:
        pages: Of all chapters.
        out: The folder.
        lab: With which the pages were built.
        options: Of the command that builds the book again.

    Raises:
        BstudyError: it cannot be written.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("bstudy"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = [page.chapter.number for page in pages]
    templates.globals |= {
        "parts": [(part, list(some)) for part, some in groupby(pages, lambda page: page.chapter.part)],
        "outcomes": Counter(claim.outcome for page in pages for claim in page.claims if not claim.check),
        "mark": MARK,
        "marks": MARKS,
        "text": as_text,
        "python": highlight,
        "version": __version__,
        "lab": lab,
        "options": options,
        "page": None,
    }

    def render(template, link_terms=True, **values):
        writer = HtmlWriter(numbers, link_terms)  # of one page: it links the first use of a term
        return templates.get_template(template).render(markdown=lambda text: Markup(writer(text)), **values)

    texts = [render(name) for name in ("index.html", "answers.html")]
    texts.append(render("reading.html", about=read_text("reading")))
    terms = [(anchor(term), term, text) for term, text in glossary().items()]
    texts.append(render("glossary.html", link_terms=False, terms=terms))
    texts.append(render("source.html", code=trainer))
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        texts.append(render("chapter.html", page=page, before=before, after=after))
    paths = files([page.chapter for page in pages], out)
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    return paths


def highlight(code: str | ModuleType) -> Markup:
    """Return Python code, or that of a module, in colors."""
    return Markup(highlight_python(code if isinstance(code, str) else inspect.getsource(code)))
