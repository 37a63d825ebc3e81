"""Bytes and seconds of a batch size. Memory is measured in a new process: a process never returns all that it used."""

import time
from dataclasses import dataclass

import numpy as np

from bstudy.backend import start, tf
from bstudy.data import Dataset
from bstudy.errors import BstudyError
from bstudy.experiments.base import (
    Experiment,
    Work,
    added,
    batch_size_tuple,
    check_batch_size,
    checked,
    one_of,
    positive_int,
)
from bstudy.models import SMALL
from bstudy.processes import Child
from bstudy.store import Result
from bstudy.trainer import SGD, Trainer, epoch_permutation, make_train_function

START_SECONDS = 7.0  # of a process with TensorFlow
STEP_TIME_SAMPLES = 4096
MEMORY_COLUMNS = ("memory", "compile_memory", "parameters", "weight_bytes", "gradient_bytes", "activation_bytes")


@dataclass(frozen=True)
class Memory(Experiment):
    """The memory of training or evaluation at several batch sizes, on random data of the data set's shape.

    The data do not matter, and loading real ones would be the peak of memory. Each batch size is measured in a new
    process. On a CPU these run at the same time, since they do not share their memory; on a GPU one after another.

    Columns, (batch sizes,) each:
        memory: bytes: the peak of the device, or of the process on a CPU, less those used before; NaN if unknown.
        compile_memory: of them, the peak of compiling the program of training, before the first step; else NaN.
        parameters: of the model.
        weight_bytes, gradient_bytes, activation_bytes: that a step needs by the model: its weights, a gradient for
            each in training, and each layer's output for every sample, in training also its gradient.

    Args:
        batch_sizes: To measure.
        task: "training" or "evaluation".
    """

    KIND = "memory"
    EXCLUSIVE = True

    batch_sizes: tuple[int, ...] = checked(batch_size_tuple)
    task: str = added(one_of("training", "evaluation"), "training")

    def validate(self, dataset):
        check_batch_size(self.batch_sizes[-1], dataset)

    def work(self, dataset):
        return Work(seconds=START_SECONDS * len(self.batch_sizes) / 2)

    def table(self, run):
        return {f"memory (MB), B = {size}": run["memory"][:, i] / 1e6 for i, size in enumerate(self.batch_sizes)}

    def measure(self, context):
        sizes, columns = self.batch_sizes, []
        on_cpu = tf.config.list_logical_devices()[-1].device_type == "CPU"
        for group in [sizes] if on_cpu else [[size] for size in sizes]:
            columns += yield from self._measure_in_children(group, context)
        yield 1.0, Result({name: np.array([each[name] for each in columns], float) for name in MEMORY_COLUMNS})

    def _measure_in_children(self, batch_sizes, context):
        """Measure each batch size in a new process; all run at the same time. Return a dict for each, in order."""
        dataset, expected = context.dataset, self.work(context.dataset).seconds
        shape = len(dataset.x_train), dataset.input_shape, dataset.classes
        started, columns, children = time.monotonic(), [], {}
        try:
            for size in batch_sizes:
                children[size] = Child(_measure_memory, size, self.task, context.trainer.spec, shape, context.seed)
            for child in children.values():
                while not child.connection.poll(1):
                    yield min(0.95, (time.monotonic() - started) / expected), Result({}, progress=0.0)
                columns.append(child.connection.recv())
                child.join()
        except EOFError:
            raise BstudyError(f"the process that measures {self} ended with {child.exit_reason()}") from None
        finally:
            for child in children.values():
                child.kill()
        return columns

    def __str__(self):
        return f"memory of {self.task} at {', '.join(map(str, self.batch_sizes))}"


def _measure_memory(connection, batch_size, task, spec, shape, seed):
    start()
    samples, input_shape, classes = shape
    x = tf.random.stateless_normal([samples, *input_shape], [seed, 0])
    y = tf.random.stateless_uniform([samples], [seed, 1], 0, classes, tf.int32)
    trainer = Trainer(Dataset("random", x, y, x[:0], y[:0], classes, ""), spec)
    connection.send(memory_columns(trainer, batch_size, task == "training"))


