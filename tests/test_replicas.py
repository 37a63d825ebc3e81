"""Many replicas are one device, to rounding."""

import numpy as np
import pytest

from bstudy import Lab, Recipe, Replicated
from bstudy.errors import InvalidInput
from bstudy.measure.replicas import shares
from bstudy.measure.train import measure
from bstudy.store import Store


def answer(recipe, data):
    *_, (_, result) = measure(recipe, data, 0)
    return result


@pytest.mark.parametrize("kind", [Recipe.sgd, Recipe.adam])
@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_replicas_do_what_one_device_does(tiny, kind, replicas):
    recipe = kind(16, 0.01, 2, norms=True)  # 16 samples and the last 2 of an epoch, in 3 shares: 6, 5, 5, and 1, 1, 0
    one, several = answer(recipe, tiny), answer(Replicated(recipe.phases, True, replicas), tiny)
    for name in ("loss", "gradient_norm", "test_loss", "weight_distance", "bias_distance"):
        np.testing.assert_allclose(several.columns[name], one.columns[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(several.columns["update_norm"], one.columns["update_norm"], rtol=1e-3)
    for name, weights in one.state.items():
        if name.startswith("weight_"):
            away = np.abs(several.state[name] - weights).mean()
            assert away < 1e-6, name
    assert one.about["replicas"] == 1 and several.about["replicas"] == replicas


def test_shares_are_even_and_whole():
    for batch_size in (1, 2, 7, 64):
        for replicas in (1, 2, 3, 8):
            found = shares(batch_size, replicas)
            assert [first for first, _ in found] == [sum(size for _, size in found[:i]) for i in range(replicas)]
            sizes = [size for _, size in found]
            assert sum(sizes) == batch_size and max(sizes) - min(sizes) <= 1


def test_devices_are_recorded_and_no_part_of_the_question(tiny, tmp_path):
    recipe, store = Recipe.sgd(16, 0.05, 2), Store(tmp_path)
    two = Lab(tiny, 1, store, quiet=True, devices=2).run({"run": recipe})["run"]
    assert two.about[0]["replicas"] == 2
    one = Lab(tiny, 1, Store(tmp_path / "other"), quiet=True).run({"run": recipe})["run"]
    np.testing.assert_allclose(two["test_loss"], one["test_loss"], rtol=1e-5)
    assert Lab(tiny, 1, store, quiet=True).run({"run": recipe})["run"].about[0]["replicas"] == 2  # not measured again


def test_devices_that_are_not_there_are_told(tiny, tmp_path):
    with pytest.raises(InvalidInput, match="at most 8 here, not 9"):
        Lab(tiny, 1, Store(tmp_path), quiet=True, devices=9).run({"run": Recipe.sgd(16, 0.05, 1)})
    for wrong in (0, -1, "two", 1.5):
        with pytest.raises(InvalidInput, match="devices must be"):
            Lab(tiny, 1, Store(tmp_path), devices=wrong)
    with pytest.raises(InvalidInput, match="replicas must be at most 8"):
        Replicated(Recipe.sgd(16, 0.05, 1).phases, replicas=9)
