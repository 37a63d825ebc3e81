"""Several devices, and several machines (processes on loopback): the results of one device, to rounding."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bstudy import Lab, Recipe
from bstudy.distribute import CONNECT_SECONDS, is_chief, shares
from bstudy.errors import InvalidInput
from bstudy.models import MLP
from bstudy.store import Store

PROGRAM = """
import sys
from bstudy import distribute, progress
distribute.CONNECT_SECONDS, progress.SECONDS_BETWEEN_LINES = float(sys.argv[1]), 0
from bstudy.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("kind", "rate", "replicas", "noise"),
    [pytest.param(Recipe.sgd, 0.01, 3, 0.4, marks=pytest.mark.slow), (Recipe.adam, 0.0001, 2, 0.0)],
)
def test_replicas_give_the_result_of_one_device(measure, kind, rate, replicas, noise):
    settings = {"record_norms": True, "label_noise": noise, "samples": 34 if noise else None}
    recipe = kind(16, rate, 2, **settings)  # 16 samples, and the last 2 of an epoch: some shares are empty
    one, several = measure(recipe), measure(replace(recipe, replicas=replicas))
    for name in ("loss", "gradient_norm", "test_loss", "weight_distance", "bias_distance"):
        np.testing.assert_allclose(several.columns[name], one.columns[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(several.columns["update_norm"], one.columns["update_norm"], rtol=1e-3)
    for i in range(6):
        name = f"weight_{i}"
        assert np.abs(several.state[name] - one.state[name]).mean() < 1e-6, name
    assert one.metadata["replicas"] == 1
    assert several.metadata["replicas"] == replicas


@pytest.mark.parametrize("replicas", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_shares_are_even_and_add_up_to_the_batch(batch_size, replicas):
    found = shares(batch_size, replicas)
    sizes = [size for _, size in found]
    assert [first for first, _ in found] == [sum(sizes[:i]) for i in range(replicas)]
    assert sum(sizes) == batch_size
    assert max(sizes) - min(sizes) <= 1


def test_more_devices_than_there_are_are_refused(tiny):
    with pytest.raises(InvalidInput, match="there are 8 devices here, too few for 9 replicas; use at most 8"):
        Lab(tiny, 1, quiet=True, devices=9).run(Recipe.sgd(16, 0.05, 1))


@pytest.mark.parametrize(
    "config",
    [
        "", "{", "[]", "3", '{"cluster": {}}', '{"cluster": 3, "task": 4}',
        '{"cluster": {"worker": ["localhost"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": "localhost:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": "0"}}',
        '{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": ["localhost:1"], "ps": ["localhost:2"]}, "task": {"type": "worker", "index": 0}}',
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    for use in (is_chief, Lab):
        with pytest.raises(InvalidInput, match="TF_CONFIG must look like"):
            use()


@pytest.mark.parametrize(
    ("kinds", "task", "chief"),
    [
        (["worker"], {"type": "worker", "index": 0}, True),
        (["worker"], {"type": "worker", "index": 1}, False),
        (["chief", "worker"], {"type": "chief", "index": 0}, True),
        (["chief", "worker"], {"type": "worker", "index": 0}, False),
        (["worker"], {}, True),
    ],
)
def test_the_chief_is_named_or_the_first_worker(monkeypatch, kinds, task, chief):
    cluster = {kind: ["localhost:1", "localhost:2"] for kind in kinds}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert is_chief() == chief


def test_without_a_configuration_this_machine_is_the_chief():
    assert is_chief()


@pytest.fixture
def start(tmp_path):
    """start(index, *words) runs the command as one of two machines, each with a store of its own."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    processes = []

    def run(index, *words, seconds=CONNECT_SECONDS):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(config), "BSTUDY_HOME": str(tmp_path / f"home {index}")}
        command = [sys.executable, "-c", PROGRAM, str(seconds), *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


RECIPE = Recipe.sgd(25, 0.05, 2).then(batch_size=50)
TRAIN = "train", "--batch-size", 25, "--learning-rate", 0.05, "--epochs", 2, "--then", "batch_size=50"


def assert_equal_to_one_device(home, tiny, measure):
    one, together = measure(RECIPE), Store(home).read(replace(RECIPE, replicas=2).key(tiny, MLP, 0), state=True)
    assert together.metadata["replicas"] == 2
    for name in ("loss", "test_loss", "weight_distance"):
        np.testing.assert_allclose(together.columns[name], one.columns[name], rtol=1e-4)
    for name in one.state:
        np.testing.assert_allclose(together.state[name], one.state[name], atol=1e-5)


@pytest.mark.slow
def test_two_machines_continue_from_the_chiefs_checkpoint_and_the_chief_stores_the_result(
    start, tiny, tiny_file, tmp_path, measure, steps_of
):
    key, first_key = (replace(recipe, replicas=2).key(tiny, MLP, 0) for recipe in (RECIPE, RECIPE.first(2)))
    checkpoints = {checkpoint.progress: checkpoint for _, checkpoint in steps_of(RECIPE)}
    first = measure(RECIPE.first(2))
    first.metadata |= {"replicas": 2, "seconds_total": 1.0}
    Store(tmp_path / "home 0").write(first_key, first)
    for index, progress in ((0, 0.5), (1, 1.0)):  # the other machine has the result, and helps the chief nevertheless
        checkpoints[progress].metadata |= {"replicas": 2, "seconds_total": 1.0}
        Store(tmp_path / f"home {index}").write(key, checkpoints[progress])
    workers = [start(index, *TRAIN, "--dataset", tiny_file) for index in (0, 1)]
    printed = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    assert "test_accuracy" in printed[0][0]
    assert "bstudy: the chief has the results" in printed[1][1]
    assert printed[1][0] == ""
    assert_equal_to_one_device(tmp_path / "home 0", tiny, measure)
    assert Store(tmp_path / "home 1").read(key).metadata["seconds_total"] == 1


@pytest.mark.slow
def test_two_machines_may_share_a_store(start, tiny, tiny_file, tmp_path, measure):
    (tmp_path / "home 1").symlink_to(tmp_path / "home 0", target_is_directory=True)
    (tmp_path / "home 0").mkdir()
    workers = [start(index, *TRAIN, "--dataset", tiny_file) for index in (0, 1)]
    printed = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    assert_equal_to_one_device(tmp_path / "home 0", tiny, measure)


@pytest.mark.slow
def test_a_machine_that_never_comes_is_not_awaited_forever(start, tiny_file):
    words = "train", "--batch-size", 16, "--learning-rate", 0.05, "--epochs", 2, "--dataset", tiny_file
    one = start(0, *words, seconds=5)
    _, printed = one.communicate()
    assert one.returncode == 1
    assert "Waiting for the other machines of TF_CONFIG, at most 5.0 s" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_machine_that_is_lost_is_reported_and_a_checkpoint_stays(start, tiny, tiny_file, tmp_path, number):
    words = "train", "--batch-size", 16, "--learning-rate", 0.001, "--epochs", 3000, "--dataset", tiny_file
    workers = [start(index, *words) for index in (0, 1)]
    while not re.search(r"epoch (?!0|1 )", workers[0].stderr.readline()):
        pass
    workers[1].send_signal(number)
    _, printed = workers[0].communicate()
    assert workers[0].returncode == 1
    assert "does not answer" in printed
    assert "Traceback" not in printed
    recipe = replace(Recipe.sgd(16, 0.001, 3000), replicas=2)
    assert 0 < Store(tmp_path / "home 0").progress(recipe.key(tiny, MLP, 0)) < 1


@pytest.mark.slow
def test_machines_with_different_commands_are_reported(start, tiny_file):
    words = "train", "--batch-size", 16, "--learning-rate", 0.05, "--dataset", tiny_file, "--epochs"
    workers = [start(0, *words, 1), start(1, *words, 2)]
    printed = [worker.communicate() for worker in workers]
    assert workers[1].returncode == 2
    assert "different commands" in printed[1][1]
    assert workers[0].returncode in (1, 2)
    assert "Traceback" not in printed[0][1]


@pytest.mark.slow
def test_the_chief_measures_alone_what_others_cannot_help_with(start, tiny_file, tmp_path):
    words = "chapter", 4, "--seeds", 1, "--dataset", tiny_file
    for setting in ("large_batch_size=32", "early_epochs=1", "late_epochs=2", "trials=2"):
        words += "--set", setting
    workers = [start(index, *words) for index in (0, 1)]
    printed = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    store = Store(tmp_path / "home 0")
    kinds = {store.read(key).metadata["kind"] for key in store.keys("")}
    assert kinds >= {"recipe", "gradient_trials"}
