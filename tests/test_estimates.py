"""The announced time compared with the time it takes, on digits (pytest -m slow -s; a quarter of an hour)."""

import time

import pytest

from bstudy import Lab
from bstudy.chapter import chapters

FACTOR = 2


@pytest.mark.slow
def test_estimates_are_within_a_factor_of_two(tmp_path, monkeypatch, tiny, get_trainer):
    """Measure each chapter with one seed and an empty store. Loading TensorFlow is not included."""
    get_trainer(tiny)
    lines, wrong = [], []
    for chapter in chapters():
        monkeypatch.setenv("BSTUDY_HOME", str(tmp_path / chapter.name))
        lab, experiments = Lab("digits", 1, quiet=True), chapter.module.experiments(**chapter.parameters)
        _, estimate = lab.missing(experiments)
        started = time.perf_counter()
        lab.run(experiments)
        measured = time.perf_counter() - started
        lines.append(
            f"{chapter.name}: {estimate:.1f} s announced, {measured:.1f} s measured: {estimate / measured:.2f}"
        )
        print(lines[-1], flush=True)
        if not 1 / FACTOR <= estimate / measured <= FACTOR:
            wrong.append(chapter.name)
    assert not wrong, "\n".join(lines)
