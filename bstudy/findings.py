"""The findings of chapters as Markdown tables. Judges nothing."""

from math import nan

from bstudy.chapter import chapter
from bstudy.report import MARKS, format_estimate
from bstudy.stats import Claim


def findings(records: list[dict]) -> str:
    """Return a page of Markdown on the records of chapters, as `Report.record` returns them or a JSON file holds them.

    The first table has each chapter's first claim; it is for a README next to `chapters/` and `figures/`. The second
    one has all claims.
    """
    lines = ["| | finding, as claimed | first claim tested | measured | published | |", "|---|---|---|---|---|---|"]
    part = None
    for record in records:
        if record["part"] != part:
            part = record["part"]
            lines.append(f"| | **{part}** | | | | |")
        file = chapter(record["chapter"]).module.__name__.split(".")[-1]
        link = f"[{record['chapter']}](chapters/{file}.py)"
        lines += [row(link, record["finding"], *cells(verdict)) for verdict in record["verdicts"][:1]]
    datasets = dict.fromkeys(record["dataset"]["name"] for record in records)
    lines += ["", f"## All claims, on {', '.join(datasets)}" if records else "", ""]
    lines += ["| | claim | measured | published | |", "|---|---|---|---|---|"]
    for record in records:
        lines += [row(f"{record['chapter']}", *cells(verdict)) for verdict in record["verdicts"]]
    return "\n".join(lines) + "\n"


def cells(verdict: dict) -> tuple[str, str, str, str]:
    """Return the text, the measured and the published number, and the outcome of a claim in a record."""
    numbers = (verdict["estimate"], *verdict["interval"])
    estimate, *bounds = (nan if number is None else float(number) for number in numbers)
    claim = Claim(**(verdict | {"estimate": estimate, "interval": tuple(bounds)}))
    published = "" if claim.published is None else f"{claim.published:.3g}"
    return claim.claim, format_estimate(claim), published, MARKS[claim.outcome]


def row(*cells: str) -> str:
    """Return a row of a Markdown table."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
