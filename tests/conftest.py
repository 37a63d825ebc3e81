import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bstudy.data import load

MNIST = Path(os.environ.get("BSTUDY_MNIST", "mnist.npz"))


def pytest_collection_modifyitems(items):
    missing = pytest.mark.skip(reason=f"MNIST is not at {MNIST}: name its file in BSTUDY_MNIST")
    for item in items:
        if "mnist" in item.keywords and not MNIST.exists():
            item.add_marker(missing)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Every test has a store of its own, and none of the user's settings."""
    monkeypatch.setenv("BSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BSTUDY_DATASET", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    """A learnable data set of 50 training and 20 test samples of 3 classes, as a file."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(3, 4, 4))
    labels = np.arange(70) % 3
    samples = centres[labels] + 0.5 * random.normal(size=(70, 4, 4))
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, x_train=samples[:50], y_train=labels[:50], x_test=samples[50:], y_test=labels[50:])
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file):
    return load(tiny_file)


@pytest.fixture
def bstudy(tmp_path):
    """Run the command in a process of its own, from an empty folder; gives what it printed and its exit status."""

    def run(*words, **environment):
        command = [sys.executable, "-m", "bstudy", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | environment, timeout=300
        )

    return run


@pytest.fixture
def mnist():
    return load(MNIST)
