import functools
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bstudy.chapter import chapter
from bstudy.data import load
from bstudy.experiments.base import Context
from bstudy.models import MLP, find_model

SMALL_MODEL = """
from keras import Input, Sequential, layers

def small(input_shape, classes):
    hidden = [layers.Dense(8, activation="relu"), layers.Dense(8, activation="relu")]
    return Sequential([Input(input_shape), layers.Flatten(), *hidden, layers.Dense(classes)])

def one_layer(input_shape, classes):
    return Sequential([Input(input_shape), layers.Flatten(), layers.Dense(classes, use_bias=False)])
"""
MNIST = Path(os.environ.get("BSTUDY_MNIST", "mnist.npz"))
# A shell that runs pytest in the background lets it ignore Ctrl-C, and so would the commands that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
VARIABLES = ("BSTUDY_CLUSTER", "BSTUDY_DATASET", "BSTUDY_DEVICES", "BSTUDY_MODEL", "TF_CONFIG")


def pytest_collection_modifyitems(items):
    missing = pytest.mark.skip(reason=f"MNIST is not at {MNIST}: set BSTUDY_MNIST to its file")
    for item in items:
        if "mnist" in item.keywords and not MNIST.exists():
            item.add_marker(missing)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Every test has a store of its own, none of the user's settings, and by default one process."""
    monkeypatch.setenv("BSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("bstudy.machine.default_jobs", lambda tasks: 1)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    """A learnable data set of 50 training and 20 test samples of 3 classes, as a file."""
    random = np.random.default_rng(1)
    centers = random.normal(size=(3, 4, 4))
    labels = np.arange(70) % 3
    samples = centers[labels] + 0.5 * random.normal(size=(70, 4, 4))
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, x_train=samples[:50], y_train=labels[:50], x_test=samples[50:], y_test=labels[50:])
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file):
    return load(tiny_file)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The name of a reader's model with few weights, for what takes half a minute with the default model."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "small_models.py").write_text(SMALL_MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "small_models:small"


@pytest.fixture(scope="session")
def get_trainer():
    """get_trainer(dataset, model, replicas=1) returns one trainer for all tests of this process: compiling is slow."""
    from bstudy.distribute import make_trainer, start_devices  # only these tests need TensorFlow

    trainers = {}

    def get(dataset, model=MLP, replicas=1):
        start_devices(None)
        key = id(dataset), model, replicas
        if key not in trainers:
            trainers[key] = dataset, make_trainer(dataset, model, replicas)
        return trainers[key][1]

    return get


@pytest.fixture
def shared_trainers(monkeypatch, get_trainer):
    """A Lab in this process uses the trainers of the other tests, in place of compiling its own."""
    monkeypatch.setattr("bstudy.worker.make_trainer", get_trainer)


@pytest.fixture(scope="session")
def steps_of(tiny, get_trainer):
    """steps_of(experiment) measures without a Lab and a store, and yields (progress, result)."""

    def measure(experiment, dataset=tiny, seed=0, model=MLP, resume_from=None):
        model = find_model(model) if isinstance(model, str) else model
        required = tuple(last(measure(each, dataset, seed, model)) for each in experiment.requires())
        yield from experiment.measure(
            Context(dataset, seed, lambda replicas: get_trainer(dataset, model, replicas), required, resume_from)
        )

    return measure


def last(steps):
    *_, (progress, result) = steps
    assert progress == 1
    assert result.complete
    return result


@pytest.fixture(scope="session")
def measure(steps_of):
    """measure(experiment) returns its complete Result, after those of the experiments that it requires."""

    def complete(experiment, *arguments, **settings):
        return last(steps_of(experiment, *arguments, **settings))

    return complete


@pytest.fixture(scope="session")
def measure_small(measure, small_model):
    """measure_small(experiment) does so with the small model, and remembers the results."""
    once = functools.cache(functools.partial(measure, model=small_model))

    def complete(experiment, resume_from=None):
        if resume_from is None:
            return once(experiment)
        return measure(experiment, model=small_model, resume_from=resume_from)

    return complete


@pytest.fixture(scope="session")
def assert_same_bits():
    """assert_same_bits(a, b) compares two Results, except their seconds, which differ each time."""

    def compare(a, b):
        assert a.columns.keys() == b.columns.keys()
        assert a.state.keys() == b.state.keys()
        for name in a.columns.keys() - {"seconds"}:
            np.testing.assert_array_equal(a.columns[name], b.columns[name], err_msg=name)
        for name in a.state:
            np.testing.assert_array_equal(a.state[name], b.state[name], err_msg=name)

    return compare


@pytest.fixture
def bstudy(tmp_path):
    """Run the command in a process of its own, from an empty folder."""

    def run(*words, **environment):
        command = [sys.executable, "-m", "bstudy", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | environment, timeout=300
        )

    return run


@pytest.fixture(scope="session")
def redrawn():
    """redrawn(record) draws the figure of a page's JSON again, and returns the bytes of the SVG."""

    def redraw(record):
        from bstudy import plots, report

        found = chapter(record["chapter"])
        runs, file = report.runs_from_record(found, record), io.BytesIO()
        with plots.style("page"):
            figure = plots.make_figure(lambda fig: found.module.figure(runs, fig), record["headline"], record["footer"])
            plots.save(figure, "svg", found.name, file)
        return file.getvalue()

    return redraw


@pytest.fixture
def mnist():
    return load(MNIST)


@pytest.fixture(scope="session")
def numpy_gradients():
    def gradients(weights, x, y):
        """Return the mean cross-entropy of a network with two hidden layers, and its gradients, in double precision."""
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
