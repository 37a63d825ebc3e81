"""What a batch size costs, and the evaluation that does not depend on it."""

import numpy as np
import pytest

from bstudy import Cost, Evaluation, Lab, Recipe
from bstudy.errors import InvalidInput
from bstudy.measure.cost import bytes_used
from bstudy.store import Store


@pytest.fixture(scope="module")
def lab(tiny, tmp_path_factory):
    return Lab(tiny, 1, Store(tmp_path_factory.mktemp("home")), quiet=True)


def test_a_cost_is_measured_and_predicted(lab):
    (run,) = lab.run({"cost": Cost(16, passes=3)}).values()
    assert run["seconds"].shape == (1, 3) and (run["seconds"] > 0).all()
    assert run["compile_seconds"] > 0.05
    parameters = 16 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 3 + 3
    assert run["parameters"] == parameters and run["weight_bytes"] == run["gradient_bytes"] == 4 * parameters
    assert run["activation_bytes"] == 2 * 4 * 16 * (16 + 1024 + 1024 + 3)
    assert np.isnan(bytes_used()).any() or 1e6 < run["memory"] < 1e9
    assert not run.diverged.any()


def test_memory_that_cannot_be_read_is_no_divergence(lab):
    (run,) = lab.run({"cost": Cost(16, passes=3)}).values()
    run._columns["memory"] = np.array([np.nan])
    assert not run.diverged.any()


def test_evaluation_is_the_same_at_every_batch_size(lab):
    recipe = Recipe.sgd(16, 0.1, 2)
    runs = lab.run({"evaluation": Evaluation(recipe, (20, 1, 7)), "trained": recipe})
    found = runs["evaluation"]
    assert found.experiment.batch_sizes == (1, 7, 20)
    np.testing.assert_array_equal(found["accuracy"], np.repeat(found["accuracy"][:, :1], 3, axis=1))
    np.testing.assert_allclose(found["loss"], runs["trained"].final("test_loss") * np.ones((1, 3)), rtol=1e-6)


def test_what_cannot_be_measured_is_told():
    for wrong in (lambda: Cost(0), lambda: Cost(8, passes=0), lambda: Cost(8, "sleep")):
        with pytest.raises(InvalidInput):
            wrong()
