"""The advice: from known speeds and noise scales to the batch size, and the command from one end to the other."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from bstudy import draw
from bstudy.advise import Advice
from bstudy.cli import main

SIZES = np.array([16, 32, 64, 128, 256, 512, 1024])


@pytest.fixture
def advice(tiny):
    """On a machine where a step takes as long as 64 samples more, with a noise scale of 256."""

    def made(early=256.0, late=256.0, optimizer="sgd"):
        scales = np.array([early, late])
        intervals = np.stack([0.9 * scales, 1.1 * scales], axis=1)
        steps, memory = 1e-5 * (64 + SIZES), np.full(7, np.nan)
        return Advice(tiny, optimizer, SIZES, steps, memory, "", 50, 32, 0.1, scales, intervals, 100.0)

    return made


def test_the_least_time_is_between_the_machines_size_and_the_noise_scale(advice):
    assert advice().batch_size == 128  # √(64 · 256), as exercise 2 of chapter 21 shows
    assert advice().range == (64, 256)
    time = (1 + 256 / SIZES) * (64 + SIZES)
    np.testing.assert_allclose(advice().relative_time(256.0), time / time.min())


def test_without_noise_small_batches_win_and_with_nothing_else_large_ones(advice):
    assert advice(1.0, 1.0).batch_size == 16
    assert advice(np.inf, np.inf).batch_size == 1024
    assert advice(256.0, np.inf).batch_size == 128 and advice(256.0, np.inf).range == (64, 1024)


def test_the_learning_rate_follows_the_batch_below_the_noise_scale_alone(advice):
    assert advice(1e6, 1e6).learning_rate(128) == pytest.approx(0.4)
    assert advice(1e6, 1e6, "adam").learning_rate(128) == pytest.approx(0.2)
    assert advice(1.0, 1.0).learning_rate(1024) == pytest.approx(0.1)
    assert advice().learning_rate(32) == 0.1


def test_its_page_tells_why_and_how_sure_it_is(advice, capsys):
    advice(64.0, 1024.0).show([])
    page = " ".join(capsys.readouterr().out.split())
    assert "Use a batch size of 64; 32 to 512 are about as good." in page
    assert "least at 64 early, and 256 later" in page and "the batch could grow too" in page
    assert "noise scale is 64 (95 % interval 58 to 70) early" in page
    with draw.style("page"):
        assert len(advice().figure().axes) == 2


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


def test_the_command_measures_up_to_where_it_no_longer_fits_and_advises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    random, labels = np.random.default_rng(0), np.arange(130) % 2
    x = random.normal(size=(130, 6)) + labels[:, None]
    np.savez(tmp_path / "mine.npz", x_train=x[:100], y_train=labels[:100], x_test=x[100:], y_test=labels[100:])
    (tmp_path / "limited.py").write_text(LIMITED)
    words = ["--dataset", "mine.npz", "--model", "limited:limited", "--budget", "10m", "--format", "svg"]
    done = CliRunner().invoke(main, ["advise", *words])
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "bstudy-out" / "advice.json").read_text())
    page = " ".join(done.stdout.split())
    assert record["batch_sizes"] == [16, 32] and "At 64 it no longer fits" in page
    assert record["recommended"]["batch_size"] in record["batch_sizes"] and "Use a batch size of" in page
    assert (tmp_path / "bstudy-out" / "advice.svg").stat().st_size > 1000


@pytest.mark.parametrize("budget", ["0", "soon", "-2m", "nan", "2d", ""])
def test_a_wrong_budget_gets_a_sentence(bstudy, budget):
    done = bstudy("advise", "--budget", budget)
    assert done.returncode == 2 and "such as 90s, 2m or 1h" in done.stderr
