"""The published numbers of the study come out, on MNIST (pytest -m slow; minutes)."""

import pytest

from bstudy import Lab, Recipe

pytestmark = [pytest.mark.slow, pytest.mark.mnist]


def final(mnist, recipe):
    run = Lab(mnist, seeds=[0], quiet=True).run({"run": recipe})["run"]
    return lambda name: run.final(name)[0]


def test_sgd_64(mnist):
    end = final(mnist, Recipe.sgd(64, 0.01, 30))
    assert end("weight_distance") == pytest.approx(6.71, abs=0.15)
    assert end("bias_distance") == pytest.approx(0.108, abs=0.01)
    assert end("weight_norm") == pytest.approx(44.9, abs=0.2)
    assert end("cosines") == pytest.approx([0.989, 0.993, 0.924], abs=0.006)
    assert end("test_accuracy") == pytest.approx(0.981, abs=0.003)


def test_sgd_1024(mnist):
    end = final(mnist, Recipe.sgd(1024, 0.01, 30))
    assert end("test_accuracy") == pytest.approx(0.954, abs=0.004)
    assert end("weight_norm") == pytest.approx(44.1, abs=0.2)


def test_sgd_1024_at_ten_times_the_learning_rate(mnist):
    end = final(mnist, Recipe.sgd(1024, 0.1, 30))
    assert end("test_accuracy") == pytest.approx(0.979, abs=0.003)
    assert end("cosines") == pytest.approx([0.991, 0.994, 0.932], abs=0.006)


def test_adam_64(mnist):
    end = final(mnist, Recipe.adam(64, 0.01, 30))
    assert end("weight_distance") == pytest.approx(250, abs=15)
    assert end("test_accuracy") == pytest.approx(0.955, abs=0.01)
    assert end("cosines")[:2] == pytest.approx([0.13, 0.36], abs=0.02)
    assert end("bias_distance") == pytest.approx(18.3, rel=0.3)  # from seed to seed it varies by a seventh
