"""The published numbers come out on MNIST. It takes minutes: pytest -m slow."""

import pytest

from bstudy import Lab, Recipe

pytestmark = [pytest.mark.slow, pytest.mark.mnist]


@pytest.fixture
def final(mnist):
    """final(recipe) returns the value of a column at the end of a run."""

    def measure(recipe):
        run = Lab(mnist, seeds=[0], quiet=True).run(recipe)
        return lambda name: run.final(name, over=1)[0]

    return measure


def test_sgd_64(final):
    end = final(Recipe.sgd(64, 0.01, 30))
    assert end("weight_distance") == pytest.approx(6.71, abs=0.15)
    assert end("bias_distance") == pytest.approx(0.108, abs=0.01)
    assert end("weight_norm") == pytest.approx(44.9, abs=0.2)
    assert end("cosines") == pytest.approx([0.989, 0.993, 0.924], abs=0.006)
    assert end("test_accuracy") == pytest.approx(98.1, abs=0.3)


def test_sgd_1024(final):
    end = final(Recipe.sgd(1024, 0.01, 30))
    assert end("test_accuracy") == pytest.approx(95.4, abs=0.4)
    assert end("weight_norm") == pytest.approx(44.1, abs=0.2)


def test_sgd_1024_at_ten_times_the_learning_rate(final):
    end = final(Recipe.sgd(1024, 0.1, 30))
    assert end("test_accuracy") == pytest.approx(97.9, abs=0.3)
    assert end("cosines") == pytest.approx([0.991, 0.994, 0.932], abs=0.006)


def test_adam_64(final):
    end = final(Recipe.adam(64, 0.01, 30))
    assert end("weight_distance") == pytest.approx(250, abs=15)
    assert end("test_accuracy") == pytest.approx(95.5, abs=1)
    assert end("cosines")[:2] == pytest.approx([0.13, 0.36], abs=0.02)
    assert end("bias_distance") == pytest.approx(18.3, rel=0.3)  # it varies by a seventh from seed to seed
