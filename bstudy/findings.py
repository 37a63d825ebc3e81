"""The answers of the chapters, and all claims, as Markdown tables. Judges nothing."""

from math import nan
from pathlib import Path

from bstudy.chapter import chapter
from bstudy.claims import MARKS, Claim
from bstudy.errors import BstudyError, printable
from bstudy.handin import read


def findings(records: list[dict], others: list[list[dict]] = ()) -> str:
    """Return a page of Markdown on the records of chapters, as `Report.record` returns them or a JSON file holds them.

    The first table has each chapter's question and answer; it is for a README next to `chapters/` and `figures/`. The
    second one has all claims. The answers in other settings follow, if there are `others`, and the published numbers.
    """
    lines = ["| | question | answer | published | claims held |", "|---|---|---|---|---|"]
    part = None
    for record in records:
        if record["part"] != part:
            part = record["part"]
            lines.append(f"| | **{part}** | | | |")
        file = chapter(record["chapter"]).module.__name__.split(".")[-1]
        published = [f"{each.published:.3g} {each.unit}" for each in answers_of(record) if each.published is not None]
        link = f"[{record['chapter']}](chapters/{file}.py)"
        lines.append(row(link, record["question"], record["answer"], "; ".join(published), record["score"]))
    datasets = dict.fromkeys(record["dataset"]["name"] for record in records)
    lines += ["", f"## All claims, on {', '.join(datasets)}" if records else "", ""]
    lines += ["| | claim | measured | published | outcome |", "|---|---|---|---|---|"]
    for record in records:
        for claim in map(read_claim, record["verdicts"]):
            published = "" if claim.published is None else f"{claim.published:.3g}"
            lines.append(row(f"{record['chapter']}", claim.claim, claim.numbers, published, claim.mark))
    if others:
        lines += ["", "## Does it hold elsewhere?", "", *settings_table([records, *others]).splitlines()]
    if published := published_tables([record for setting in (records, *others) for record in setting]):
        lines += ["", "## Next to the published numbers", "", *published.splitlines()]
    return "\n".join(lines) + "\n"


def read_settings(folder: Path) -> list[list[dict]]:
    """Return the records of chapters in each folder inside a folder, by data set, the folder with more of them first.

    Raises:
        BstudyError: a file is no record of a chapter.
    """
    folders = sorted({path.parent for path in folder.glob("*/ch[0-9][0-9].json")})
    settings = [[read_record(path) for path in sorted(each.glob("ch[0-9][0-9].json"))] for each in folders]
    return sorted(settings, key=lambda records: (records[0]["dataset"]["name"], -len(records)))


def read_record(path: Path) -> dict:
    """Return the record of a chapter in a file; raise BstudyError if it is none."""
    try:
        record = read(path).record
        answers_of(record)
    except BstudyError as error:
        raise BstudyError(f"{printable(path)} is not used: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BstudyError(f"{printable(path)} has claims that this version does not know") from None
    return record


def settings_table(settings: list[list[dict]]) -> str:
    """Return a table in Markdown: for each claim that answers a question, its outcome and its number in each setting.

    A cell names its seeds if another chapter of the setting has more.

    Args:
        settings: The records of chapters, for each pair of data and network. The claims are worded as in the first one.
    """
    headings, columns, changed, claims = [], [], [], {}
    for records in settings:
        most = max(len(record["seeds"]) for record in records)
        headings.append(f"{records[0]['dataset']['name']} {records[0]['model']['name']}, {most} seeds")
        columns.append({})
        for record in records:
            changed += [f"`{record['command']}`"] * bool(record["changed"])
            seeds = len(record["seeds"])
            note = r"\*" * bool(record["changed"]) + f" ({seeds} of {most} seeds)" * (seeds < most)
            for place, claim in enumerate(answers_of(record)):
                key = record["chapter"], place
                claims.setdefault(key, claim)
                columns[-1][key] = f"{MARKS[claim.outcome]} {claim.number}{note}"
    lines = [row("", "claim", "number", *headings), f"|{'---|' * (3 + len(headings))}"]
    for key, claim in sorted(claims.items(), key=lambda item: item[0]):
        lines.append(row(f"{key[0]}", claim.claim, claim.unit, *(column.get(key, "") for column in columns)))
    lines += ["", rf"\* with other parameters: {', '.join(dict.fromkeys(changed))}"] if changed else []
    return "\n".join(lines) + "\n"


def published_tables(records: list[dict]) -> str:
    """Return the published numbers next to ours, as tables in Markdown of runs and of claims; "" if there are none."""
    tables = published_runs(records), published_claims(records)
    return "\n\n".join("\n".join(lines) for lines in tables if lines)


def published_runs(records: list[dict]) -> list[str]:
    """Return the lines of a table of runs; if several chapters have a number, that of the first one counts."""
    headings, runs = {}, {}
    for record in records:
        for table in record["tables"]:
            for line in table["rows"]:
                texts = {
                    name: f"{cell['text']}; {cell['published_text']}"
                    for name, cell in line["cells"].items()
                    if cell["published"] is not None
                }
                headings |= {name: table["headings"][name] for name in texts}
                runs[line["label"]] = texts | runs.get(line["label"], {})
    lines = [row(label, *(cells.get(name, "") for name in headings)) for label, cells in runs.items() if cells]
    return [row("run", *headings.values()), f"|{'---|' * (1 + len(headings))}", *lines] if lines else []


def published_claims(records: list[dict]) -> list[str]:
    """Return the lines of a table of the claims for which a source reports a number."""
    lines = []
    for record in records:
        for each in map(read_claim, record["verdicts"]):
            if each.published is not None:
                numbers = each.numbers, f"{each.published:.3g}", f"{each.estimate - each.published:+.2g}"
                lines.append(row(f"{record['chapter']}", f"{len(record['seeds'])}", each.claim, *numbers))
    return [row("", "seeds", "claim", "here", "published", "difference"), f"|{'---|' * 6}", *lines] if lines else []


def answers_of(record: dict) -> list[Claim]:
    """Return the claims of a record that answer its question."""
    return [claim for claim in map(read_claim, record["verdicts"]) if claim.answer]


def read_claim(verdict: dict) -> Claim:
    """Return a claim from a record, in which NaN is null."""
    estimate, *bounds = (nan if each is None else float(each) for each in (verdict["estimate"], *verdict["interval"]))
    return Claim(**(verdict | {"estimate": estimate, "interval": tuple(bounds)}))


def row(*cells: str) -> str:
    """Return a row of a Markdown table."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
