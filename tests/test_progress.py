"""Progress on stderr."""

import pytest

from bstudy.progress import Display, format_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (59 * 60, "59 min"), (2 * 3600 + 20 * 60, "2 h 20 min")],
)
def test_a_duration_is_rounded_to_a_readable_unit(seconds, words):
    assert format_duration(seconds) == words


def test_outside_a_terminal_milestones_are_lines(capsys):
    with Display(100) as display:
        display.show("first", 10)
        display.show("[1/2] second", 60, milestone=True)
        display.show("[2/2] third", 100, milestone=True)
    printed = capsys.readouterr()
    assert printed.err == "[1/2] second, 40 s left\n[2/2] third, almost done\n"
    assert printed.out == ""


def test_lines_also_come_after_a_while(capsys, monkeypatch):
    monkeypatch.setattr("bstudy.progress.SECONDS_BETWEEN_LINES", 0)
    with Display(100) as display:
        display.show("first", 10)
    assert capsys.readouterr().err == "first, 2 min left\n"


def test_the_work_continues_if_nobody_reads_the_progress(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

        def isatty(self):
            return False

    with Display(100) as display, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", Closed())
        display.show("milestone", 60, milestone=True)


def test_a_quiet_display_prints_nothing(capsys):
    with Display(100, quiet=True) as display:
        display.show("milestone", 60, milestone=True)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_live_line(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display(100) as display:
        display.show("[0/2] first", 10)
    printed = capsys.readouterr().err
    assert "[0/2] first" in printed
    assert "2 min left" in printed
