"""The findings as Markdown, from the records of chapters."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bstudy import claim
from bstudy.chapter import chapter
from bstudy.errors import BstudyError
from bstudy.findings import findings, published_tables, read_record, read_settings
from bstudy.models import MLP
from bstudy.report import Report, to_json

FIGURES = Path(__file__).parents[1] / "figures"
ANSWER = {"otherwise": "Not one.", "answer": True}


@pytest.fixture(params=["in memory", "as JSON"])
def written(request):
    """written({chapter number: claims}) returns the lines of the findings."""

    def write(claims):
        records = []
        for number, some in claims.items():
            found = Report(chapter(number), {}, None, MLP, (0, 1), {}, [], some)
            record = {"chapter": number, "part": found.chapter.part, "question": found.chapter.question}
            record |= {
                "answer": found.answer,
                "score": found.score,
                "dataset": {"name": "tiny"},
                "tables": [],
                "seeds": [0, 1],
            }
            records.append(record | {"verdicts": [vars(each) for each in some]})
        return findings(records if request.param == "in memory" else json.loads(to_json(records))).splitlines()

    return write


def test_the_first_table_has_each_question_with_its_answer_below_its_part(written):
    held = claim("One.", [1.0, 1.1, 0.9], above=0, published=1.5, unit="nats", **ANSWER)
    missed, check = claim("Two.", [-1.0, -1.1], above=0, **ANSWER), claim("Three.", [1.0, 1.1], above=0, check=True)
    lines = written({2: [held, missed, check], 3: [missed], 4: [held]})
    assert lines[2:7] == [
        "| | **I. The gap** | | | |",
        "| [2](chapters/ch02_learning_rate.py) | Does a larger learning rate recover the lost accuracy? | "
        "One (1.00 [0.75, 1.25] nats). Not one (-1.05 [-1.69, -0.41]). | 1.5 nats | 1 of 2 |",
        "| [3](chapters/ch03_not_stuck.py) | Does a large batch get the model stuck? | "
        "Not one (-1.05 [-1.69, -0.41]). |  | 0 of 1 |",
        "| | **II. Gradients** | | | |",
        "| [4](chapters/ch04_gradient_norm.py) | Do larger batches take larger steps? | "
        "One (1.00 [0.75, 1.25] nats). | 1.5 nats | 1 of 1 |",
    ]


def test_the_second_table_has_all_claims_of_the_data(written):
    held, missed = claim("One.", [1.0, 1.1], above=0), claim("Two.", [1.0, 1.1], below=0)
    check = claim("Three.", [1.0, 1.1], above=0, check=True)
    lines = written({2: [held, missed, check]})
    assert lines[lines.index("## All claims, on tiny") + 4 :] == [
        "| 2 | One. | 1.05 [0.41, 1.69] |  | ✓ held |",
        "| 2 | Two. | 1.05 [0.41, 1.69] |  | ✗ did not hold |",
        "| 2 | Three. | 1.05 [0.41, 1.69] |  | ✓ check passed |",
    ]


def test_the_published_numbers_are_next_to_ours():
    run, other = "64 at 0.01 for 30 epochs", "1024 at 0.01 for 30 epochs"

    def record(number, seeds, rows, claims=()):
        headings = {"test_accuracy": "test acc. %", "weight_norm": "‖w‖"}
        tables = [{"headings": headings, "rows": [{"label": label, "cells": cells} for label, cells in rows.items()]}]
        return {"chapter": number, "seeds": seeds, "tables": tables, "verdicts": [vars(each) for each in claims]}

    known = {"text": "97.50 ± 0.10", "published": 98.0, "published_text": "98 (-0.50)"}
    again, unknown = known | {"text": "97.60 ± 0.10"}, {"text": "44.5", "published": None, "published_text": ""}
    norm = {"text": "44.5", "published": 44.9, "published_text": "44.9 (-0.4)"}
    claims = [claim("One.", [1.0, 1.1, 0.9], above=0, published=1.5, unit="times"), claim("Two.", [1.0, 1.1], above=0)]
    first = record(1, (0, 1, 2), {run: {"test_accuracy": known, "weight_norm": unknown}}, claims)
    second = record(2, (0,), {run: {"test_accuracy": again, "weight_norm": norm}, other: {"weight_norm": unknown}})
    assert published_tables([first, second]).splitlines() == [
        "| run | test acc. % | ‖w‖ |",
        "|---|---|---|",
        f"| {run} | 97.50 ± 0.10; 98 (-0.50) | 44.5; 44.9 (-0.4) |",
        "",
        "|  | seeds | claim | here | published | difference |",
        "|---|---|---|---|---|---|",
        "| 1 | 3 | One. | 1.00 [0.75, 1.25] times | 1.5 | -0.5 |",
    ]
    assert published_tables([record(2, (0,), {run: {"weight_norm": unknown}})]) == ""


def test_without_any_record_there_are_two_empty_tables(written):
    lines = written({})
    assert len([line for line in lines if line.startswith("|---")]) == 2
    assert "##" not in "".join(lines)


@pytest.mark.parametrize(
    ("missing", "outcome"),
    [(np.nan, "Diverged in 1 of 2 seeds: One (no estimate)."), (np.inf, "Undecided: One (no estimate).")],
)
def test_a_number_that_is_missing_or_infinite_is_no_estimate(written, missing, outcome):
    assert f"| {outcome} |  | 0 of 1 |" in written({2: [claim("One.", [missing, 1.0], above=0, **ANSWER)]})[3]


def test_a_bar_in_a_claim_does_not_end_the_cell(written):
    assert r"\|Δw\| grows (2.05" in written({2: [claim("|Δw| grows.", [2.0, 2.1], above=0, **ANSWER)]})[3]


def test_other_settings_are_columns_of_the_answers(tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(FIGURES, folder, ignore=shutil.ignore_patterns("*.png", "*.svg", "*.md"))
    record = json.loads((folder / "ch02.json").read_text(encoding="utf-8"))
    record["verdicts"][0] |= {"outcome": "did not hold", "estimate": -0.5, "interval": [-0.75, -0.25]}
    record |= {"model": record["model"] | {"name": "cnn"}, "seeds": [0, 1], "changed": ["epochs"]}
    record["command"] = "bstudy chapter 2 --epochs 9"
    (folder / "ch02.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "ch01.json").unlink()
    main = [read_record(FIGURES / f"ch0{number}.json") for number in (1, 2)]
    page = findings(main, read_settings(tmp_path)).splitlines()
    table = page[page.index("## Does it hold elsewhere?") :]
    assert table[2].startswith("|  | claim | number | digits mlp, ")
    first, second = (next(line for line in table if line.startswith(f"| {number} |")) for number in (1, 2))
    assert first.endswith("|  |")
    assert second.endswith(r"| ✗ -0.50\* (2 of 5 seeds) |")
    assert table[-1] == r"\* with other parameters: `bstudy chapter 2 --epochs 9`"
    assert any(line.startswith("| 30 |") for line in table)


def test_of_two_settings_with_equal_data_that_with_more_chapters_is_first(tmp_path):
    for setting, numbers in {"first": (1,), "second": (1, 2)}.items():
        (tmp_path / setting).mkdir()
        for number in numbers:
            shutil.copy(FIGURES / f"ch0{number}.json", tmp_path / setting)
    assert [len(records) for records in read_settings(tmp_path)] == [2, 1]


@pytest.mark.parametrize("wrong", ["", "[1]", '{"note": 1}', "no claims", "a claim of another version"])
def test_a_file_that_is_no_record_of_a_chapter_is_an_error(tmp_path, wrong):
    record = json.loads((FIGURES / "ch02.json").read_text(encoding="utf-8"))
    if wrong == "no claims":
        wrong = json.dumps({name: value for name, value in record.items() if name != "verdicts"})
    elif wrong.startswith("a claim"):
        wrong = json.dumps(record | {"verdicts": [{"claim": "One."}]})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ch02.json").write_text(wrong, encoding="utf-8")
    with pytest.raises(BstudyError, match=r"ch02.json"):
        read_settings(tmp_path)
