"""Messages: one line each, without control characters, whatever name or text is in them."""

import pickle

import pytest

from bstudy.errors import BstudyError, InvalidInput, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ordinary text, é 中 ‖Δw‖ $x$ [bold]", "ordinary text, é 中 ‖Δw‖ $x$ [bold]"),
        ("red \x1b[31m, bell \a", r"red \x1b[31m, bell \x07"),
        ("two\nlines\tand\r\nmore", "two lines and  more"),
        (b"bad\xff".decode(errors="surrogateescape"), r"bad\udcff"),
        ("right-to-left \u202e", r"right-to-left \u202e"),
        (42, "42"),
    ],
)
def test_a_text_is_one_printable_line(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode()


def test_every_message_is_printable_also_after_a_journey_between_processes():
    error = InvalidInput("there is no file a\x1b[31m\nb")
    assert str(error) == r"there is no file a\x1b[31m b"
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, BstudyError)
    assert isinstance(again, ValueError)
    assert str(again) == str(error)
