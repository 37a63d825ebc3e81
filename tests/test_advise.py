"""The advice: from known speeds and noise scales to a batch size, and the command from beginning to end."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from bstudy import Throughput, plots
from bstudy.advise import Advice, ShortTraining, Speed, advise
from bstudy.cli import main
from bstudy.errors import InvalidInput
from bstudy.lab import Lab
from bstudy.models import MLP
from bstudy.store import Result

SIZES = np.array([16, 32, 64, 128, 256, 512, 1024])
LIMITED = """
import keras

class Narrow(keras.layers.Layer):
    def call(self, x):
        if x.shape[0] == 64:
            raise MemoryError("no room for 64")
        return x

def limited(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), Narrow(),
                             keras.layers.Dense(classes)])
"""


@pytest.fixture
def make_advice(tiny):
    """make_advice(early, late, optimizer) is for a machine on which a step takes the time of 64 samples more."""

    def make(early=256.0, late=256.0, optimizer="sgd"):
        scales = np.array([early, late])
        intervals = np.stack([0.9 * scales, 1.1 * scales], axis=1)
        speed = Speed(SIZES, 1e-5 * (64 + SIZES), np.full(7, np.nan), "No larger batch fits the training set.")
        return Advice(tiny, MLP, optimizer, speed, ShortTraining(50, 0.1, scales, intervals), 100.0)

    return make


def test_the_time_is_shortest_between_the_limits_of_machine_and_gradient(make_advice):
    advice = make_advice()
    time = (1 + 256 / SIZES) * (64 + SIZES)
    assert advice.batch_size == 128  # √(64 · 256), as exercise 2 of chapter 21 shows
    assert advice.range == (64, 256)
    np.testing.assert_allclose(advice.relative_time(256.0), time / time.min())


def test_small_batches_are_best_without_noise_and_large_ones_with_only_noise(make_advice):
    assert make_advice(1.0, 1.0).batch_size == 16
    assert make_advice(np.inf, np.inf).batch_size == 1024
    assert make_advice(256.0, np.inf).batch_size == 128
    assert make_advice(256.0, np.inf).range == (64, 1024)


def test_the_learning_rate_follows_the_batch_size_only_below_the_noise_scale(make_advice):
    assert make_advice(1e6, 1e6).learning_rate(128) == pytest.approx(0.4)
    assert make_advice(1e6, 1e6, "adam").learning_rate(128) == pytest.approx(0.2)
    assert make_advice(1.0, 1.0).learning_rate(1024) == pytest.approx(0.1)
    assert make_advice().learning_rate(32) == 0.1


def test_its_page_says_why_and_how_sure_it_is(make_advice, capsys):
    make_advice(64.0, 1024.0).show([])
    page = " ".join(capsys.readouterr().out.split())
    assert "Use a batch size of 64; 32 to 512 are about as good." in page
    assert "shortest at 64 early, and at 256 later" in page
    assert "the batch size could grow too" in page
    assert "noise scale is 64 (95 % interval 58 to 70) early" in page


def test_a_noise_scale_that_cannot_be_measured_is_doubtful(make_advice):
    advice = make_advice(np.inf, np.inf)
    assert "too large to measure early" in " ".join(advice.reasons())
    assert "to a factor of two at best" in " ".join(advice.doubts())


def test_its_figure_and_its_json_have_both_times(make_advice):
    with plots.style("page"):
        assert len(make_advice().draw().axes) == 2
    record = make_advice().record()
    assert list(record["relative_time"]) == ["early", "late"]
    assert record["recommended"] == {"batch_size": 128, "range": (64, 256), "learning_rate": 0.3}
    assert record["step_seconds"] is not None


def test_a_training_set_that_is_too_small_is_refused(tiny):
    with pytest.raises(InvalidInput, match="tiny has 50 training samples; advice needs at least 64"):
        advise(Lab(tiny, 1))


def store_speeds(lab, seconds):
    """Store made-up seconds of a step by batch size; test_cost.py measures them, each in a process of its own."""
    for size, step in seconds.items():
        columns = {"step_seconds": np.full(3, step), "memory": np.float64(1e6)}
        lab.store.write(Throughput(size).key(lab.dataset, lab.model, 0), Result(columns, {}, {"bstudy": "0"}))


def test_the_command_measures_what_is_missing_until_a_batch_does_not_fit_and_recommends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    random, labels = np.random.default_rng(0), np.arange(130) % 2
    x = random.normal(size=(130, 6)) + labels[:, None]
    np.savez(tmp_path / "mine.npz", x_train=x[:100], y_train=labels[:100], x_test=x[100:], y_test=labels[100:])
    (tmp_path / "limited.py").write_text(LIMITED)
    store_speeds(Lab("mine.npz", [0], model="limited:limited"), {16: 1e-3, 32: 1.1e-3})
    words = ["--dataset", "mine.npz", "--model", "limited:limited", "--budget", "10m", "--format", "svg"]
    done = CliRunner().invoke(main, ["advise", *words])
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "bstudy-out" / "advice.json").read_text(encoding="utf-8"))
    page = " ".join(done.stdout.split())
    assert record["batch_sizes"] == [16, 32]
    assert record["step_seconds"] == [1e-3, 1.1e-3]
    assert record["recommended"]["batch_size"] in record["batch_sizes"]
    assert "A batch of 64 does not fit: " in page
    assert "Use a batch size of" in page
    assert "Measuring how fast it trains at a batch size of 16 ..." in done.stderr
    assert (tmp_path / "bstudy-out" / "advice.svg").stat().st_size > 1000
