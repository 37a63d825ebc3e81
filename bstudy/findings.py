"""The answers of the chapters, and all claims, as Markdown tables. Judges nothing."""

from math import nan

from bstudy.chapter import chapter
from bstudy.claims import Claim


def findings(records: list[dict]) -> str:
    """Return a page of Markdown on the records of chapters, as `Report.record` returns them or a JSON file holds them.

    The first table has each chapter's question and answer; it is for a README next to `chapters/` and `figures/`. The
    second one has all claims.
    """
    lines = ["| | question | answer | published | claims held |", "|---|---|---|---|---|"]
    part = None
    for record in records:
        if record["part"] != part:
            part = record["part"]
            lines.append(f"| | **{part}** | | | |")
        file = chapter(record["chapter"]).module.__name__.split(".")[-1]
        answers = [claim for claim in map(read_claim, record["verdicts"]) if claim.answer]
        published = [f"{claim.published:.3g} {claim.unit}" for claim in answers if claim.published is not None]
        link = f"[{record['chapter']}](chapters/{file}.py)"
        lines.append(row(link, record["question"], record["answer"], "; ".join(published), record["score"]))
    datasets = dict.fromkeys(record["dataset"]["name"] for record in records)
    lines += ["", f"## All claims, on {', '.join(datasets)}" if records else "", ""]
    lines += ["| | claim | measured | published | outcome |", "|---|---|---|---|---|"]
    for record in records:
        for claim in map(read_claim, record["verdicts"]):
            published = "" if claim.published is None else f"{claim.published:.3g}"
            lines.append(row(f"{record['chapter']}", claim.claim, claim.numbers, published, claim.mark))
    return "\n".join(lines) + "\n"


def read_claim(verdict: dict) -> Claim:
    """Return a claim from a record, in which NaN is null."""
    estimate, *bounds = (nan if each is None else float(each) for each in (verdict["estimate"], *verdict["interval"]))
    return Claim(**(verdict | {"estimate": estimate, "interval": tuple(bounds)}))


def row(*cells: str) -> str:
    """Return a row of a Markdown table."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
