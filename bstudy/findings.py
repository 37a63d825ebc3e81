"""What the chapters found, as a page of Markdown tables, from the json files that they wrote. Judges nothing."""

import json
from math import nan

from bstudy.page import MARKS, estimate
from bstudy.stats import Claim


def findings(chapters, folder):
    """The page of what the json files in `folder` say: each chapter's first claim, and then all claims.

    The first table is for a README beside `chapters/` and `figures/`.
    """
    records = [(chapter, folder / f"{chapter.name}.json") for chapter in chapters]
    found = [(chapter, json.loads(path.read_text(encoding="utf-8"))) for chapter, path in records if path.exists()]
    lines = ["| | finding, as claimed | first claim tested | measured | published | |", "|---|---|---|---|---|---|"]
    part = None
    for chapter, record in found:
        if chapter.part != part:
            lines.append(f"| | **{chapter.part}** | | | | |")
        part = chapter.part
        link = f"[{chapter.number}](chapters/{chapter.module.__name__.split('.')[-1]}.py)"
        lines.append(row(link, chapter.finding, *cells(record["verdicts"][0])))
    lines += ["", f"## All claims, on {found[0][1]['dataset']['name']}" if found else "", ""]
    lines += ["| | claim | measured | published | |", "|---|---|---|---|---|"]
    for chapter, record in found:
        lines += [row(f"{chapter.number}", *cells(verdict)) for verdict in record["verdicts"]]
    return "\n".join(lines) + "\n"


def cells(verdict):
    """The text, what was measured, what was published, and the outcome of a claim, as it is in the json."""
    numbers = (verdict["estimate"], *verdict["interval"])
    found, *bounds = (nan if number is None else float(number) for number in numbers)
    claim = Claim(**(verdict | {"estimate": found, "interval": tuple(bounds)}))
    published = "" if claim.published is None else f"{claim.published:.3g}"
    return claim.claim, estimate(claim), published, MARKS[claim.outcome][0]


def row(*cells):
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
