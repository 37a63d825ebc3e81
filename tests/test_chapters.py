"""Every chapter runs whole in a tiny setting, and reads as the format has it."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from bstudy import Lab, book
from bstudy.data import standardised
from bstudy.errors import InvalidInput
from bstudy.page import Page
from bstudy.store import Store

CHAPTERS = book.chapters()
TINY = {  # parameters with which a chapter runs on the tiny data set in a second or two
    1: {"batch_sizes": (8, 16), "epochs": 2},
    2: {"small": 8, "large": 32, "epochs": 2},
    3: {"small": 8, "large": 32, "epochs": 2},
    8: {"batch_sizes": (8, 32), "learning_rates": (0.01, 0.1), "epochs": 2},
    9: {"batch_sizes": (8, 32), "learning_rates": (0.01, 0.1), "epochs": 2},
    10: {"small": 8, "large": 32, "epochs": 2},
    11: {"batch_size": 16, "epochs": 2},
    12: {"small": 8, "large": 32, "epochs": 2},
    13: {"batch_sizes": (8, 32), "epochs": 2},
    14: {"large": 32, "early": 1, "batch_sizes": (1, 2, 4, 8, 16)},
    15: {"batch_sizes": (8, 32)},
    16: {"batch_sizes": (4, 8, 32), "learning_rates": (0.01, 0.1), "epochs": 3},
    17: {"batch_sizes": (8, 32), "epochs": 2},
    18: {"batch_sizes": (1, 32), "batch_size": 16, "epochs": 1},
    19: {"batch_size": 2, "epochs": 1},
    20: {"small": 8, "large": 32, "epochs": 3},
    21: {"batch_sizes": (4, 8, 32), "learning_rates": (0.01, 0.1), "target": 0.8, "epochs": 3, "points": (1, 2)},
    22: {"batch_sizes": (4, 16), "sgd": 0.02, "target": 0.8, "epochs": 3},
    **{part_two: {"large": 32, "early": 1, "late": 2, "trials": 2} for part_two in (4, 5, 6, 7)},
}


def seeds(chapter):
    """One where a run takes seconds also in a tiny setting."""
    return 1 if chapter.number in (4, 5, 6, 7, 13, 14, 15, 18, 19, 20, 21) else 2


@pytest.fixture(scope="module")
def lab(tiny, small_model, tmp_path_factory):
    """lab(chapter, seeds), with one store for all, as a reader has it: what one chapter measured, a later one reads."""
    store = Store(tmp_path_factory.mktemp("home"))

    def made(chapter, seeds):
        model = small_model if chapter.number in (4, 5, 6, 7, 13) else "mlp"
        return Lab(tiny, seeds, store, quiet=True, model=model)

    return made


every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)


@every_chapter
def test_the_text_has_every_section(chapter):
    assert chapter.finding.endswith(".") and len(chapter.finding) < 100
    assert list(chapter.text) == ["Claim", "Compare", "Look for", "Source", "Exercises"]
    assert all(len(text) > 20 for text in chapter.text.values() if isinstance(text, str))
    assert 2 <= len(chapter.text["Exercises"]) <= 5
    assert chapter.parameters and all(default is not inspect.Parameter.empty for default in chapter.parameters.values())


def test_every_parameter_has_its_meaning():
    assert {name for chapter in CHAPTERS for name in chapter.parameters} == set(book.MEANINGS)
    types = {(name, type(value)) for chapter in CHAPTERS for name, value in chapter.parameters.items()}
    assert len(types) == len(book.MEANINGS), "a name has one type through the whole book"


@every_chapter
def test_the_readme_lists_it(chapter):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert f"| [{chapter.number}](chapters/{chapter.module.__name__.split('.')[-1]}.py) | {chapter.finding} |" in readme
    assert f"| **{chapter.part}** |" in readme


@every_chapter
def test_a_chapter_runs_whole(chapter, lab, tmp_path, redrawn):
    page = Page.of(chapter, chapter.parameters | TINY[chapter.number], lab(chapter, seeds(chapter)))
    written = page.write(tmp_path / "out", ["png", "svg", "pdf"], "page")
    assert [path.name for path in written] == [f"{chapter.name}.{ending}" for ending in ("png", "svg", "pdf", "json")]
    record = json.loads(written[-1].read_text())
    assert record["chapter"] == chapter.number and record["seeds"] == [0, 1][: seeds(chapter)]
    model = page.dataset.model
    told = {"name": "tiny", "model": model.name, "model_fingerprint": model.fingerprint}
    assert told.items() <= record["dataset"].items()
    assert model.is_the_books or "tiny, of_a_reader:small" in written[1].read_text()
    assert {verdict["outcome"] for verdict in record["verdicts"]} <= {"held", "did not hold", "undecided"}
    assert all(verdict["published"] is None for verdict in record["verdicts"]), "published numbers belong to MNIST"
    assert all(run["published"] == {} for run in record["runs"].values())
    assert len(record["changed"]) == len(TINY[chapter.number])
    for role, run in page.runs.items():
        assert record["runs"][role]["experiment"] == repr(run.experiment)
        for name, column in record["runs"][role]["columns"].items():
            np.testing.assert_array_equal(np.array(column, record["runs"][role]["dtypes"][name]), run[name])
    assert redrawn(record) == (tmp_path / f"out/{chapter.name}.svg").read_bytes(), "the json lacks something drawn"


@every_chapter
def test_a_chapter_with_one_seed_says_that_it_cannot_decide(chapter, lab):
    page = Page.of(chapter, chapter.parameters | TINY[chapter.number], lab(chapter, 1))
    assert {(claim.outcome, claim.why) for claim in page.claims} == {("undecided", "one seed has no interval")}


@pytest.mark.parametrize(
    "chapter",
    [pytest.param(each, marks=[pytest.mark.slow] * (each.number not in (1, 9, 11, 16, 19, 22))) for each in CHAPTERS],
    ids=lambda chapter: chapter.name,
)
def test_a_chapter_survives_divergence(chapter, lab, tmp_path, capsys, redrawn):
    hopeless = dict.fromkeys(("learning_rate", "raised", "adam_learning_rate"), 1e20) | {"learning_rates": (1e19, 1e20)}
    hopeless = {name: value for name, value in hopeless.items() if name in chapter.parameters}
    if not hopeless:
        pytest.skip("it has no learning rate")
    parameters = chapter.parameters | TINY[chapter.number] | hopeless
    page = Page.of(chapter, parameters, lab(chapter, seeds(chapter)))
    drawing, numbers = page.write(tmp_path, ["svg"], "page")
    page.show([])
    assert "diverged" in capsys.readouterr().out
    assert redrawn(json.loads(numbers.read_text())) == drawing.read_bytes()
    assert not [claim for claim in page.claims if claim.outcome == "held" and not np.isfinite(claim.estimate)]


@every_chapter
def test_a_chapter_says_what_it_needs_where_the_data_are_too_few(chapter, lab):
    asked = lab(chapter, 1)
    stored = asked.store.keys()
    with pytest.raises(InvalidInput, match=r"batch_size \d+ is larger than the training set of tiny, which has 50 sam"):
        Page.of(chapter, chapter.parameters, asked)
    assert asked.store.keys() == stored


@pytest.mark.slow
@every_chapter
def test_a_chapter_runs_on_two_classes_with_batches_from_one_sample_to_all(chapter, tmp_path):
    """Where it has batch sizes: those of 1, and of the whole training set."""
    random = np.random.default_rng(3)
    labels = np.arange(62) % 2
    samples = random.normal(size=(62, 5)) + labels[:, None]
    two = standardised("two", samples[:50], labels[:50], samples[50:], labels[50:])
    extremes = {"batch_sizes": (1, 50), "small": 1, "large": 50}
    parameters = chapter.parameters | TINY[chapter.number]
    parameters |= {name: value for name, value in extremes.items() if name in TINY[chapter.number]}
    page = Page.of(chapter, parameters, Lab(two, 2, Store(tmp_path), quiet=True))
    page.show(page.write(tmp_path / "out", ["png"], "page"))
    assert all(np.isfinite(claim.estimate) or claim.outcome == "undecided" for claim in page.claims)


def test_settings_are_read_as_the_defaults_types():
    chapter = book.chapter(1)
    parameters = chapter.with_set(["batch_sizes=2,64", "learning-rate=1", "epochs = 3"])
    assert parameters == {"batch_sizes": (2, 64), "learning_rate": 1.0, "epochs": 3}
    assert chapter.changed(parameters) == ["batch_sizes=2,64", "learning_rate=1.0", "epochs=3"]
    for wrong in ("epochs=1.5", "epochs=", "learning_rate=nan", "learning_rate=inf", "batch_sizes=a", "batch_sizes="):
        with pytest.raises(InvalidInput, match="wanted a value such as"):
            chapter.with_set([wrong])
    for wrong in ("epoch=3", "epochs", "=3", ""):
        with pytest.raises(InvalidInput, match=r"names nothing that can be set.*epochs=30"):
            chapter.with_set([wrong])
    with pytest.raises(InvalidInput, match="no chapter 99; there are 1, 2, 3, "):
        book.chapter(99)
