"""Every chapter runs completely in a tiny setting, and its JSON has every number of its page and its figure."""

import ast
import inspect
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bstudy import Evaluation, Lab, Memory, Runs, StepTime, TimeToTarget, claim, leaves, map_leaves
from bstudy.chapter import chapters, option_name
from bstudy.chapters.parameters import PARAMETER_HELP
from bstudy.claims import MARKS
from bstudy.cli import main
from bstudy.data import standardize
from bstudy.errors import InvalidInput
from bstudy.findings import findings
from bstudy.report import build, to_json, write
from bstudy.store import Result, Store
from bstudy.terminal import show

CHAPTERS = chapters()
TINY = {  # parameters with which a chapter runs on the 50 samples of the tiny data set in a second or two
    0: {"batch_size": 10, "epochs": 2},
    1: {"batch_sizes": (10, 25), "epochs": 2},
    2: {"small_batch_size": 10, "large_batch_size": 50, "epochs": 2},
    3: {"small_batch_size": 10, "large_batch_size": 50, "epochs": 2},
    8: {"batch_sizes": (10, 50), "learning_rates": (0.01, 0.1), "epochs": 2},
    9: {"batch_sizes": (10, 50), "learning_rates": (0.01, 0.1), "epochs": 2},
    10: {"small_batch_size": 10, "large_batch_size": 50, "epochs": 2},
    11: {"batch_size": 25, "epochs": 2},
    12: {"small_batch_size": 10, "large_batch_size": 50, "epochs": 2},
    13: {"small_batch_size": 10, "large_batch_size": 50, "epochs": 2},
    14: {"large_batch_size": 32, "early_epochs": 1, "batch_sizes": (1, 2, 4, 8)},
    15: {"batch_sizes": (8, 32)},
    16: {"batch_sizes": (5, 10, 50), "learning_rate": 0.15, "target_accuracy": 80.0, "epochs": 30},
    17: {"batch_sizes": (10, 50), "epochs": 4},
    18: {"batch_sizes": (1, 32), "batch_size": 25, "epochs": 1},
    19: {"batch_size": 2, "epochs": 2},
    20: {"small_batch_size": 10, "large_batch_size": 50, "epochs": 3, "replicas": (2,)},
    21: {"batch_sizes": (4, 8, 32), "first_learning_rate": 0.15, "target_accuracy": 80.0, "epochs": 30},
    22: {"batch_sizes": (5, 25), "sgd_learning_rate": 0.02, "target_accuracy": 60.0, "epochs": 29},
    23: {"batch_sizes": (1, 4, 16, 32), "learning_rates": (0.01, 0.02, 0.1, 0.2), "sample_counts": (16, 32)},
    24: {"batch_sizes": (1, 8), "learning_rates": (0.3, 1.0)},
    25: {"small_batch_size": 10, "large_batch_size": 25, "learning_rates": (0.1, 0.3), "steps": 40, "repeats": 2},
    26: {"batch_sizes": (4, 8, 32), "learning_rates": (0.2, 0.4), "steps": 96},
    27: {"batch_size": 10, "micro_batch_size": 5, "learning_rates": (0.1, 0.3, 1.0), "epochs": 1, "passes": 1},
    28: {"batch_sizes": (1, 8), "learning_rates": (1e-6, 1e-4, 0.01, 0.1, 1.0, 100.0), "label_noise": 0.2},
    29: {"batch_sizes": (10, 50), "weight_decays": (1.0, 4.0, 16.0), "samples": 50, "epochs": 2},
    30: {"samples": 48, "steps": 10},
}
TINY[21] |= {"checkpoints": (32, 64), "branch_samples": 32}
TINY[23] |= {"epochs": 8, "steps": 8, "repeats": 2}
TINY[27] |= {"samples_seen": 320}
TINY[28] |= {"samples_seen": 256, "adam_learning_rates": (1e-6, 1e-4, 0.01, 0.1, 1.0)}
TINY |= {number: {"large_batch_size": 50, "early_epochs": 1, "late_epochs": 2, "trials": 2} for number in (4, 5, 6, 7)}
LEARNING_RATES = ("learning_rate", "large_learning_rate", "adam_learning_rate", "sgd_learning_rate")
DIVERGING = [
    pytest.param(chapter, marks=[pytest.mark.slow] * (chapter.number not in (1, 9)))
    for chapter in CHAPTERS
    if {*LEARNING_RATES, "learning_rates"} & set(chapter.parameters)
]


