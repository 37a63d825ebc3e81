"""The book as web pages, each a file that needs no other: a page per chapter, and a front page of all findings.

The templates are in `templates/`.
"""

import base64
import inspect
import io
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import jinja2

from bstudy import __version__, plots
from bstudy.chapter import Chapter, as_text, chapters
from bstudy.errors import BstudyError, Interrupted, WorkerDone, printable
from bstudy.lab import Lab
from bstudy.report import MARKS, Report, build, format_evidence, write_text
from bstudy.stats import Claim
from bstudy.store import MARK

STYLES = ("page", "dark")


@dataclass(frozen=True)
class ChapterPage:
    """A chapter in the book: its report and figures, or the reason why they are missing."""

    chapter: Chapter
    report: Report | None = None
    figures: dict[str, str] = field(default_factory=dict)  # style -> data URI
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.chapter.name}.html"

    @property
    def claims(self) -> list[Claim]:
        return self.report.claims if self.report else []


def build_pages(lab: Lab) -> list[ChapterPage]:
    """Return the page of every chapter. One that cannot be measured or drawn does not stop the others.

    Raises:
        Interrupted: the user stopped it.
        WorkerDone: this machine only helped the chief.
    """
    found = chapters()
    try:
        lab.prepare({chapter.name: chapter.module.experiments(**chapter.parameters) for chapter in found})
    except (Interrupted, WorkerDone):
        raise
    except Exception as error:  # of one experiment: the chapters without it can be measured one by one
        print(f"bstudy: {sentence(error)}; continuing with one chapter at a time.", file=sys.stderr)
    return [build_page(chapter, lab) for chapter in found]


def build_page(chapter: Chapter, lab: Lab) -> ChapterPage:
    """Return the page of a chapter, or one that gives the reason why it is missing."""
    try:
        report = build(chapter, chapter.parameters, lab)
        return ChapterPage(chapter, report, {style: figure_data_uri(report, style) for style in STYLES})
    except (Interrupted, WorkerDone):
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
    """Return the files of a book of these chapters: the front page, and a page each."""
    return [out / "index.html", *(out / ChapterPage(chapter).name for chapter in found)]


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
    templates.globals |= {
        "parts": [(part, list(some)) for part, some in groupby(pages, lambda page: page.chapter.part)],
        "outcomes": Counter(claim.outcome for page in pages for claim in page.claims),
        "mark": MARK,
        "marks": MARKS,
        "evidence": format_evidence,
        "text": as_text,
        "version": __version__,
        "lab": lab,
        "options": options,
    }
    texts = [templates.get_template("index.html").render(page=None)]
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        source = inspect.getsource(page.chapter.module)
        template = templates.get_template("chapter.html")
        texts.append(template.render(page=page, before=before, after=after, source=source))
    paths = files([page.chapter for page in pages], out)
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    return paths
