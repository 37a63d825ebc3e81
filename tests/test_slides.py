"""Slides hold the findings, the figures with alt text, the numbers, and notes for the speaker."""

import sys

import pytest

from bstudy import Lab, slides
from bstudy.chapter import chapter
from bstudy.errors import BstudyError, InvalidInput
from bstudy.report import build
from bstudy.store import MARK, Store

PARAMETERS = {"small_batch_size": 8, "large_batch_size": 32, "epochs": 2}


@pytest.fixture(scope="module")
def pages(tiny, small_model, get_trainer, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bstudy.worker.make_trainer", get_trainer)
        lab = Lab(tiny, 2, Store(tmp_path_factory.mktemp("home")), quiet=True, model=small_model, jobs=1)
        yield [build(found, found.parameters | PARAMETERS, lab) for found in map(chapter, (2, 3))]


def test_a_presentation_has_a_title_and_a_slide_for_each_chapter(pages, tmp_path):
    pptx = pytest.importorskip("pptx")
    path = tmp_path / "deck.pptx"
    slides.write(pages, path)
    deck = pptx.Presentation(str(path))
    first, *others = deck.slides
    assert first.shapes[0].text_frame.text == slides.TITLE
    assert "Measured on tiny (50 training and 20 test samples) with 2 seeds" in first.shapes[1].text_frame.text
    for slide, page in zip(others, pages, strict=True):
        assert slide.shapes.title.text == page.headline
        (picture,) = (shape for shape in slide.shapes if shape.shape_type == pptx.enum.shapes.MSO_SHAPE_TYPE.PICTURE)
        assert page.headline in picture._element.nvPicPr.cNvPr.get("descr")
        texts = [shape.text_frame.text for shape in slide.shapes if shape.has_text_frame]
        assert all(claim.numbers in texts[-1] for claim in page.answers)
        notes = slide.notes_slide.notes_text_frame.text
        assert page.chapter.question in notes
        assert "**" not in notes
        for shape in slide.shapes:  # nothing is outside the slide
            assert shape.left >= 0 <= shape.top
            assert shape.left + shape.width <= deck.slide_width
            assert shape.top + shape.height <= deck.slide_height
    slides.write(pages, path)  # our own file is replaced


def test_a_pdf_has_a_page_for_each_slide(pages, tmp_path):
    path = tmp_path / "deck.pdf"
    slides.write(pages, path)
    content = path.read_bytes()
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") == 3
    assert content.count(b"/Subtype /Text") == 2
    assert MARK.encode() in content
    slides.write(pages, path)
    assert path.read_bytes() == content


def test_another_ending_is_refused(pages, tmp_path):
    with pytest.raises(InvalidInput, match=r"must end with \.pptx or \.pdf"):
        slides.write(pages, tmp_path / "deck.key")


def test_without_python_pptx_the_extra_is_named(pages, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pptx", None)
    with pytest.raises(BstudyError, match=r"pip install 'bstudy\[slides\]'"):
        slides.write(pages, tmp_path / "deck.pptx")