def memory_columns(trainer: Trainer, batch_size: int, training: bool) -> dict[str, float]:
    """Return the columns of Memory for a batch size, measured in this process, by two epochs or evaluations."""
    order = np.arange(len(trainer.dataset.x_train), dtype=np.int32)
    trainer.training_data  # noqa: B018 - on the device before memory is measured
    before, compiled = memory_used()[0], np.nan
    if training:
        train, none = trainer.cached(make_train_function, trainer.settings, batch_size, False, False), tf.constant(0)
        train(trainer.loop_data, tf.constant(order), tf.constant([], tf.float32), none, none, none)
        compiled = memory_used()[1]
    for _ in range(2):
        if training:
            [*trainer.train_epoch(order, batch_size)]
        else:
            trainer.evaluate(*trainer.training_data, batch_size)
    outputs = sum(int(np.prod(layer.output.shape[1:])) for layer in trainer.model.layers)
    parameters = trainer.model.count_params()
    return {
        "memory": memory_used()[1] - before,
        "compile_memory": compiled - before,
        "parameters": parameters,
        "weight_bytes": 4 * parameters,
        "gradient_bytes": 4 * parameters * training,
        "activation_bytes": 4 * batch_size * outputs * (1 + training),
    }


@dataclass(frozen=True)
class StepTime(Experiment):
    """The seconds of a training step at several batch sizes, on the data set, in the process that trains.

    Several sizes share a process: unlike memory, time does not depend on what the process has used before.

    Columns:
        step_seconds: (batch sizes,) the median over passes of the mean seconds of a step of SGD.

    Args:
        batch_sizes: To measure.
        passes: Over at most STEP_TIME_SAMPLES samples each.
        network: "chosen", the network of the study, or "small", that of RateGrid.
    """

    KIND = "step_time"
    EXCLUSIVE = True

    batch_sizes: tuple[int, ...] = checked(batch_size_tuple)
    passes: int = checked(positive_int, default=5)
    network: str = added(one_of("chosen", "small"), "chosen")

    def samples(self, dataset: Dataset) -> int:
        """Return the number of samples of a pass."""
        return min(len(dataset.x_train), max(STEP_TIME_SAMPLES, self.batch_sizes[-1]))

    def validate(self, dataset):
        check_batch_size(self.batch_sizes[-1], dataset)

    def work(self, dataset):
        samples, total = self.samples(dataset), Work()
        for size in self.batch_sizes:
            one_pass = Work(samples, samples / size, programs=frozenset([(SGD, size, False, None)]))
            total = total.plus(one_pass, times=self.passes * (0.1 if self.network == "small" else 1))
        return total

    def table(self, run):
        milliseconds = 1000 * run["step_seconds"]
        return {f"ms a step, B = {size}": milliseconds[:, i] for i, size in enumerate(self.batch_sizes)}

    def measure(self, context):
        trainer, medians = context.trainer, []
        if self.network == "small":
            trainer = trainer.cached(make_small_trainer)
        order = epoch_permutation(self.samples(context.dataset), context.seed, 0)
        for number, size in enumerate(self.batch_sizes):
            yield number / len(self.batch_sizes), Result({}, progress=0.0)
            trainer.set_weights(trainer.initial_weights(context.seed))
            trainer.set_optimizer()
            passes = [sum(part.seconds for part in trainer.train_epoch(order, size)) for _ in range(self.passes)]
            medians.append(np.median(passes) / -(-len(order) // size))
        yield 1.0, Result({"step_seconds": np.array(medians)})

    def __str__(self):
        return f"time of a step at {', '.join(map(str, self.batch_sizes))}"


def make_small_trainer(trainer: Trainer) -> Trainer:
    """Return a trainer of the small network on the data of another trainer."""
    return Trainer(trainer.dataset, SMALL)


def memory_used() -> tuple[float, float]:
    """Return the bytes in use now and at the peak, of the device or, on a CPU, of this process; NaN if unknown."""
    device = tf.config.list_logical_devices()[-1]
    if device.device_type != "CPU":
        counted = tf.config.experimental.get_memory_info(device.name)
        return counted["current"], counted["peak"]
    try:
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
    except OSError:
        return np.nan, np.nan
    now, peak = (1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, peak
