"""Training to a target: when it is reached, and going on from where it was left."""

import itertools

import numpy as np
import pytest

from bstudy import Recipe, Target, critical_batch_size
from bstudy.errors import InvalidInput
from bstudy.measure import target, train


def answer(question, data, begun=None):
    *_, (share, result) = target.measure(question, data, 0, begun, ())
    assert share == 1 and result.complete
    return result.columns


def test_the_target_is_reached_when_the_recipe_reaches_it(tiny):
    *_, (_, trained) = train.measure(Recipe.sgd(16, 0.05, 20), tiny, 0)
    accuracy = trained.columns["test_accuracy"]
    wanted = float(accuracy.max())
    found = answer(Target.sgd(16, 0.05, 20, wanted), tiny)
    assert found["epochs"] <= np.argmax(accuracy >= wanted)  # which looks at the ends of epochs alone
    assert found["epochs"] > 0 and found["seconds"] > 0
    steps_an_epoch = 4  # 50 samples are three batches of 16, and one of 2
    epochs, rest = divmod(found["steps"], steps_an_epoch)
    assert found["epochs"] == pytest.approx(epochs + min(rest * 16, 50) / 50)


def test_a_target_that_is_out_of_reach_is_infinitely_far_and_a_diverged_run_nowhere(tiny):
    assert answer(Target.sgd(50, 1e-6, 2, 1.0), tiny) == dict.fromkeys(("steps", "epochs", "seconds"), np.inf)
    assert np.isnan(list(answer(Target.sgd(16, 1e20, 2, 0.99), tiny).values())).all()


@pytest.mark.parametrize("stop", [5, 9])
def test_taken_up_again_it_ends_at_the_same_step(tiny, stop):
    question = Target.sgd(16, 0.001, 4, 0.999)
    *_, whole = (answer(question, tiny),)
    _, partial = next(itertools.islice(target.measure(question, tiny, 0, None, ()), stop, None))
    assert 0 < partial.share < 1
    again = answer(question, tiny, partial)
    assert (again["steps"], again["epochs"]) == (whole["steps"], whole["epochs"])


def test_a_target_is_a_share():
    for wrong in (0, 95, -1, np.nan, True):
        with pytest.raises(InvalidInput, match="between 0 and 1"):
            Target.sgd(16, 0.1, 2, wrong)


def test_the_critical_batch_size_of_known_steps():
    sizes = np.array([16, 64, 256, 1024])
    steps = np.stack([100 * (1 + 50 / sizes), 7 * (1 + 900 / sizes)])
    least, critical = critical_batch_size(sizes, steps)
    np.testing.assert_allclose(least, [100, 7], rtol=1e-4)
    np.testing.assert_allclose(critical, [50, 900], rtol=1e-4)
    random = np.random.default_rng(0)
    noisy = steps[0] * np.exp(0.05 * random.normal(size=(200, 4)))
    assert np.median(critical_batch_size(sizes, noisy)[1]) == pytest.approx(50, rel=0.05)
    steps[0, :2], steps[1, 0] = np.inf, np.nan
    _, critical = critical_batch_size(sizes, steps)
    assert np.isnan(critical[0]) and critical[1] == pytest.approx(900, rel=1e-4)
