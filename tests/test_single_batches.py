"""Single batches, compared with the gradient of every sample in NumPy."""

import numpy as np
import pytest

from bstudy import Recipe, SingleBatches
from bstudy.errors import InvalidInput
from bstudy.models import find_model

START = Recipe.sgd(16, 0.1, 1)


def test_the_norm_follows_its_law(tiny, measure_small, numpy_gradients):
    experiment = SingleBatches(START, batch_sizes=(1, 4, 16, 64), draws=4000)
    columns, state = measure_small(experiment).columns, measure_small(START).state
    weights = [state[f"weight_{i}"] for i in range(6)]
    single = np.array(
        [numpy_gradients(weights, tiny.x_train[i : i + 1], tiny.y_train[i : i + 1])[1][4] for i in range(50)]
    )
    mean = single.mean(axis=0)
    assert columns["squared_gradient_norm"] == pytest.approx(np.sum(mean**2), rel=1e-3)
    assert columns["noise_trace"] == pytest.approx(np.sum((single - mean) ** 2) / 50, rel=1e-3)
    sizes = np.array(experiment.batch_sizes)
    law = sizes * columns["noise_trace"] + sizes**2 * columns["squared_gradient_norm"]
    np.testing.assert_allclose((columns["norm"].astype(float) ** 2).mean(axis=1), law, rtol=0.1)


def test_a_model_without_a_dense_last_layer_is_refused(tiny, get_trainer, small_model, measure_small, monkeypatch):
    monkeypatch.setattr(get_trainer(tiny, find_model(small_model)).model.layers[-1], "activation", abs)
    with pytest.raises(InvalidInput, match="must end in a Dense layer without an activation"):
        measure_small(SingleBatches(START))
