"""Several machines, played by processes on loopback: one result, kept by the first, and no hang where one is gone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from bstudy import Recipe
from bstudy.errors import InvalidInput
from bstudy.measure.cluster import is_first_worker
from bstudy.measure.train import measure
from bstudy.store import Store

WAIT_A_LITTLE = "from bstudy.measure import cluster; cluster.SECONDS_TO_WAIT = 5"
COMMAND = "import sys; {}; from bstudy.cli import main; main(sys.argv[1:])"


@pytest.fixture
def start(tmp_path):
    """start(index, words) runs the command as one of two workers, each with a home of its own."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    processes = []

    def run(index, *words, before="pass"):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(config), "BSTUDY_HOME": str(tmp_path / f"worker {index}")}
        command = [sys.executable, "-c", COMMAND.format(before), *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_two_machines_do_what_one_does_and_the_first_keeps_it(start, tiny, tiny_file, tmp_path):
    words = "train", "--batch-size", 15, "--learning-rate", 0.05, "--epochs", 2, "--then", "batch_size=20"
    workers = [start(index, *words, "--dataset", tiny_file) for index in (0, 1)]
    printed = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    assert "The first worker has what was measured" in printed[1][1] and not printed[1][0]
    recipe = Recipe.sgd(15, 0.05, 2).then(batch_size=20)
    *_, (_, alone) = measure(recipe, tiny, 0)
    together = Store(tmp_path / "worker 0").read(recipe.key(tiny, 0), state=True)
    assert together.about["replicas"] == 2
    for name in ("loss", "test_loss", "weight_distance"):
        np.testing.assert_allclose(together.columns[name], alone.columns[name], rtol=1e-4)
    for name in alone.state:
        np.testing.assert_allclose(together.state[name], alone.state[name], atol=1e-5)
    assert not (tmp_path / "worker 1" / "results").exists()


def test_a_machine_that_never_comes_is_not_waited_for_forever(start, tiny_file):
    words = "train", "--batch-size", 16, "--learning-rate", 0.05, "--epochs", 2, "--dataset", tiny_file
    alone = start(0, *words, before=WAIT_A_LITTLE)
    _, told = alone.communicate(timeout=90)
    assert alone.returncode == 1 and "Waiting for the other workers of TF_CONFIG, at most 5 s" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("config", ["", "{", "[]", '{"cluster": {}}', '{"cluster": 3, "task": 4}'])
def test_a_wrong_configuration_is_told(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InvalidInput, match="TF_CONFIG must be such as"):
        is_first_worker()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_machine_that_is_lost_is_told_and_what_was_finished_is_kept(start, tiny, tiny_file, tmp_path, how):
    words = "train", "--batch-size", 16, "--learning-rate", 0.001, "--epochs", 3000, "--dataset", tiny_file
    workers = [start(index, *words) for index in (0, 1)]
    time.sleep(40)
    workers[1].send_signal(how)
    _, told = workers[0].communicate(timeout=60)
    assert workers[0].returncode == 1 and "does not answer" in told and "Traceback" not in told
    kept = Store(tmp_path / "worker 0").read(Recipe.sgd(16, 0.001, 3000).key(tiny, 0))
    assert 0 < kept.share < 1


@pytest.mark.slow
def test_machines_that_were_asked_different_things_are_told(start, tiny_file):
    words = "train", "--batch-size", 16, "--learning-rate", 0.05, "--dataset", tiny_file, "--epochs"
    workers = [start(0, *words, 1), start(1, *words, 2)]
    printed = [worker.communicate(timeout=120) for worker in workers]
    assert workers[1].returncode == 2 and "different things" in printed[1][1]
    assert workers[0].returncode in (1, 2) and "Traceback" not in printed[0][1]
