"""Seconds and bytes of a batch size, each in a fresh process: what one has used, another is not charged for."""

import json
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from bstudy import models
from bstudy.errors import BstudyError
from bstudy.experiment.cost import Evaluation
from bstudy.measure import about
from bstudy.measure.model import evaluate, final_weights, put, shared
from bstudy.measure.train import epoch_in_calls, on_device, optimizer_of
from bstudy.models import Architecture
from bstudy.store import Result

CALLS = 10  # of a throughput: several, so that some of them have the machine to themselves
CHILD = "import json, sys; from bstudy.measure.cost import {0}; print(json.dumps({0}(**json.loads(sys.argv[1]))))"


def measure(experiment, dataset, seed, begun, starts):
    """Answer Cost, Throughput or Evaluation; see `bstudy.measure` for what is yielded."""
    answer = evaluations if isinstance(experiment, Evaluation) else in_a_fresh_process
    columns = yield from answer(experiment, dataset, seed, starts)
    yield 1.0, Result({name: np.asarray(value, float) for name, value in columns.items()}, {}, about(), 1.0)


def evaluations(experiment, dataset, seed, starts):
    model, data = shared(dataset.architecture), on_device(dataset)
    put(model, final_weights(starts[0]))
    found = []
    for size in experiment.batch_sizes:
        yield len(found) / len(experiment.batch_sizes), Result({}, about=about())
        found.append(evaluate(model, data["x_test"], data["y_test"], size))
    loss, accuracy = np.transpose(found)
    return {"loss": loss, "accuracy": accuracy}


def in_a_fresh_process(experiment, dataset, seed, starts):
    model, shape, classes = dataset.architecture
    asked = vars(experiment) | {
        "model": model.name, "samples": len(dataset.x_train), "shape": shape, "classes": classes, "seed": seed
    }  # fmt: skip
    started, guess = time.monotonic(), experiment.guess(dataset)
    command = [sys.executable, "-c", CHILD.format(type(experiment).__name__.lower()), json.dumps(asked)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            while True:
                try:
                    out, noise = process.communicate(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    yield min(0.95, (time.monotonic() - started) / guess), Result({}, about=about())
        finally:
            process.kill()
    if process.returncode:
        last = noise.decode(errors="replace").strip().split("\n")[-1]
        raise BstudyError(f"the process that measures {experiment} ended with status {process.returncode}: {last}")
    return json.loads(out)


def random_samples(samples, shape, classes, seed):
    """Data of this shape, made where they are needed."""
    x = tf.random.stateless_normal([samples, *shape], [seed, 0])
    y = tf.random.stateless_uniform([samples], [seed, 1], 0, classes, tf.int32)
    return {"x_train": x, "y_train": y}


def throughput(batch_size, optimizer, seconds, model, samples, shape, classes, seed):
    """Measure one Throughput in this process, and give its columns."""
    network = shared(Architecture(models.model(model), tuple(shape), classes))
    data = random_samples(samples, shape, classes, seed)
    settings = (
        network,
        optimizer_of(network, optimizer),
        data,
        np.arange(samples // batch_size * batch_size, dtype=np.int32),
    )
    (before, _), found, spent = bytes_used(), [], 0.0
    while spent < seconds or len(found) < 2:
        for *_, values, elapsed in epoch_in_calls(*settings, batch_size, False, seconds_a_call=seconds / CALLS):
            found.append(elapsed / values.shape[1])
            spent += elapsed
            if spent >= seconds:
                break
    return {"step_seconds": found, "memory": bytes_used()[1] - before}


def cost(batch_size, task, passes, model, samples, shape, classes, seed):
    """Measure one Cost in this process, and give its columns."""
    network = shared(Architecture(models.model(model), tuple(shape), classes))
    data, order = random_samples(samples, shape, classes, seed), np.arange(samples, dtype=np.int32)
    optimizer = optimizer_of(network, "sgd")

    def one_pass():
        started = time.perf_counter()
        if task == "evaluation":
            evaluate(network, *data.values(), batch_size)
            return time.perf_counter() - started
        return sum(elapsed for *_, elapsed in epoch_in_calls(network, optimizer, data, order, batch_size, False))

    (before, _), started = bytes_used(), time.perf_counter()
    one_pass()
    first = time.perf_counter() - started
    seconds = [one_pass() for _ in range(passes)]
    _, peak = bytes_used()
    training = task == "training"
    outputs = sum(np.prod(layer.output.shape[1:]) for layer in network.layers)
    weights = 4 * network.count_params()
    return {
        "seconds": seconds,
        "compile_seconds": max(0.0, first - np.median(seconds)),
        "memory": peak - before,
        "parameters": network.count_params(),
        "weight_bytes": weights,
        "gradient_bytes": weights * training,
        "activation_bytes": 4 * batch_size * int(outputs) * (1 + training),
    }


def bytes_used():
    """(now, at the peak) of the device where it counts them, or of this process; NaN where neither can be read."""
    device = tf.config.list_logical_devices()[-1]
    if device.device_type != "CPU":
        counted = tf.config.experimental.get_memory_info(device.name)
        return counted["current"], counted["peak"]
    try:
        lines = dict(line.split(":", 1) for line in open("/proc/self/status"))  # noqa: SIM115 - the process ends soon
    except OSError:
        return np.nan, np.nan
    return tuple(1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))
