"""The findings of all chapters as Markdown tables, from the JSON files that the chapters wrote. Judges nothing."""

import json
from math import nan
from pathlib import Path

from bstudy.chapter import Chapter
from bstudy.report import MARKS, format_estimate
from bstudy.stats import Claim


def findings(chapters: list[Chapter], folder: Path) -> str:
    """Return a page of Markdown on the JSON files in `folder`: each chapter's first claim, then all claims.

    The first table is for a README next to `chapters/` and `figures/`.
    """
    paths = [(chapter, folder / f"{chapter.name}.json") for chapter in chapters]
    found = [(chapter, json.loads(path.read_text(encoding="utf-8"))) for chapter, path in paths if path.exists()]
    lines = ["| | finding, as claimed | first claim tested | measured | published | |", "|---|---|---|---|---|---|"]
    part = None
    for chapter, record in found:
        if chapter.part != part:
            part = chapter.part
            lines.append(f"| | **{part}** | | | | |")
        link = f"[{chapter.number}](chapters/{chapter.module.__name__.split('.')[-1]}.py)"
        lines.append(row(link, chapter.finding, *cells(record["verdicts"][0])))
    datasets = dict.fromkeys(record["dataset"]["name"] for _, record in found)
    lines += ["", f"## All claims, on {', '.join(datasets)}" if found else "", ""]
    lines += ["| | claim | measured | published | |", "|---|---|---|---|---|"]
    for chapter, record in found:
        lines += [row(f"{chapter.number}", *cells(verdict)) for verdict in record["verdicts"]]
    return "\n".join(lines) + "\n"


def cells(verdict: dict) -> tuple[str, str, str, str]:
    """Return the text, the measured and the published number, and the outcome of a claim in a JSON file."""
    numbers = (verdict["estimate"], *verdict["interval"])
    estimate, *bounds = (nan if number is None else float(number) for number in numbers)
    claim = Claim(**(verdict | {"estimate": estimate, "interval": tuple(bounds)}))
    published = "" if claim.published is None else f"{claim.published:.3g}"
    return claim.claim, format_estimate(claim), published, MARKS[claim.outcome]


def row(*cells: str) -> str:
    """Return a row of a Markdown table."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
