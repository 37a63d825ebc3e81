"""Prints a report on the terminal."""

from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from bstudy import report
from bstudy.chapter import as_text
from bstudy.claims import Claim
from bstudy.errors import printable
from bstudy.prose import Exercise, for_terminal
from bstudy.report import Report

COLORS = {"held": "green", "did not hold": "red", "undecided": "yellow", "diverged": "red"}
THEME = Theme({"markdown.code": "bold", "markdown.code_block": "none", "markdown.link": "none"})
WIDTH = 100  # of text, at most
MIN_WIDTH, WIDE_TABLE = 40, 80  # that a chapter's tables need, and those with more columns
TABLE_WIDTH = 60  # of the numbers of a table, at most
LABEL_WIDTH = 20  # of the names of the runs, at least


def show(page: Report, paths: list[Path], solutions: bool = False) -> None:
    """Print a report, and the paths of its files.

    Args:
        page: What to print.
        paths: Its files.
        solutions: Whether to print the solutions of the exercises.
    """
    console = new_console()
    chapter, text, width = page.chapter, page.chapter.text, min(console.width, WIDTH)

    def section(name):
        return Text(f"\n{name}", "bold"), for_terminal(text.sections[name])

    parts = [
        Text(f"\nChapter {chapter.number} · {chapter.part}", "dim"),
        Text(f"{chapter.question}\n", "bold"),
        for_terminal(text.introduction),
        *section("Idea"),
        *section("Experiment"),
        Text("\nAnswer", "bold"),
        *(Padding(Text(claim.finding_with_numbers, "bold"), (0, 0, 0, 2)) for claim in page.answers),
        Text(f"\nMeasured {page.setting}", "bold"),
        *([Text(printable(page.machines))] if page.machines else []),
        *(part for table in page.tables for part in tables(table, width)),
        verdicts(page.claims),
        *section("Explanation"),
        *section("In practice"),
        Text("\nExercises", "bold"),
        exercises(text.exercises, solutions),
        *(part for name in ("Sources", "History") if name in text.sections for part in section(name)),
    ]
    settings = "  ".join(f"{name}={as_text(value)}" for name, value in page.parameters.items())
    parts.append(Text("\nParameters  ", "bold").append(settings, "not bold"))
    if not solutions:
        parts.append(Text("--solutions prints the solutions of the exercises.", "dim"))
    parts.append(Text(f"'bstudy chapter {chapter.number} --help' explains the parameters.\n", "dim"))
    for part in parts:
        console.print(part, width=width)
    print_files(console, paths)


def new_console(min_width: int = MIN_WIDTH) -> Console:
    """Return a console for results that cuts off no numbers, however narrow the terminal is, or COLUMNS says it is."""
    console = Console(highlight=False, theme=THEME)
    console.width = max(console.width, min_width)
    return console


def print_files(console: Console, paths: list[Path]) -> None:
    """Print the paths in one line, so that they can be copied."""
    console.print(Text("Files  ", "bold").append("  ".join(map(printable, paths)), "not bold"), soft_wrap=True)


def new_table(*headings: str, title: str | None = None) -> Table:
    """Return an empty table of numbers under these headings."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def tables(table: report.Table, width: int = WIDTH) -> Iterator[Table]:
    """Yield a table of results, in parts that fit into this number of characters."""
    room = min(TABLE_WIDTH, width - LABEL_WIDTH)
    part, used = [], 0
    for column, heading in table.headings.items():
        cells = [row.cells[column] for row in table.rows if column in row.cells]
        texts = [heading, *(text for cell in cells for text in (cell.text, cell.published_text))]
        needed = 2 + max(map(len, texts))  # with the space between columns
        if part and used + needed > room:
            yield table_part(table, part)
            part, used = [], 0
        part.append(column)
        used += needed
    yield table_part(table, part)


def table_part(table: report.Table, columns: list[str]) -> Table:
    """Return these columns of a table of results."""
    shown = new_table()
    shown.add_column("run")
    for column in columns:
        shown.add_column(table.headings[column], justify="right", no_wrap=True)
    for row in table.rows:
        cells = [row.cells.get(column) for column in columns]
        if not any(cells):
            continue
        name = Group(Text(row.role), Text(row.label, style="dim")) if row.role else Text(row.label)
        shown.add_row(name, *(cell.text if cell else "–" for cell in cells))
        published = [cell.published_text if cell else "" for cell in cells]
        if any(published):
            shown.add_row("published (difference)", *published, style="dim")
    return shown


def verdicts(claims: list[Claim]) -> RenderableType:
    """Return the claims with their outcomes and their numbers."""
    grid = Table.grid(padding=(0, 2))
    for claim in claims:
        mark = Text(claim.mark, f"bold {COLORS[claim.outcome]}")
        grid.add_row(mark, Group(Text(claim.claim), Text(claim.evidence, "dim")))
    return grid


def exercises(found: list[Exercise], solutions: bool) -> Table:
    """Return the numbered exercises."""
    grid = Table.grid(padding=(0, 1))
    for number, exercise in enumerate(found, 1):
        parts = [for_terminal(exercise.question)]
        if solutions and exercise.solution:
            parts.append(Padding(for_terminal(exercise.solution), (0, 0, 0, 3)))
        grid.add_row(f"{number}.", Group(*parts))
    return grid
