"""What all experiments have in common: keys, versions with their numbers, Runs, and nested dicts of them."""

import math
import re
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

import bstudy
from bstudy import (
    Accumulation,
    AccumulationCost,
    Branching,
    ConvexDescent,
    Evaluation,
    Experiment,
    GradientPenalty,
    GradientTrials,
    Interpolation,
    Memory,
    NoiseScale,
    NormalizedEvaluation,
    RateGrid,
    Recipe,
    Runs,
    Sharpness,
    SingleBatches,
    StepNorms,
    StepTime,
    Survival,
    TimeToTarget,
    TunedTimeToTarget,
    leaves,
    map_leaves,
    stack,
)
from bstudy.experiments.base import Work
from bstudy.models import CNN, MLP, ModelSpec

START = Recipe.sgd(16, 0.1, 1)
TINY = [
    Recipe.sgd(16, 0.1, 1, record_norms=True).then(optimizer="adam", learning_rate=0.001),
    TimeToTarget.sgd(16, 0.1, 20, 80),
    TunedTimeToTarget.sgd(16, 0.1, 20, 80),
    GradientTrials(START, batch_sizes=(1, 3, 16), trials=2, samples=16),
    SingleBatches(START, batch_sizes=(1, 16), draws=5),
    StepNorms(START, batch_sizes=(1, 16), frozen=False),
    NoiseScale(START, 8, 64, batches=2),
    Branching((8, 16), 0.1, (0, 64), 32, noise_steps=2, noise_batch_size=16),
    ConvexDescent((1, 8), (0.5, 1.0)),
    Accumulation(16, 5, 0.1, 1),
    AccumulationCost(16, 5, passes=1),
    RateGrid(4, (0.01, 0.1), "adam", samples=256),
    GradientPenalty(8, 0.1, 3, 2, 48, penalty=0.5, parts=6, label_noise=0.25),
    Sharpness(START, epsilons=(1e-3,), rescaled=2.0, samples=30),
    Interpolation((START, Recipe.sgd(16, 0.1, 2)), points=4),
    Evaluation(START, batch_sizes=(1, 20)),
    NormalizedEvaluation(batch_sizes=(2, 20), batch_size=16, epochs=2),
    Survival(8, (0.1, 0.5), (0, 3), 20, trials=2),
    Memory((16,)),
    StepTime((8, 32), passes=1),
]
TIMES = ("seconds", "compile_seconds", "step_seconds", "memory", "compile_memory")
TIMES += ("large_seconds", "accumulated_seconds", "small_seconds")
# (kind, version): a weighted mean of each column; None for what is never the same
PINNED = {
    ("branching", 1): {
        "checkpoint_loss": 0.9421308,
        "loss": 0.7348765,
        "noise_trace": 3.05645,
        "squared_gradient_norm": 0.7049436,
    },
    ("convex_descent", 1): {
        "squared_distance": 10.35631,
        "predicted": 1.004197,
        "steps": 159.8116,
        "path": 16.99093,
        "full_batch": 0.0,
        "full_batch_path": 0.04967954,
    },
    ("accumulation", 1): {"loss": 1.113767, "test_loss": 1.154174, "test_accuracy": 102.5},
    ("accumulation_cost", 1): {
        "large_seconds": None,
        "accumulated_seconds": None,
        "small_seconds": None,
        "weight_bytes": 940.0,
        "output_bytes": 280.0,
    },
    ("rate_grid", 1): {"test_loss": 0.4139062, "test_accuracy": 146.3306, "train_loss": 0.05481923},
    ("gradient_penalty", 1): {
        "train_loss": 1.39955,
        "train_accuracy": 81.25,
        "test_loss": 1.241976,
        "test_accuracy": 121.6667,
    },
    ("recipe", 1): {
        "weight_distance": 0.3699054,
        "bias_distance": 0.1160035,
        "weight_norm": 7.215265,
        "bias_norm": 0.1160035,
        "cosines": 1.49786,
        "layer_norms": 4.102297,
        "train_subset_loss": 1.046438,
        "train_subset_accuracy": 115.6667,
        "test_loss": 1.111077,
        "test_accuracy": 106.6667,
        "seconds": None,
        "loss": 0.9432979,
        "gradient_norm": 1.26897,
        "update_norm": 0.06855581,
        "final_train_loss": 0.6404294,
        "final_train_accuracy": 80.0,
    },
    ("time_to_target", 5): {"steps": 3.0, "epochs": 0.96},
    ("tuned_time_to_target", 2): {
        "rates": 1.887079,
        "tried": 0.3653846,
        "rate_steps": 5.166667,
        "train_steps": 2.0,
        "first_steps": 3.0,
        "first_epochs": 0.96,
        "steps": 1.0,
        "epochs": 0.32,
        "learning_rate": 0.2,
    },
    ("gradient_trials", 1): {
        "norm": 0.2774623,
        "cosine_to_smallest": 1.494338,
        "cosine_to_largest": 1.49739,
        "power_sums": 0.00469006,
        "histogram": 0.03346022,
        "extremes": -0.02409082,
        "edges": 2.193934,
        "counts": 0.1814304,
        "entries": 13.37143,
    },
    ("single_batches", 1): {"norm": 3.148406, "noise_trace": 0.2595231, "squared_gradient_norm": 0.03871721},
    ("step_norms", 1): {
        "mean_norm": 1.507936,
        "quantiles": 1.771021,
        "mean_norm_over_time": 1.806936,
        "triangle_slack": 1.153247,
    },
    ("noise_scale", 1): {"noise_trace": 3.226514, "squared_gradient_norm": 0.6198068},
    ("sharpness", 2): {
        "loss": 0.6558358,
        "resolution": 5.960464e-08,
        "eigenvalue": 3.727065,
        "residual": 0.02660716,
        "sharpness": 0.4352434,
        "rise": 0.007206917,
    },
    ("interpolation", 1): {
        "train_loss": 0.8842751,
        "train_accuracy": 121.0,
        "test_loss": 0.9736377,
        "test_accuracy": 114.1667,
        "alpha": 1.166667,
    },
    ("evaluation", 2): {"loss": 1.068186, "accuracy": 105.0, "seconds": None},
    ("normalized_evaluation", 1): {"evaluation_mode": 75.0, "training_mode": 120.0},
    ("survival", 2): {"final_loss": 0.0616321, "survived": 1.5, "initial_eigenvalue": 7.515141, "eigenvalue": 5.18396},
    ("memory", 1): {
        "memory": None,
        "compile_memory": None,
        "parameters": 235.0,
        "weight_bytes": 940.0,
        "gradient_bytes": 940.0,
        "activation_bytes": 4480.0,
    },
    ("step_time", 1): {"step_seconds": None},
}
KINDS = [getattr(bstudy, name) for name in bstudy.__all__]
KINDS = [kind for kind in KINDS if isinstance(kind, type) and issubclass(kind, Experiment) and kind is not Experiment]
DATA = SimpleNamespace(digest="f" * 64)


