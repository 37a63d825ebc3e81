"""The line through two trained points."""

import numpy as np
import pytest

from bstudy import Interpolation, Recipe
from bstudy.errors import InvalidInput

ONE, OTHER = Recipe.sgd(16, 0.1, 3), Recipe.sgd(50, 0.1, 2)


def test_the_line_passes_through_both_points(measure_small):
    line = measure_small(Interpolation((ONE, OTHER), points=4)).columns
    one, other = measure_small(ONE).columns, measure_small(OTHER).columns
    assert line["alpha"].tolist() == [-1, 0, 1, 2]
    for name in ("loss", "accuracy"):
        for part, column in (("train", "train_subset"), ("test", "test")):
            ends = [one[f"{column}_{name}"][-1], other[f"{column}_{name}"][-1]]
            np.testing.assert_allclose(line[f"{part}_{name}"][1:3], ends, rtol=1e-5)


@pytest.mark.parametrize("trained", [ONE, (ONE,), (ONE, OTHER, ONE)])
def test_a_line_needs_two_trainings(trained):
    with pytest.raises(InvalidInput, match="trained must be two recipes"):
        Interpolation(trained)
