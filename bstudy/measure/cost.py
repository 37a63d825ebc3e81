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

CHILD = "import sys; from bstudy.measure.cost import child; child(*sys.argv[1:])"


def measure(experiment, dataset, seed, begun, starts):
    """Answer Cost or Evaluation; see `bstudy.measure` for what is yielded."""
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
    words = (
        experiment.task,
        experiment.batch_size,
        experiment.passes,
        list(dataset.x_train.shape),
        dataset.classes,
        seed,
        dataset.model,
    )
    started, guess = time.monotonic(), experiment.guess(dataset)
    command = [sys.executable, "-c", CHILD, *map(str, words)]
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


def child(task, batch_size, passes, shape, classes, seed, model):
    """Measure one Cost in this process, and print its columns."""
    batch_size, passes, (samples, *shape), classes = int(batch_size), int(passes), json.loads(shape), int(classes)
    x = tf.random.stateless_normal([samples, *shape], [int(seed), 0])
    y = tf.random.stateless_uniform([samples], [int(seed), 1], 0, classes, tf.int32)
    model = shared(Architecture(models.model(model), tuple(shape), classes))
    optimizer, order = optimizer_of(model, "sgd"), np.arange(samples, dtype=np.int32)
    data = {"x_train": x, "y_train": y}

    def one_pass():
        started = time.perf_counter()
        if task == "evaluation":
            evaluate(model, x, y, batch_size)
            return time.perf_counter() - started
        return sum(elapsed for *_, elapsed in epoch_in_calls(model, optimizer, data, order, batch_size, False))

    (before, _), started = bytes_used(), time.perf_counter()
    one_pass()
    first = time.perf_counter() - started
    seconds = [one_pass() for _ in range(passes)]
    _, peak = bytes_used()
    training = task == "training"
    outputs = sum(np.prod(layer.output.shape[1:]) for layer in model.layers)
    weights = 4 * model.count_params()
    columns = {
        "seconds": seconds,
        "compile_seconds": max(0.0, first - np.median(seconds)),
        "memory": peak - before,
        "parameters": model.count_params(),
        "weight_bytes": weights,
        "gradient_bytes": weights * training,
        "activation_bytes": 4 * batch_size * int(outputs) * (1 + training),
    }
    print(json.dumps(columns))


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
