"""The client of a Dask cluster with a made-up Dask: workers join, end, and are refused; messages and sentences."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

from bstudy import Lab, Memory, Recipe
from bstudy.cli import main
from bstudy.errors import BstudyError, ClusterLost, InvalidInput
from bstudy.models import MLP
from bstudy.plan import Task
from bstudy.store import Result, Store
from bstudy.worker import Setting

pytest.importorskip("distributed", reason="needs the extra 'cluster'")
from bstudy import dask_engine
from bstudy.dask_engine import Cluster, connect, versions

ONE, TWO = (Recipe.sgd(size, 0.1, 1) for size in (8, 16))


class Future:
    """One that ends when a test says so."""

    def __init__(self, key):
        self.key, self.status, self.value = key, "pending", None

    def done(self):
        return self.status != "pending"

    def end(self, value=None, status="finished"):
        self.status, self.value = status, value

    def result(self, timeout):
        return self.value

    def exception(self):
        return self.value

    def add_done_callback(self, callback):
        pass


class Client:
    """Keeps what is submitted in `calls`: (worker, name of the function, arguments, future)."""

    def __init__(self, *workers):
        self.status, self.workers, self.calls, self.canceled = "running", dict.fromkeys(workers, 1), [], []

    def nthreads(self):
        return self.workers

    def subscribe_topic(self, topic, handler):
        self.send = lambda *event: handler((0.0, event))

    def scatter(self, values, **settings):
        return values

    def submit(self, function, *arguments, key, workers, retries):
        self.calls.append((workers[0], function.__name__, arguments, Future(key)))
        return self.calls[-1][-1]

    def cancel(self, futures):
        self.canceled += futures

    def close(self):
        self.status = "closed"


class Here:
    """An engine of this process that ends with this error, or is done."""

    def __init__(self, error=None):
        self.error, self.closed = error, False

    def submit(self, task):
        self.task = task

    def next_message(self):
        if self.error:
            raise self.error
        return self.task, "done", None

    def close(self):
        self.closed = True


@pytest.fixture
def open_engine(tiny, monkeypatch):
    """open_engine(*workers) returns an engine, its client, and a function that makes tasks."""
    monkeypatch.setattr(dask_engine, "POLL_SECONDS", 0.001)
    setting = Setting(tiny, MLP)

    def make_task(experiment):
        experiment = experiment.with_replicas(1)
        return Task(setting.key(experiment, 0), experiment, 0, 1.0, frozenset())

    def make(*workers, here=None):
        client = Client(*workers)
        engine = Cluster(client, setting, Store(), lambda: here)
        return engine, client, make_task

    return make


def messages(engine, count=20):
    """Return what an engine reports now, without the numbers of workers."""
    found = [engine.next_message() for _ in range(count)]
    return [message for message in found if message and message[1] != "workers"]


def let_join(engine, client, shares_store=True):
    """End the steps of the workers that join, and return the arguments of what they measure then."""
    messages(engine)
    for step, value in (("join", (versions(), shares_store)), ("WorkerProcess", None)):
        for _, name, _, future in client.calls:
            if name == step and not future.done():
                future.end(value)
        messages(engine)
    return [call for call in client.calls if call[1] == "measure"]


def test_a_worker_joins_and_measures_one_task_after_another(open_engine):
    engine, client, task = open_engine("a", "b")
    engine.submit(task(ONE))
    [(_, _, arguments, future)] = let_join(engine, client)
    assert arguments[1] == task(ONE)
    assert arguments[2] == {}
    assert engine.free_slots() == 1
    client.send(future.key, "progress", 0.5)
    client.send("of an earlier try", "progress", 0.7)
    assert messages(engine) == [(task(ONE), "progress", 0.5)]
    future.end(("done", None, None))
    assert messages(engine) == [(task(ONE), "done", None)]
    assert engine.free_slots() == 2
    engine.close()
    assert client.status == "closed"


def test_a_worker_that_does_not_see_the_store_receives_and_sends_results(open_engine):
    engine, client, task = open_engine("a")
    then = ONE.then(batch_size=4)
    begun, store = Result({"loss": np.ones(2)}, progress=1.0), Store()
    store.write(task(ONE).key, begun)
    engine.submit(task(then))
    [(_, _, arguments, future)] = let_join(engine, client, shares_store=False)
    assert arguments[2].keys() == {task(ONE).key}
    future.end(("done", None, Result({"loss": np.zeros(3)})))
    assert messages(engine) == [(task(then), "done", None)]
    assert store.read(task(then).key).columns["loss"].shape == (3,)


def test_a_worker_with_other_versions_is_not_used(open_engine, caplog):
    engine, client, task = open_engine("tcp://a")
    engine.submit(task(ONE))
    messages(engine)
    client.calls[0][-1].end((versions() | {"keras": "2.1"}, True))
    messages(engine)
    assert [name for _, name, _, _ in client.calls] == ["join"]
    reason = f"it has keras 2.1 in place of {versions()['keras']}; install the same versions"
    assert f"The worker tcp://a is not used: {reason}." in caplog.text
    assert caplog.text.count("No worker of the cluster can be used now; waiting for one") == 1


@pytest.mark.parametrize(("step", "name"), [(0, "join"), (1, "WorkerProcess")])
def test_a_worker_that_cannot_join_is_not_used(open_engine, caplog, step, name):
    engine, client, task = open_engine("tcp://a")
    engine.submit(task(ONE))
    messages(engine)
    if step:
        client.calls[0][-1].end((versions(), True))
        messages(engine)
    assert client.calls[step][1] == name
    client.calls[step][-1].end(BstudyError("there is no module 'mine'"), "error")
    messages(engine)
    assert "The worker tcp://a is not used: there is no module 'mine'." in caplog.text
    assert len(client.calls) == step + 1


def test_the_task_of_a_lost_worker_fails_and_can_be_sent_elsewhere(open_engine, caplog):
    engine, client, task = open_engine("a")
    engine.submit(task(ONE))
    let_join(engine, client)
    del client.workers["a"]
    assert messages(engine) == [(task(ONE), "failed", "the worker a was lost")]
    assert len(client.canceled) == 1
    engine.submit(task(ONE))
    assert messages(engine) == []
    assert "waiting for one" in caplog.text
    client.workers["b"] = 1
    assert let_join(engine, client)[-1][0] == "b"


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ((("stopped", None, None), "finished"), ("failed", "the worker a ended")),
        ((ValueError("no"), "error"), ("failed", "ValueError: no")),
        ((None, "cancelled"), ("failed", "the worker a was lost")),
        ((("refused", "an error", None), "finished"), ("refused", "an error")),
    ],
)
def test_how_a_task_ends(open_engine, end, message):
    engine, client, task = open_engine("a")
    engine.submit(task(ONE))
    [(_, _, _, future)] = let_join(engine, client)
    future.end(*end)
    assert messages(engine) == [(task(ONE), *message)]


def test_the_end_of_the_scheduler_is_an_error(open_engine):
    engine, client, task = open_engine("a")
    engine.submit(task(ONE))
    let_join(engine, client)
    client.status = "connecting"
    with pytest.raises(ClusterLost, match=r"the scheduler of the cluster ended, .* all measured results are stored"):
        messages(engine)


def test_a_stop_ends_what_runs_and_what_waits(open_engine):
    engine, client, task = open_engine("a")
    engine.submit(task(ONE))
    let_join(engine, client)
    engine.submit(task(TWO))
    engine.stop()
    assert messages(engine) == [(task(TWO), "stopped", None), (task(ONE), "stopped", None)]
    assert len(client.canceled) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, ("done", None)),
        (InvalidInput("too large"), ("refused", "too large")),
        (ValueError("no"), ("failed", "ValueError: no")),
    ],
)
def test_time_and_memory_are_measured_here(open_engine, error, message):
    here = Here(error)
    engine, client, task = open_engine("a", here=here)
    assert engine.free_slots() == 1
    engine.submit(task(Memory((8,))))
    assert engine.free_slots() == 0
    [(_, kind, value)] = messages(engine, 1)
    assert (kind, str(value) if error else value) == message
    assert client.calls == []
    assert here.closed


def test_the_log_of_a_worker_is_shown(open_engine, caplog):
    engine, client, _ = open_engine()
    client.send("key", "log", [30, "the disk is full"])
    messages(engine)
    assert caplog.messages == ["the disk is full"]


@pytest.mark.parametrize(
    "words", [["chapter", "1"], ["book"], ["train", "--batch-size", "8", "--learning-rate", "0.1", "--epochs", "1"]]
)
def test_a_cluster_is_an_address_or_a_scheduler_file(words):
    sentence = "bstudy: 'no.json' is neither an address such as tcp://host:8786 nor a scheduler file\n"
    for option, variables in ((["--cluster", "no.json"], {}), ([], {"BSTUDY_CLUSTER": "no.json"})):
        done = CliRunner().invoke(main, [*words, *option], env=variables)
        assert (done.exit_code, done.stderr) == (2, sentence)


def test_a_scheduler_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_engine, "CONNECT_SECONDS", 0.2)
    with pytest.raises(ClusterLost, match=r"no scheduler of a Dask cluster answers at tcp://127\.0\.0\.1:9"):
        connect("tcp://127.0.0.1:9")
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(ClusterLost, match=r"no scheduler of a Dask cluster answers at .*damaged.json"):
        connect(str(tmp_path / "damaged.json"))


@pytest.mark.parametrize("settings", [{"jobs": 2}, {"devices": "all"}])
def test_a_cluster_excludes_other_settings(tiny, settings):
    with pytest.raises(InvalidInput, match="with a cluster, use neither TF_CONFIG nor jobs"):
        Lab(tiny, cluster="tcp://one:8786", **settings)


def test_without_the_extra_a_sentence_names_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for name in ("dask_engine", "dask_worker"):
        monkeypatch.delitem(sys.modules, f"bstudy.{name}")
    monkeypatch.delattr("bstudy.dask_engine")
    with pytest.raises(BstudyError, match=r"pip install 'bstudy\[cluster\]'"):
        Lab(tiny, cluster="tcp://one:8786")
