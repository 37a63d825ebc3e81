"""The edges of what can be asked for: two classes, one sample a batch, one batch an epoch, steps of every size."""

import numpy as np
import pytest

from bstudy import GradientTrials, Lab, Recipe, SingleBatches, StepNorms, TimeToTarget
from bstudy.data import standardize


@pytest.fixture(scope="module")
def two_classes():
    """Thirty samples to train on, of two classes."""
    labels = np.arange(40) % 2
    samples = np.random.default_rng(3).normal(size=(40, 5)) + labels[:, None]
    return standardize("two", samples[:30], labels[:30], samples[30:], labels[30:])


@pytest.mark.usefixtures("shared_trainers")
@pytest.mark.parametrize("batch_size", [1, 30], ids=["one sample", "the training set"])
def test_the_extreme_batch_sizes_are_measured(two_classes, small_model, batch_size):
    start = Recipe.sgd(batch_size, 0.05, 2)
    runs = Lab(two_classes, 1, quiet=True, model=small_model).run(
        {
            "sgd": start,
            "adam": Recipe.adam(batch_size, 0.001, 1, record_norms=True),
            "trials": GradientTrials(start, batch_sizes=(1, batch_size), trials=2, samples=batch_size),
            "single": SingleBatches(start, batch_sizes=(1, batch_size), draws=5),
            "steps": StepNorms(start, batch_sizes=(1, batch_size), frozen=False),
            "target": TimeToTarget.sgd(batch_size, 0.05, 2, 50),
        }
    )
    assert runs["sgd"]["loss"].shape == (1, 2 * -(-30 // batch_size))
    entries = 8 * 2  # of the last kernel
    np.testing.assert_array_equal(runs["trials"]["histogram"].sum(axis=(2, 3)), 2 * entries)
    for name, run in runs.items():
        assert not run.diverged.any(), name