def weighted_mean(column):
    """Return a number that also changes with the order and the sign of the values."""
    values = np.ravel(column).astype(float)
    return np.nanmean(values * np.linspace(1, 2, len(values)))


def test_every_kind_of_experiment_is_pinned():
    assert {type(experiment) for experiment in TINY} == set(KINDS)
    assert len({kind.KIND for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(each, marks=[pytest.mark.slow] * isinstance(each, Memory)) for each in TINY],  # as in test_cost.py
    ids=lambda experiment: experiment.KIND,
)
def test_other_numbers_need_another_version_and_the_table_has_a_value_for_each_seed(measure_small, experiment):
    columns = measure_small(experiment).columns
    found = {name: None if name in TIMES else float(f"{weighted_mean(column):.7g}") for name, column in columns.items()}
    name = experiment.KIND, experiment.VERSION
    advice = (
        f"the numbers of {name} changed, or are not pinned. Stored results of this version would be mixed with new "
        f"ones: if the change is intended, raise VERSION in {type(experiment).__name__} and pin {found}"
    )
    stacked = {name: np.stack([column, column]) for name, column in columns.items()}
    table = Runs(experiment, (0, 1), stacked, (False, False)).table()
    assert {values.shape for values in table.values()} == {(2,)}
    expected = PINNED.get(name, {})
    assert found.keys() == expected.keys(), advice
    for column, number in found.items():
        if number is None:
            assert expected[column] is None, advice
        else:
            # other versions of TensorFlow round in another order
            assert number == pytest.approx(expected[column], rel=3e-5, abs=1e-7), f"{column}: {advice}"


@pytest.mark.parametrize(
    ("experiment", "model", "seed", "key"),
    [
        (Recipe.sgd(64, 0.01, 30), MLP, 0, "7a5b6bb16e0bf295"),
        (Recipe.adam(64, 0.01, 30).then(batch_size=16), CNN, 1, "658f135c22772577"),
        (GradientTrials(START), ModelSpec("module:function", (("m.py", "d" * 64),), "e" * 64), 2, "a44ac0af2c4aea47"),
        (TimeToTarget.sgd(64, 0.1, 10, 93), MLP, 0, "9c4eaae69b8a9f70"),
    ],
)
def test_keys_stay_as_they_are(experiment, model, seed, key):
    """Another key means that all that readers have measured is measured again."""
    assert experiment.with_replicas(1).key(DATA, model, seed)[:16] == key


def test_each_thing_that_changes_the_bits_has_a_key_of_its_own():
    recipe = Recipe.sgd(1024, 0.01, 30)
    variants = [
        recipe,
        recipe.then(),
        recipe.then(batch_size=64),
        Recipe.adam(1024, 0.01, 30),
        Recipe.sgd(1024, 0.02, 30),
        Recipe.sgd(1024, 0.01, 30, record_norms=True),
        Recipe.sgd(1024, 0.01, 30, label_noise=0.2),
        Recipe.sgd(1024, 0.01, 30, samples=2000),
        replace(recipe, replicas=2),
        TimeToTarget(recipe.phases[0], 95),
        NoiseScale(recipe),
        NoiseScale(replace(recipe, replicas=2)),
    ]
    places = [(DATA, MLP, 0), (DATA, MLP, 1), (DATA, CNN, 0), (SimpleNamespace(digest="e" * 64), MLP, 0)]
    keys = {variant.key(*place) for variant in variants for place in places}
    assert len(keys) == len(variants) * len(places)


