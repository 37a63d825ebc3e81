"""Chapter texts in Markdown: their sections, and the links that HTML adds."""

import pytest

from bstudy.chapter import chapters
from bstudy.errors import BstudyError
from bstudy.prose import HtmlWriter, glossary, parse_chapter, parse_exercise, read_text

TEXT = """# Is it so?

Someone says so.

## Idea

    a = b

## Experiment

Compare. **Predict.** What?

## Explanation

Because.

## In practice

Do it.

## Exercises

1. First, on
   two lines.

   > Yes,
   > twice.

2. Second.

## Sources

- None.
"""


def test_a_chapter_has_a_title_and_sections():
    text = parse_chapter(TEXT, "ch99.py")
    assert (text.title, text.introduction) == ("Is it so?", "Someone says so.")
    assert list(text.sections) == ["Idea", "Experiment", "Explanation", "In practice", "Sources"]
    assert text.sections["Idea"] == "a = b"
    assert [exercise.question for exercise in text.exercises] == ["First, on\ntwo lines.", "Second."]
    assert [exercise.solution for exercise in text.exercises] == ["Yes,\ntwice.", ""]
    with_history = parse_chapter(TEXT + "\n## History\n\nChanged.\n", "ch99.py")
    assert with_history.sections["History"] == "Changed."


@pytest.mark.parametrize(
    ("old", "new"), [("# Is it so?", "Is it so?"), ("## Idea", "## Thought"), ("## Sources", "Sources"), (TEXT, "")]
)
def test_a_chapter_without_its_sections_is_refused(old, new):
    with pytest.raises(BstudyError, match=r"ch99.py must begin with a docstring of a title"):
        parse_chapter(TEXT.replace(old, new), "ch99.py")


def test_a_solution_may_hold_code_and_paragraphs():
    exercise = parse_exercise("Why?\n\n   > First.\n   >\n   >     x = 1\n   >\n   > Last.\n")
    assert exercise.solution == "First.\n\n    x = 1\n\nLast."


def test_the_first_use_of_a_term_and_known_chapters_become_links():
    write = HtmlWriter([3, 9])
    html = write("The noise scale; noise scales. See chapter 3, chapters 3 to 9, and chapter 40.")
    assert html.count('<a class="term" href="glossary.html#noise-scale">noise scale</a>') == 1
    assert html.count('href="ch03.html"') == 2
    assert html.count('href="ch09.html"') == 1
    assert "chapter 40" in html
    assert 'glossary.html#epoch">Epochs</a>' in write("Epochs")


def test_nothing_is_linked_in_code_or_in_links():
    html = HtmlWriter([3])("`epoch`, [the epoch of chapter 3](https://example.org)\n\n    epoch")
    assert "glossary" not in html
    assert "ch03.html" not in html


def test_markdown_cannot_hold_html():
    assert "<script>" not in HtmlWriter()("a <script>alert(1)</script> & b")


def test_every_chapter_has_exercises_with_solutions_and_a_question():
    for chapter in chapters():
        assert chapter.question.endswith("?"), chapter.number
        assert 3 <= len(chapter.text.exercises) <= 4, chapter.number
        assert all(exercise.solution for exercise in chapter.text.exercises), chapter.number
        assert "**Predict.**" in chapter.text.sections["Experiment"], chapter.number
        assert "http" in chapter.text.sections["Sources"], chapter.number


def test_the_front_matter_has_its_parts():
    assert "## Statistics" in read_text("reading")
    assert {"batch size", "noise scale", "sharpness"} <= glossary().keys()
