import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bstudy import Runs, book, draw
from bstudy.data import load
from bstudy.models import Model
from bstudy.page import Page

SMALL_MODEL = """
from keras import Input, Sequential, layers

def small(input_shape, classes):
    hidden = [layers.Dense(8, activation="relu"), layers.Dense(8, activation="relu")]
    return Sequential([Input(input_shape), layers.Flatten(), *hidden, layers.Dense(classes)])
"""
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
    for name in ("BSTUDY_DATASET", "BSTUDY_DEVICES", "BSTUDY_MODEL", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
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


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The name of a reader's model, for what takes half a minute among the million weights of the study's."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "of_a_reader.py").write_text(SMALL_MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "of_a_reader:small"


@pytest.fixture
def talkative():
    """How a program begins that tells its progress without pauses."""
    return "from bstudy import progress; progress.SECONDS_BETWEEN_LINES = 0; "


@pytest.fixture
def bstudy(tmp_path):
    """Run the command in a process of its own, from an empty folder; gives what it printed and its exit status."""

    def run(*words, **environment):
        command = [sys.executable, "-m", "bstudy", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | environment, timeout=300
        )

    return run


@pytest.fixture(scope="session")
def redrawn():
    """Draw the figure of a page's json again, from what that says alone, and give the bytes of the SVG."""

    def redraw(record):
        chapter, file = book.chapter(record["chapter"]), io.BytesIO()
        parameters = {name: tuple(v) if isinstance(v, list) else v for name, v in record["parameters"].items()}
        runs = {}
        for role, experiment in chapter.module.experiments(**parameters).items():
            told = record["runs"][role]
            assert told["experiment"] == repr(experiment)
            columns = {name: np.array(column, told["dtypes"][name]) for name, column in told["columns"].items()}
            runs[role] = Runs(experiment, record["seeds"], columns, samples=record["dataset"]["training_samples"])
        facts = record["dataset"]
        dataset = SimpleNamespace(name=facts["name"], model=Model(facts["model"], facts["model_fingerprint"]))
        with draw.style("page"):
            draw.save(Page(chapter, parameters, dataset, record["seeds"], runs, []).figure(), "svg", chapter.name, file)
        return file.getvalue()

    return redraw


@pytest.fixture
def mnist():
    return load(MNIST)


@pytest.fixture(scope="session")
def numpy_gradients():
    def gradients(weights, x, y):
        """Mean cross-entropy of the two-hidden-layer network, and its gradients by the chain rule, in double."""
        w1, b1, w2, b2, w3, b3 = (weight.astype(np.float64) for weight in weights)
        x = x.reshape(len(x), -1).astype(np.float64)
        h1 = np.maximum(x @ w1 + b1, 0)
        h2 = np.maximum(h1 @ w2 + b2, 0)
        logits = h2 @ w3 + b3
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        d3 = (p - np.eye(p.shape[1])[y]) / len(y)
        d2 = d3 @ w3.T * (h2 > 0)
        d1 = d2 @ w2.T * (h1 > 0)
        return loss, [x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)]

    return gradients
