"""The book as web pages, each a file that needs no other: one a chapter, and a front page of all findings.

What a page looks like is in `templates/`.
"""

import base64
import inspect
import io
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby

import jinja2

from bstudy import __version__, draw
from bstudy.book import Chapter, as_text, chapters, meaning
from bstudy.errors import BstudyError, Followed, Interrupted
from bstudy.page import MARKS, Page, evidence, writing_into
from bstudy.progress import duration
from bstudy.store import write_atomically

STYLES = ("page", "dark")


@dataclass(frozen=True)
class Leaf:
    """A chapter in the book: with its page and the page's pictures, or the reason why there is none."""

    chapter: Chapter
    page: Page | None = None
    pictures: dict = field(default_factory=dict)  # style -> data URI
    why: str = ""

    @property
    def name(self):
        return f"{self.chapter.name}.html"

    @property
    def claims(self):
        return self.page.claims if self.page else []


def leaves(lab):
    """Every chapter's Leaf. One that cannot be measured or drawn does not lose the others: it says why it is missing.

    Raises Interrupted where the user stopped it, and Followed on a machine that only helped another one.
    """
    found, followed, some = [], None, chapters()
    if not lab.quiet:
        count, seconds = lab.outstanding(e for each in some for e in each.module.experiments().values())
        estimate = f": {count} results are to be measured, about {duration(seconds)}" if count else ""
        print(f"{len(some)} chapters on {lab.dataset}{estimate}.", file=sys.stderr)
    for chapter in some:
        if not lab.quiet:
            print(f"Chapter {chapter.number}: {chapter.finding}", file=sys.stderr)
        try:
            page = Page.of(chapter, chapter.parameters, lab)
            found.append(Leaf(chapter, page, {style: picture(page, style) for style in STYLES}))
        except Interrupted:
            raise
        except Followed as helped:  # the next chapter needs help too
            followed = helped
        except Exception as error:  # also what no one foresaw: the measured rest is worth more than the traceback
            found.append(Leaf(chapter, why=sentence(error)))
            print(f"bstudy: chapter {chapter.number} is missing: {found[-1].why}", file=sys.stderr)
    if followed:
        raise followed
    return found


def sentence(error):
    """What went wrong, in one line."""
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, BstudyError) else f"{type(error).__name__}: {first}"


def picture(page, style):
    """The page's figure as a data URI. As an image of its own its ids and its CSS touch nothing else on the page."""
    file = io.BytesIO()
    with draw.style(style):
        draw.save(page.figure(), "svg", page.chapter.name, file)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def write(found, out, lab, options):
    """Write the book of these Leaves into the folder `out`; `options` are those that make it again. Gives the paths.

    Raises BstudyError where it cannot be written.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("bstudy"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "parts": [(part, list(some)) for part, some in groupby(found, lambda leaf: leaf.chapter.part)],
        "outcomes": Counter(claim.outcome for leaf in found for claim in leaf.claims),
        "marks": MARKS,
        "evidence": evidence,
        "heading": lambda column: draw.quantity(column).heading,
        "text": as_text,
        "meaning": meaning,
        "version": __version__,
        "lab": lab,
        "options": options,
    }
    pages = {"index.html": templates.get_template("index.html").render(here=None)}
    for before, leaf, after in zip([None, *found], found, [*found[1:], None], strict=False):
        source = inspect.getsource(leaf.chapter.module)
        template = templates.get_template("chapter.html")
        pages[leaf.name] = template.render(here=leaf, before=before, after=after, source=source)
    with writing_into(out):
        for name, text in pages.items():
            write_atomically(out / name, lambda file, text=text: file.write(text.encode()))
    return [out / name for name in pages]
