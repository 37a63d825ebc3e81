"""Slides for a lecture: for each chapter one with its finding, its figure and its numbers, and notes for the speaker.

A `.pptx` file is made with python-pptx, which the extra `slides` installs; a `.pdf` file with matplotlib.
"""

import io
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

from bstudy import __version__, plots
from bstudy.drawing import describe
from bstudy.errors import BstudyError, InvalidInput
from bstudy.prose import plain_text
from bstudy.report import Report, write_file
from bstudy.store import MARK

ENDINGS = (".pptx", ".pdf")
TITLE = "What batch size should I use, and why?"
WIDTH, HEIGHT = 13.334, 7.5  # inches, 16 : 9, as in styles/slide.mplstyle
FIGURE_HEIGHT = 5.1  # inches of a chapter's figure


def check_ending(path: Path) -> None:
    """Raise InvalidInput if the name of a file does not end with one of ENDINGS."""
    if path.suffix not in ENDINGS:
        raise InvalidInput(f"{path} must end with {' or '.join(ENDINGS)}")


def write(pages: Sequence[Report], path: Path) -> None:
    """Write slides of these chapters.

    Args:
        pages: One report a chapter, all on the same data.
        path: A `.pptx` or `.pdf` file.

    Raises:
        BstudyError: python-pptx is missing, or the file cannot be written.
    """
    check_ending(path)
    write_file(path, partial(write_pptx if path.suffix == ".pptx" else write_pdf, pages))


def write_pptx(pages: Sequence[Report], file: Any) -> None:
    """Write a presentation of PowerPoint, which other programs open too."""
    try:
        from pptx import Presentation
        from pptx.enum.text import PP_ALIGN
        from pptx.util import Inches, Pt
    except ImportError:
        raise BstudyError("slides as .pptx need python-pptx: pip install 'bstudy[slides]', or write a .pdf") from None

    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    deck.core_properties.title = TITLE
    first = deck.slides.add_slide(deck.slide_layouts[6])

    def add_text(slide, text, top, height, size, bold=False):
        box = slide.shapes.add_textbox(Inches(0.4), Inches(top), Inches(WIDTH - 0.8), Inches(height))
        box.text_frame.word_wrap = True
        paragraph = box.text_frame.paragraphs[0]
        paragraph.text, paragraph.font.size, paragraph.font.bold = text, Pt(size), bold

    add_text(first, TITLE, 2.2, 1.4, 36, bold=True)
    add_text(first, subtitle(pages), 3.8, 1, 20)
    title_only = deck.slide_layouts[5]
    for page in pages:
        slide = deck.slides.add_slide(title_only)
        place(slide.shapes.title, Inches, 0.4, 0.2, WIDTH - 0.8, 1.2)
        slide.shapes.title.text = page.headline
        paragraph = slide.shapes.title.text_frame.paragraphs[0]
        paragraph.font.size, paragraph.font.bold, paragraph.alignment = Pt(24), True, PP_ALIGN.LEFT
        image, words = draw(page)
        picture = slide.shapes.add_picture(io.BytesIO(image), Inches(0.4), Inches(1.45), height=Inches(FIGURE_HEIGHT))
        picture.left = (deck.slide_width - picture.width) // 2
        picture._element.nvPicPr.cNvPr.set("descr", words)  # python-pptx has no other way to set the alt text
        add_text(slide, numbers(page), 1.5 + FIGURE_HEIGHT, 0.8, 16)
        slide.notes_slide.notes_text_frame.text = notes(page)
    content = io.BytesIO()
    deck.save(content)
    with zipfile.ZipFile(content, "a") as package:  # PowerPoint ignores the comment of the archive
        package.comment = MARK.encode()
    file.write(content.getbuffer())


def place(shape: Any, unit: Any, left: float, top: float, width: float, height: float) -> None:
    """Move a shape to this place of a slide, in units such as inches."""
    shape.left, shape.top, shape.width, shape.height = map(unit, (left, top, width, height))


def write_pdf(pages: Sequence[Report], file: Any) -> None:
    """Write a page for each slide; the notes for the speaker are annotations."""
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    with plots.style("slide"), PdfPages(file, metadata={"Title": TITLE, "Creator": MARK, "CreationDate": None}) as deck:
        first = Figure()
        first.text(0.04, 0.58, TITLE, fontsize=40, weight="bold")
        first.text(0.04, 0.48, subtitle(pages))
        deck.savefig(first)
        for page in pages:
            draw_chapter = partial(page.chapter.module.figure, page.runs)
            deck.attach_note(notes(page))
            deck.savefig(plots.make_figure(draw_chapter, page.headline, f"{numbers(page)}. {page.footer}"))


def draw(page: Report) -> tuple[bytes, str]:
    """Return the figure of a chapter without its title as a PNG, and in words."""
    file = io.BytesIO()
    with plots.style("slide"), matplotlib.rc_context({"figure.figsize": (WIDTH - 0.8, FIGURE_HEIGHT)}):
        figure = plots.make_figure(partial(page.chapter.module.figure, page.runs), "", page.footer)
        plots.save(figure, "png", page.name, file)
    return file.getvalue(), f"{page.headline} {describe(figure).strip()}"


def subtitle(pages: Sequence[Report]) -> str:
    """Return the data and the program, for the first slide."""
    dataset, seeds = pages[0].dataset, len(pages[0].seeds)
    return f"Measured on {dataset} with {seeds} seed{'s' * (seeds > 1)}, by bstudy {__version__}"


def numbers(page: Report) -> str:
    """Return the numbers of a chapter's answer, in a line."""
    parts = [claim.numbers for claim in page.answers]
    parts += [f"published: {claim.published:.3g} {claim.unit}" for claim in page.answers if claim.published is not None]
    return " · ".join([*parts, f"{page.score} claims held"])


def notes(page: Report) -> str:
    """Return what the speaker can say: the question, the explanation and the advice."""
    sections = page.chapter.text.sections
    parts = [page.chapter.question, *(plain_text(sections[name]) for name in ("Explanation", "In practice"))]
    return "\n\n".join([*parts, f"{page.command}  (chapter {page.chapter.number})"])
