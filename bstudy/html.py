"""The book as web pages, each a file that needs no other: front matter, a page per chapter, glossary and appendix.

The templates are in `templates/`, the texts of the front matter in `texts/`.
"""

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import ModuleType

from markupsafe import Markup
from matplotlib.figure import Figure

from bstudy import __version__, api, plots, trainer
from bstudy.chapter import Chapter, as_text, chapters
from bstudy.claims import MARKS, Claim
from bstudy.drawing import Drawing, PanelTable
from bstudy.errors import BstudyError, ClusterLost, Interrupted, WorkerDone, printable
from bstudy.lab import Lab
from bstudy.prose import HtmlWriter, anchor, glossary, highlight_python, read_text
from bstudy.rendering import new_templates
from bstudy.report import Report, judge, write_text
from bstudy.store import MARK

STOPS = (ClusterLost, Interrupted, WorkerDone)  # the other chapters cannot be measured either
FRONT_MATTER = ("index.html", "answers.html", "reading.html", "glossary.html", "source.html", "api.html")


@dataclass(frozen=True)
class ChapterPage:
    """A chapter in the book: its report and figures, or the reason why they are missing."""

    chapter: Chapter
    report: Report | None = None
    figures: dict[str, str] = field(default_factory=dict)  # style -> data URI
    alt: str = ""  # the figure in words
    data: list[PanelTable] = field(default_factory=list)  # its numbers
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
    found, read = chapters(), lab.read
    try:
        lab.prepare({chapter.name: chapter.module.experiments(**chapter.parameters) for chapter in found})
    except STOPS:
        raise
    except Exception as error:  # of one experiment: the chapters without it can be measured one by one
        print(f"bstudy: {sentence(error)}; continuing with one chapter at a time.", file=sys.stderr)
        read = lab.run
    return [build_page(chapter, lab, read) for chapter in found]


def build_page(chapter: Chapter, lab: Lab, read: Callable[[dict], dict]) -> ChapterPage:
    """Return the page of a chapter, or one with the reason why it is missing.

    Args:
        chapter: Of the page.
        lab: With the data.
        read: Returns the runs of experiments.
    """
    try:
        measured = read(chapter.module.experiments(**chapter.parameters))
        report = judge(chapter, chapter.parameters, lab, measured)
        page = draw_report(report, "page")
        drawings = page, draw_report(report, "dark", like=page.figure)
        figures = {drawing.style: drawing.data_uri("svg", chapter.name) for drawing in drawings}
        return ChapterPage(chapter, report, figures, page.alt, page.tables)
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


def draw_report(report: Report, style: str, like: Figure | None = None) -> Drawing:
    """Return the figure of a report; it is an image of its own, so that its ids and its CSS touch nothing else."""
    with plots.style(style):
        return Drawing(report.draw(like), style)


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
    templates = new_templates()
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

    texts = [render("index.html", elsewhere=read_text("settings")), render("answers.html")]
    texts.append(render("reading.html", about=read_text("reading")))
    terms = [(anchor(term), term, text) for term, text in glossary().items()]
    texts.append(render("glossary.html", link_terms=False, terms=terms))
    texts.append(render("source.html", code=trainer))
    texts.append(render("api.html", link_terms=False, about=read_text("python"), groups=api.groups()))
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        texts.append(render("chapter.html", page=page, before=before, after=after))
    paths = files([page.chapter for page in pages], out)
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    return paths


def highlight(code: str | ModuleType) -> Markup:
    """Return Python code, or that of a module, in colors."""
    return Markup(highlight_python(code if isinstance(code, str) else inspect.getsource(code)))