def test_equal_values_of_other_types_have_the_same_key():
    assert Recipe.sgd(np.int64(64), 1, 30).key(DATA, MLP, 0) == Recipe.sgd(64, 1.0, 30).key(DATA, MLP, 0)
    evaluations = [Evaluation(START, sizes) for sizes in ((8, 1), [1, 8, 8], np.array([8, 1]))]
    assert len({evaluation.key(DATA, MLP, 0) for evaluation in evaluations}) == 1


def test_the_number_of_replicas_is_filled_in_wherever_a_recipe_leaves_it_open():
    two = replace(START, replicas=2)
    assert START.with_replicas(2) == two
    assert two.with_replicas(3) == two
    assert NoiseScale(START).with_replicas(2) == NoiseScale(two)
    assert Interpolation((START, two)).with_replicas(1) == Interpolation((replace(START, replicas=1), two))
    assert Memory((8,)).with_replicas(2) == Memory((8,))


@pytest.mark.parametrize("experiment", TINY, ids=lambda experiment: experiment.KIND)
def test_every_kind_has_a_label_an_estimate_and_a_table(tiny, experiment):
    assert str(experiment)
    assert re.search("50 %|1 of 2|0 of 1", experiment.progress_text(0.5))
    assert eval(repr(experiment), {name: getattr(bstudy, name) for name in bstudy.__all__}) == experiment
    experiment.validate(tiny)
    work = experiment.work(tiny)
    assert work.samples + work.evaluated + work.seconds > 0
    for required in experiment.requires():
        assert isinstance(required, Recipe)
    for fraction, prefix in experiment.prefixes():
        assert 0 < fraction < 1
        assert type(prefix) is type(experiment)


def test_work_is_added_and_each_program_is_compiled_once():
    one = Work(samples=10, steps=2, programs=frozenset("a"))
    total = one.plus(Work(evaluated=5, seconds=1, programs=frozenset("ab")), times=3)
    assert total == Work(10, 2, 15, 3, frozenset("ab"))


@pytest.fixture
def runs():
    columns = {
        "test_accuracy": np.array([[10, 50, 70], [10, 40, math.nan]]),
        "cosines": np.arange(12.0).reshape(2, 3, 2),
        "final_train_accuracy": np.array([80.0, 90.0]),
        "train_subset_accuracy": np.array([[10, 50, 60], [10, 50, 65]]),
    }
    return Runs(START, [0, 1], columns, [False, True], metadata=({"seed": 0}, {"seed": 1}), samples=50)


def test_the_final_value_of_a_run_leaves_out_the_untrained_start(runs):
    np.testing.assert_array_equal(runs.final("test_accuracy"), [60, math.nan])
    np.testing.assert_array_equal(runs.final("test_accuracy", over=1), [70, math.nan])
    np.testing.assert_array_equal(runs.final("cosines", over=1), [[4, 5], [10, 11]])
    np.testing.assert_array_equal(runs.final("final_train_accuracy"), [80, 90])


def test_the_accuracy_on_the_subset_is_not_that_on_the_training_set(runs):
    assert runs.final("train_subset_accuracy", over=1).tolist() == [60, 65]
    assert runs.final("final_train_accuracy").tolist() == [80, 90]
    with pytest.raises(KeyError, match="has no column 'train_accuracy'; it has cosines, final_train_accuracy, "):
        runs.final("train_accuracy")


def test_runs_know_what_was_measured(runs):
    assert runs.experiment == START
    assert runs.seeds == (0, 1)
    assert runs.samples == 50
    assert runs.diverged.tolist() == [False, True]
    assert runs.metadata[1] == {"seed": 1}


def test_nested_dicts_keep_their_nesting():
    tree = {"one": {8: 1, 16: 2}, "other": 3}
    assert leaves(tree) == {("one", 8): 1, ("one", 16): 2, ("other",): 3}
    assert map_leaves(lambda leaf: 10 * leaf, tree) == {"one": {8: 10, 16: 20}, "other": 30}
    assert leaves(5) == {(): 5}
    assert map_leaves(str, 5) == "5"


def test_stack_puts_keys_on_the_second_axis(runs):
    keys, values = stack({8: runs, 16: runs}, "final_train_accuracy")
    assert keys == [8, 16]
    np.testing.assert_array_equal(values, [[80, 80], [90, 90]])
    _, first = stack({8: runs}, lambda run: run["test_accuracy"][:, 1])
    np.testing.assert_array_equal(first, [[50], [40]])


def test_fields_have_documentation():
    for kind in KINDS:
        for each in fields(kind):
            assert f"{each.name}:" in kind.__doc__, f"{kind.__name__} does not document {each.name}"