REDRAWN = [  # each takes seconds; these have figures of all kinds
    pytest.param(chapter, marks=[pytest.mark.slow] * (chapter.number not in (0, 6, 7, 8, 12, 24)))
    for chapter in CHAPTERS
]
OTHER_MODELS = ("small_models:one_layer", "readers_model:my_function", "cnn")
WITH_OTHER_MODELS = [
    pytest.param(
        chapter, model, marks=[pytest.mark.slow] * (model != OTHER_MODELS[0] or chapter.number not in (12, 13))
    )
    for chapter in CHAPTERS
    for model in OTHER_MODELS
]
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def make_lab(tiny, small_model, get_trainer, tmp_path_factory):
    """make_lab(seeds, model) returns a Lab; all have one store, so that a chapter reads what another one measured."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BSTUDY_HOME", str(folder))  # the fixtures of a module run before `home`
        patch.setattr("bstudy.worker.make_trainer", get_trainer)
        yield lambda seeds, model=small_model: Lab(tiny, seeds, Store(folder), quiet=True, model=model, jobs=1)


def build_tiny(chapter, lab, **changes):
    """Return the Report of a chapter in its tiny setting; memory is made up: test_cost.py measures it."""
    parameters = chapter.parameters | TINY[chapter.number] | changes
    for experiment in leaves(chapter.module.experiments(**parameters)).values():
        if isinstance(experiment, Memory):
            store_made_up_memory(experiment, lab)
    return build(chapter, parameters, lab)


def store_made_up_memory(experiment, lab):
    sizes = np.array(experiment.batch_sizes)
    for seed in lab.seeds:
        columns = {"memory": 1e6 + 2e4 * sizes, "activation_bytes": 1e4 * sizes}
        alike = {"compile_memory": 8e5, "parameters": 227, "weight_bytes": 908, "gradient_bytes": 908}
        columns |= {name: np.full(sizes.shape, value) for name, value in alike.items()}
        arrays = {name: np.asarray(column, float) for name, column in columns.items()}
        lab.store.write(experiment.key(lab.dataset, lab.model, seed), Result(arrays, {}, {"bstudy": "0"}))


QUICK = (0, 1, 16, 18, 21)  # chapters with measurements of all kinds; the others take minutes
EACH = [pytest.param(chapter, marks=[pytest.mark.slow] * (chapter.number not in QUICK)) for chapter in CHAPTERS]


@pytest.fixture(scope="module", params=EACH, ids=lambda chapter: chapter.name)
def chapter(request):
    return request.param


@pytest.fixture(scope="module")
def page(chapter, make_lab):
    return build_tiny(chapter, make_lab(2))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_its_text_teaches(chapter):
    text = chapter.text
    assert chapter.question.endswith("?")
    assert "**Predict.**" in text.sections["Experiment"].rpartition("\n\n")[2]
    assert re.search(r"^    \S", text.sections["Idea"], re.MULTILINE), "the Idea has no formula"
    assert all(len(each) > 80 for each in (text.introduction, *text.sections.values()))
    assert 3 <= len(text.exercises) <= 4
    assert all(exercise.question and exercise.solution for exercise in text.exercises)
    assert "](https://" in text.sections["Sources"]
    assert chapter.parameters
    assert inspect.Parameter.empty not in chapter.parameters.values()


def test_its_answer_is_a_title_of_two_lines(chapter, page, monkeypatch):
    sentences = []

    def record(text, *arguments, otherwise="", answer=False, **options):
        sentences.extend([(text, otherwise)] * answer)
        return claim(text, *arguments, otherwise=otherwise, answer=answer, **options)

    monkeypatch.setattr(chapter.module, "claim", record)
    with warnings.catch_warnings(action="ignore"):
        assert [each.claim for each in chapter.module.verdicts(page.runs) if each.answer]
    assert 1 <= len(sentences) <= 3
    for title in (" ".join(texts) for texts in zip(*sentences, strict=True)):
        assert len(title) <= 180
        assert title.endswith(".")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_its_code_takes_no_label_apart(chapter):
    calls = [node.func for node in ast.walk(ast.parse(inspect.getsource(chapter.module))) if isinstance(node, ast.Call)]
    called = {getattr(function, "id", getattr(function, "attr", "")) for function in calls}
    assert not called & {"isinstance", "type", "startswith", "endswith", "split", "partition", "removeprefix", "match"}


def test_its_runs_come_back_in_its_nesting(chapter, page):
    asked = leaves(chapter.module.experiments(**page.parameters))
    assert list(leaves(page.runs)) == list(asked)
    assert [run.experiment for run in leaves(page.runs).values()] == list(asked.values())


def test_its_json_says_what_was_run(chapter, page):
    record = json.loads(to_json(page.record()))
    assert record["chapter"] == chapter.number
    assert record["command"] == page.command
    assert record["seeds"] == [0, 1]
    assert record["dataset"]["name"] == "tiny"
    assert record["model"] == {"name": page.model.name, "digest": page.model.digest}
    assert sorted(record["changed"]) == sorted(TINY[chapter.number])
    assert "on tiny (50 training and 20 test samples), model small_models:small" in record["footer"]
    assert {verdict["outcome"] for verdict in record["verdicts"]} <= set(MARKS)
    assert {verdict["published"] for verdict in record["verdicts"]} == {None}
    assert {cell["published"] for _, cell in cells(record)} <= {None}


def cells(record):
    """Return (column, cell) of all tables in a JSON."""
    rows = [row for table in record["tables"] for row in table["rows"]]
    return [(column, cell) for row in rows for column, cell in row["cells"].items()]


def test_its_json_has_every_number_of_its_table(chapter, page, make_lab):
    runs = make_lab(2).run(chapter.module.experiments(**page.parameters))
    table = getattr(chapter.module, "table", lambda runs: map_leaves(lambda run: run.table(), runs))(runs)
    shown = [(path[-1], np.mean(values, dtype=float)) for path, values in leaves(table).items() if values is not None]
    expected = sorted((column, str(mean if np.isfinite(mean) else None)) for column, mean in shown)
    found = sorted((column, str(cell["value"])) for column, cell in cells(json.loads(to_json(page.record()))))
    assert found == expected


def test_its_json_does_not_depend_on_whether_the_page_was_printed_before(page, capsys):
    before = to_json(page.record())
    show(page, [])
    assert len(capsys.readouterr().out) > 1000
    assert to_json(page.record()) == before


@pytest.mark.parametrize("chapter", REDRAWN, ids=lambda chapter: chapter.name)
def test_its_figure_is_drawn_from_its_json_alone(chapter, make_lab, tmp_path, redrawn):
    drawing, numbers = write(build_tiny(chapter, make_lab(2)), tmp_path, ("svg",), "page")
    assert drawing.name == f"{chapter.name}.svg"
    assert redrawn(json.loads(numbers.read_text(encoding="utf-8"))) == drawing.read_bytes()


def test_with_one_seed_it_decides_nothing(chapter, make_lab):
    claims = build_tiny(chapter, make_lab(1)).claims
    assert {claim.outcome for claim in claims} == {"undecided"}
    assert {claim.why for claim in claims} == {"one seed has no interval"}


def with_second_seed(run, value, diverged):
    """Return what the run would be if its second seed had diverged, or had not reached a target."""
    columns = {name: np.array(column) for name, column in run.columns.items()}
    for column in columns.values():
        if column.dtype.kind == "f":
            column[1] = value
    if isinstance(run.experiment, Evaluation):
        columns["accuracy"][1] = 10.0  # of NaN in place of logits
    return Runs(run.experiment, run.seeds, columns, [False, diverged], run.metadata, run.samples)


def test_no_verdict_rests_on_a_run_that_diverged(chapter, page):
    def diverge(run):
        of_machine = isinstance(run.experiment, Memory | StepTime)  # times do not diverge
        return run if of_machine else with_second_seed(run, np.nan, diverged=True)

    runs = map_leaves(diverge, page.runs)
    of_cost = [each for each in page.claims if chapter.number == 15 or " take more " in each.claim]
    with warnings.catch_warnings(action="ignore"):  # as `build` does
        decided = [each for each in chapter.module.verdicts(runs) if each.outcome not in ("undecided", "diverged")]
    assert {each.claim for each in decided} <= {each.claim for each in of_cost}


@pytest.mark.parametrize("number", [16, 21, pytest.param(22, marks=pytest.mark.slow)])
def test_no_verdict_rests_on_a_run_that_did_not_reach_its_target(number, make_lab):
    def miss(run):
        return with_second_seed(run, np.inf, diverged=False) if isinstance(run.experiment, TimeToTarget) else run

    page = build_tiny(CHAPTERS[number], make_lab(2))
    with warnings.catch_warnings(action="ignore"):
        claims = [*page.chapter.module.verdicts(map_leaves(miss, page.runs))]
    of_target = [each for each in claims if number != 21 or "B_crit" in each.claim]
    assert len(of_target) > 1
    drawing = Figure()
    with warnings.catch_warnings(action="ignore"):
        page.chapter.module.figure(map_leaves(miss, page.runs), drawing)
    assert not [axes for axes in drawing.axes if "nan" in " ".join(axes.get_legend_handles_labels()[1])]
    assert {each.outcome for each in of_target} == {"undecided"}
    assert {each.why for each in of_target} == {"1 of 2 seeds did not reach the target"}


def test_the_critical_batch_size_of_a_run_that_diverged_is_not_compared(make_lab):
    page = build_tiny(CHAPTERS[21], make_lab(2))
    runs = page.runs | {"branches": with_second_seed(page.runs["branches"], np.nan, diverged=True)}
    with warnings.catch_warnings(action="ignore"):
        grows, *_ = page.chapter.module.verdicts(runs)
    assert grows.finding.startswith("Diverged in 1 of 2 seeds: Measured by branching")


def test_rules_are_not_compared_if_no_run_reached_the_target(make_lab):
    first, *_ = build_tiny(CHAPTERS[22], make_lab(2), target_accuracy=100.0, epochs=1).claims
    assert first.outcome == "undecided"
    assert first.why == "2 of 2 seeds did not reach the target"


def test_rules_are_not_compared_if_all_runs_diverged(make_lab):
    first, *_ = build_tiny(CHAPTERS[22], make_lab(2), sgd_learning_rate=1e30).claims
    assert first.finding.startswith("Diverged in 2 of 2 seeds: ")


@pytest.mark.parametrize(("rate", "does", "sign"), [(0.6, "recovers", "✓"), (0.012, "does not recover", "✗")])
def test_title_answer_and_row_turn_round_with_the_result(rate, does, sign, make_lab):
    changes = {"small_batch_size": 2, "large_batch_size": 50, "learning_rate": 0.01, "epochs": 5}
    page = build_tiny(CHAPTERS[2], make_lab(8), **changes, large_learning_rate=rate)
    answer = f"{rate / 0.01:g} times the learning rate {does} at least nine tenths of the lost accuracy"
    assert page.headline == f"{answer}."
    assert page.answer.startswith(f"{answer} (")
    drawing = page.draw()
    assert drawing.get_suptitle().replace("\n", " ") == f"{answer}."
    page_row, *_, claim_row = [row for row in findings([page.record()]).splitlines() if "nine tenths" in row]
    assert f"| {page.chapter.question} | {page.answer} |" in page_row
    assert claim_row.split(" | ")[-1].startswith(sign)


@pytest.mark.parametrize("chapter", DIVERGING, ids=lambda chapter: chapter.name)
def test_it_survives_divergence(chapter, make_lab, tmp_path, capsys, redrawn):
    changes = dict.fromkeys(LEARNING_RATES, 1e20) | {"learning_rates": (1e19, 1e20)}
    changes = {name: value for name, value in changes.items() if name in chapter.parameters}
    page = build_tiny(chapter, make_lab(2), **changes)
    drawing, numbers = write(page, tmp_path, ("svg",), "page")
    show(page, [])
    assert "diverged" in capsys.readouterr().out
    assert redrawn(json.loads(numbers.read_text(encoding="utf-8"))) == drawing.read_bytes()
    assert not [claim for claim in page.claims if claim.outcome == "held" and not np.isfinite(claim.estimate)]


def test_it_says_if_the_training_set_is_too_small(chapter, make_lab):
    lab = make_lab(1)
    stored = lab.store.keys()
    reasons = (
        r"(batch_size|samples) \d+ is larger than the training set of tiny",
        "at most 50, the size of the training set of tiny",
    )
    with pytest.raises(InvalidInput, match="|".join(reasons)):
        build(chapter, chapter.parameters, lab)
    assert lab.store.keys() == stored


@pytest.mark.slow
def test_it_runs_on_two_classes_with_batches_of_one_sample_and_of_all(chapter, small_model, tmp_path, capsys):
    labels = np.arange(62) % 2
    samples = np.random.default_rng(3).normal(size=(62, 5)) + labels[:, None]
    two_classes = standardize("two", samples[:50], labels[:50], samples[50:], labels[50:])
    changes = {"batch_sizes": (1, 50), "small_batch_size": 1, "large_batch_size": 50, "samples_seen": 800}
    changes = {name: value for name, value in changes.items() if name in TINY[chapter.number]}
    page = build_tiny(chapter, Lab(two_classes, 2, Store(tmp_path), quiet=True, model=small_model), **changes)
    show(page, write(page, tmp_path / "out", ("png",), "page"))
    assert capsys.readouterr().out
    assert all(np.isfinite(claim.estimate) or claim.outcome in ("undecided", "diverged") for claim in page.claims)


@pytest.fixture(scope="module")
def readers_model(tmp_path_factory):
    """Make the README's model importable as readers_model:my_function."""
    folder = tmp_path_factory.mktemp("readme")
    (text,) = re.findall(r"```python\n(import keras\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "readers_model.py").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield


@pytest.mark.usefixtures("readers_model")
@pytest.mark.parametrize(("chapter", "model"), WITH_OTHER_MODELS)
def test_it_runs_with_models_of_fewer_or_more_layers(chapter, model, make_lab, tmp_path, capsys, redrawn):
    page = build_tiny(chapter, make_lab(1, model))
    drawing, numbers = write(page, tmp_path, ("svg",), "page")
    show(page, [])
    assert f"model {model}" in " ".join(capsys.readouterr().out.split())
    assert {each.outcome for each in page.claims} == {"undecided"}
    assert redrawn(json.loads(numbers.read_text(encoding="utf-8"))) == drawing.read_bytes()


def test_every_parameter_is_explained_once():
    own = {name for chapter in CHAPTERS for name in getattr(chapter.module, "HELP", {})}
    assert not own & set(PARAMETER_HELP)
    assert {name for chapter in CHAPTERS for name in chapter.parameters} == own | set(PARAMETER_HELP)
    assert all(chapter.help[name] for chapter in CHAPTERS for name in chapter.parameters)


def test_a_parameter_has_one_type_in_the_whole_book():
    types = {(name, type(value)) for chapter in CHAPTERS for name, value in chapter.parameters.items()}
    assert len(types) == len({name for chapter in CHAPTERS for name in chapter.parameters})


def test_no_parameter_is_named_like_an_option_that_chapters_share():
    shared = {name for option in main.commands["chapter"].params for name in option.opts}
    assert "--seeds" in shared
    assert not shared & set(map(option_name, PARAMETER_HELP))
