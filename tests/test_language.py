"""The language of the package: plain words in docstrings, comments, messages and templates."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*sorted(ROOT.glob("bstudy/**/*.py")), *sorted(ROOT.glob("bstudy/templates/*.html"))]
BETTER = {
    r"so many": "n, the number of",
    r"(?:gone|go|goes|going) on|tak(?:e|en|es) up": "continue, resume",
    r"beside": "next to, compared with",
    r"hardly|scarcely": "almost no",
    r"rightly": "correctly",
    r"told|tells": "print, report, return",
    r"manifold|thereof|wherein|whence|hence|lest|upon|shall|ere|amid|nought": "a plain word",
    r"goes without saying|all the same|at most where|as it stands": "a plain sentence",
    r"what (?:is|was|were) (?:asked|kept|said|meant|told)": "the result, the value",
    r"where (?:there|none|nothing|all|both|asked|given|needed)": "if, when",
    r"colour|behaviour|normalise|standardise|neighbour|centre": "the US spelling",
}


def prose(path):
    """Yield (line number, text) of the comments and strings of a Python file, or of all lines of another one."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or "FSTRING" in tokenize.tok_name[token.type]:
            yield from enumerate(token.string.splitlines(), token.start[0])


def places(path, pattern):
    found = re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
    return [f"{path.name}:{number}: {line.strip()}" for number, line in prose(path) if found.search(line)]


@pytest.mark.parametrize("pattern", BETTER)
def test_old_words_are_replaced(pattern):
    found = [place for path in FILES for place in places(path, pattern)]
    assert not found, f"write {BETTER[pattern]}:\n" + "\n".join(found)


def test_an_old_word_is_found_in_comments_strings_and_docstrings(tmp_path):
    path = tmp_path / "old.py"
    path.write_text('"""Yield\nso many."""\n# so many\nmessage = f"{1} so many"\nso_many = 1\n')
    assert [place.split(":")[1] for place in places(path, "so many")] == ["2", "3", "4"]
