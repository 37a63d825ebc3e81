"""The edges of what can be asked: two classes, one sample a batch, one batch an epoch, steps of every size."""

import numpy as np
import pytest

from bstudy import GradientTrials, Lab, Recipe, SingleBatches, StepNorms, Target
from bstudy.data import standardised


@pytest.fixture(scope="module")
def two():
    """Thirty samples to train on, of two classes."""
    labels = np.arange(40) % 2
    samples = np.random.default_rng(3).normal(size=(40, 5)) + labels[:, None]
    return standardised("two", samples[:30], labels[:30], samples[30:], labels[30:])


@pytest.mark.parametrize("batch_size", [1, 30], ids=["one sample", "the training set"])
def test_the_edges_of_the_batch_size_are_measured(two, batch_size):
    start = Recipe.sgd(batch_size, 0.05, 2)
    runs = Lab(two, 1, quiet=True).run(
        {
            "sgd": start,
            "adam": Recipe.adam(batch_size, 0.001, 1, norms=True),
            "trials": GradientTrials(start, batch_sizes=(1, batch_size), trials=2, samples=batch_size),
            "single": SingleBatches(start, batch_sizes=(1, batch_size), draws=5),
            "steps": StepNorms(start, batch_sizes=(1, batch_size), update="sgd"),
            "target": Target.sgd(batch_size, 0.05, 2, 0.5),
        }
    )
    assert runs["sgd"]["loss"].shape == (1, 2 * -(-30 // batch_size))
    assert not any(run.diverged.any() for run in runs.values())
    assert (runs["trials"]["histogram"].sum(axis=-1).sum(axis=-1) == 2 * 1024 * 2).all()


def test_a_run_that_diverges_takes_what_begins_from_it_with_it(two):
    lost = Recipe.sgd(10, 1e20, 1)
    runs = Lab(two, 2, quiet=True).run(
        {
            "lost": lost,
            "longer": lost.then(epochs=2),
            "calmer": lost.then(learning_rate=0.01),
            "trials": GradientTrials(lost, batch_sizes=(1, 8), trials=2, samples=8),
            "target": Target.sgd(10, 1e20, 2, 1.0),
        }
    )
    assert {role: run.diverged.tolist() for role, run in runs.items()} == {role: [True, True] for role in runs}
