"""Time and memory of a batch size."""

import time

import numpy as np
import pytest

from bstudy import Cost, Memory, StepTime, Throughput
from bstudy.errors import BstudyError, InvalidInput
from bstudy.experiments import cost
from bstudy.experiments.rate_grid import initial_weights
from bstudy.processes import Child

PARAMETERS = 16 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 3 + 3


def test_a_cost_is_measured_and_predicted(measure, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # of what AutoGraph writes
    columns = measure(Cost(16, passes=3)).columns
    assert list(tmp_path.iterdir()) == []  # AutoGraph's files are deleted
    assert columns["seconds"].shape == (3,)
    assert (columns["seconds"] > 0).all()
    assert columns["compile_seconds"] > 0.05
    assert columns["parameters"] == PARAMETERS
    assert columns["weight_bytes"] == columns["gradient_bytes"] == 4 * PARAMETERS
    assert columns["activation_bytes"] == 2 * 4 * 16 * (16 + 1024 + 1024 + 3)
    assert np.isnan(cost.memory_used()).any() or 1e6 < columns["compile_memory"] <= columns["memory"] < 1e9


def test_the_memory_of_several_sizes_is_measured_at_the_same_time(measure):
    columns = measure(Memory((8, 32))).columns
    assert {column.shape for column in columns.values()} == {(2,)}
    assert (columns["parameters"] == PARAMETERS).all()
    assert columns["activation_bytes"][1] == 4 * columns["activation_bytes"][0]
    assert np.isnan(cost.memory_used()).any() or (columns["compile_memory"] <= columns["memory"]).all()


def test_a_throughput_has_the_seconds_of_each_call(tiny, get_trainer, monkeypatch):
    monkeypatch.setattr(get_trainer(tiny), "seconds_per_call", 1.0)  # restored after the test
    columns = Throughput(16, seconds=0.01).columns(get_trainer(tiny))
    assert len(columns["step_seconds"]) >= 2
    assert min(columns["step_seconds"]) > 0


def test_a_measuring_process_that_fails_is_reported(measure, monkeypatch):
    monkeypatch.setattr(cost, "Child", lambda *_: Child(time.sleep))  # sleeps for a connection, which is no number
    with pytest.raises(BstudyError, match="that measures 16: cost of training ended with status 1: TypeError: "):
        measure(Cost(16))


@pytest.mark.parametrize("wrong", [lambda: Cost(0), lambda: Cost(8, passes=0), lambda: Throughput(8, seconds=0)])
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(InvalidInput):
        wrong()


@pytest.mark.parametrize("wrong", [lambda: Cost(8, "sleep"), lambda: Throughput(8, "rmsprop")])
def test_a_wrong_choice_is_refused(wrong):
    with pytest.raises(InvalidInput, match=r"must be '.*' or '.*', not"):
        wrong()


def test_the_small_network_is_that_of_a_rate_grid(tiny, get_trainer):
    trainer = cost.make_small_trainer(get_trainer(tiny))
    weights = initial_weights(tiny, np.random.default_rng(0))
    assert [weight.size for weight in trainer.initial_weights(0)] == [weight.size for weight in weights]


def test_the_time_of_a_step_of_the_small_network(tiny, measure):
    columns = measure(StepTime((1, 8), passes=1, network="small")).columns
    assert (columns["step_seconds"] > 0).all()
