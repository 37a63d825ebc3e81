"""The findings as Markdown, from the records of chapters."""

import json

import numpy as np
import pytest

from bstudy import claim
from bstudy.chapter import chapter
from bstudy.findings import findings
from bstudy.report import to_json


@pytest.fixture(params=["in memory", "as JSON"])
def written(request):
    """written({chapter number: claims}) returns the lines of the findings."""

    def write(claims):
        records = []
        for number, some in claims.items():
            found = chapter(number)
            record = {"chapter": number, "part": found.part, "finding": found.finding, "dataset": {"name": "tiny"}}
            records.append(record | {"verdicts": [vars(each) for each in some]})
        return findings(records if request.param == "in memory" else json.loads(to_json(records))).splitlines()

    return write


def test_the_first_table_has_each_chapters_first_claim_below_its_part(written):
    held, missed = claim("One.", [1.0, 1.1, 0.9], above=0, published=1.5, unit="nats"), claim("Two.", [-1.0], above=0)
    lines = written({2: [held, missed], 3: [missed], 4: [held]})
    assert lines[2:7] == [
        "| | **I. The gap** | | | | |",
        "| [2](chapters/ch02_learning_rate.py) | A larger learning rate recovers the lost accuracy. | One. | "
        "1.00 [0.75, 1.25] nats | 1.5 | ✓ held |",
        "| [3](chapters/ch03_not_stuck.py) | A large batch does not get the model stuck. | Two. | "
        "-1.00 |  | ? undecided |",
        "| | **II. Gradients** | | | | |",
        "| [4](chapters/ch04_gradient_norm.py) | Larger batches take larger steps for the same samples seen. | One. | "
        "1.00 [0.75, 1.25] nats | 1.5 | ✓ held |",
    ]


def test_the_second_table_has_all_claims_of_the_data(written):
    held, missed = claim("One.", [1.0, 1.1], above=0), claim("Two.", [1.0, 1.1], below=0)
    lines = written({2: [held, missed]})
    assert lines[lines.index("## All claims, on tiny") + 4 :] == [
        "| 2 | One. | 1.05 [0.41, 1.69] |  | ✓ held |",
        "| 2 | Two. | 1.05 [0.41, 1.69] |  | ✗ did not hold |",
    ]


def test_a_chapter_without_claims_has_no_row(written):
    assert not [line for line in written({2: [], 3: [claim("One.", [1.0], above=0)]}) if "ch02" in line]


def test_without_any_record_there_are_two_empty_tables(written):
    lines = written({})
    assert len([line for line in lines if line.startswith("|---")]) == 2
    assert "##" not in "".join(lines)


def test_a_number_that_is_missing_or_infinite_is_no_estimate(written):
    for values in ([np.nan, 1.0], [np.inf, 1.0]):
        assert "| One. | no estimate |  | ? undecided |" in written({2: [claim("One.", values, above=0)]})[3]


def test_a_bar_in_a_claim_does_not_end_the_cell(written):
    assert r"\|Δw\| grows." in written({2: [claim("|Δw| grows.", [1.0], above=0)]})[3]
