"""What a page says of numbers that were measured, beside those that were published."""

import json

import numpy as np
import pytest

from bstudy import Dataset, Recipe, Runs, book, claim
from bstudy.page import Page, as_json, evidence, plain

ADAM = Recipe.adam(64, 0.01, 30)


@pytest.fixture
def page(tiny, monkeypatch):
    """Chapter 11 with made-up results, on what passes for MNIST."""
    monkeypatch.setattr(Dataset, "is_published", True)
    random = np.random.default_rng(0)
    columns = {name: random.normal(250, 3, (3, 31)) for name in ("weight_distance", "bias_distance")}
    columns |= {name: random.normal(0.95, 0.001, (3, 31)) for name in ("train_accuracy", "test_accuracy")}
    runs = {"Adam": Runs(ADAM, [0, 1, 2], columns), "other": Runs(Recipe.adam(64, 0.02, 30), [0, 1, 2], columns)}
    return Page(book.chapter(11), book.chapter(11).parameters, tiny, (0, 1, 2), runs, [])


def test_published_numbers_stand_below_the_measured_ones_with_the_difference(page, capsys):
    page.show([])
    printed = capsys.readouterr().out
    mean = page.runs["Adam"]["weight_distance"][:, -1].mean()
    assert f"254.3 ({mean - 254.3:+.2f})" in printed and printed.count("(difference)") == 1


def test_evidence_has_the_digits_that_the_interval_supports():
    assert evidence(claim("c", [1.0, 2.0, 3.0], above=0, unit="points")).startswith(
        "2.0 [-0.5, 4.5] points; held if above 0"
    )
    assert "1.2e-08 [" in evidence(claim("c", [1.1e-8, 1.2e-8, 1.3e-8], below=1e-4))
    assert evidence(claim("c", [5.0], above=0)).endswith("one seed has no interval")


def test_records_are_strict_json_and_give_every_number_back():
    value = {
        "a": [1, 2.5, float("nan"), float("-inf")],
        "b": {"c": np.float32([[0.1], [2]]), "d": 'x"é√'},
        "e": [],
        "f": [{"g": 1}],
        "h": {},
    }
    text = as_json(plain(value))
    read = json.loads(text)
    assert read == plain(value) and np.float32(read["b"]["c"][0][0]) == np.float32(0.1)
    np.testing.assert_array_equal(np.array(read["a"], float), value["a"])
    assert text.splitlines()[1] == ' "a": [1,2.5,null,"-inf"],'
