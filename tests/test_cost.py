"""Time and memory of a batch size."""

import time

import numpy as np
import pytest

from bstudy import Memory, StepTime
from bstudy.errors import BstudyError, InvalidInput
from bstudy.experiments import cost
from bstudy.experiments.rate_grid import initial_weights
from bstudy.processes import Child

PARAMETERS = 16 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 3 + 3


def test_the_memory_of_several_sizes_is_measured_and_predicted(measure, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # of what AutoGraph writes
    columns = measure(Memory((8, 32))).columns
    assert list(tmp_path.iterdir()) == []  # AutoGraph's files are deleted
    assert {column.shape for column in columns.values()} == {(2,)}
    assert columns["parameters"].tolist() == [PARAMETERS] * 2
    assert columns["weight_bytes"].tolist() == columns["gradient_bytes"].tolist() == [4 * PARAMETERS] * 2
    assert columns["activation_bytes"].tolist() == [2 * 4 * size * (16 + 1024 + 1024 + 3) for size in (8, 32)]
    if not np.isnan(cost.memory_used()).any():
        assert (columns["compile_memory"] > 1e6).all()
        assert (columns["compile_memory"] <= columns["memory"]).all()
        assert (columns["memory"] < 1e9).all()


def test_a_measuring_process_that_fails_is_reported(measure, monkeypatch):
    monkeypatch.setattr(cost, "Child", lambda *_: Child(time.sleep))  # sleeps for a connection, which is no number
    with pytest.raises(BstudyError, match="that measures memory of training at 16 ended with status 1: TypeError: "):
        measure(Memory((16,)))


@pytest.mark.parametrize("wrong", [lambda: Memory((0,)), lambda: Memory(()), lambda: StepTime((8,), passes=0)])
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(InvalidInput):
        wrong()


def test_a_wrong_choice_is_refused():
    with pytest.raises(InvalidInput, match=r"must be '.*' or '.*', not"):
        Memory((8,), "sleep")


def test_the_small_network_is_that_of_a_rate_grid(tiny, get_trainer):
    trainer = cost.make_small_trainer(get_trainer(tiny))
    weights = initial_weights(tiny, np.random.default_rng(0))
    assert [weight.size for weight in trainer.initial_weights(0)] == [weight.size for weight in weights]


def test_the_time_of_a_step_of_the_small_network(tiny, measure):
    columns = measure(StepTime((1, 8), passes=1, network="small")).columns
    assert (columns["step_seconds"] > 0).all()
