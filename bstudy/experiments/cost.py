"""Seconds and bytes of a batch size. Memory is measured in a new process: a process never returns all that it used."""

import time
from dataclasses import dataclass

import numpy as np

from bstudy.backend import start, tf
from bstudy.data import Dataset
from bstudy.errors import BstudyError
from bstudy.experiments.base import (
    Context,
    Experiment,
    Work,
    added,
    batch_size_tuple,
    check_batch_size,
    checked,
    one_of,
    positive_float,
    positive_int,
)
from bstudy.experiments.recipe import Recipe
from bstudy.models import SMALL
from bstudy.processes import Child
from bstudy.store import Result
from bstudy.trainer import SGD, OptimizerSettings, Trainer, epoch_permutation, make_train_function

CALLS = 10  # of a throughput: several, so that some of them have the machine to themselves
START_SECONDS = 7.0  # of a process with TensorFlow
STEP_TIME_SAMPLES = 4096
MEMORY_COLUMNS = ("memory", "compile_memory", "parameters", "weight_bytes", "gradient_bytes", "activation_bytes")
BATCH_SECONDS = 6e-4  # of evaluating a batch, besides its samples


@dataclass(frozen=True)
class _MeasuredInChild(Experiment):
    """An exclusive measurement of one batch size in a new process."""

    EXCLUSIVE = True

    batch_size: int = checked(positive_int)

    def validate(self, dataset):
        Recipe.sgd(self.batch_size, 1, 1).validate(dataset)

    def columns(self, trainer: Trainer) -> dict:
        """Return the columns, measured in this process."""
        raise NotImplementedError

    def measure(self, context):
        columns = yield from _measure_in_children([self], context, self.work(context.dataset).seconds)
        yield 1.0, Result({name: np.asarray(value, float) for name, value in columns[0].items()})


def _measure_in_children(experiments: list[_MeasuredInChild], context: Context, expected: float):
    """Measure the columns of each experiment in a new process; all run at the same time. Return them in order."""
    dataset = context.dataset
    shape = len(dataset.x_train), dataset.input_shape, dataset.classes
    started, columns = time.monotonic(), []
    arguments, children = (context.trainer.spec, shape, context.seed), {}
    try:
        for experiment in experiments:
            children[experiment] = Child(_measure_columns, experiment, *arguments)
        for experiment in experiments:
            child = children[experiment]
            while not child.connection.poll(1):
                yield min(0.95, (time.monotonic() - started) / expected), Result({}, progress=0.0)
            columns.append(child.connection.recv())
            child.join()
    except EOFError:
        raise BstudyError(f"the process that measures {experiment} ended with {child.exit_reason()}") from None
    finally:
        for child in children.values():
            child.kill()
    return columns


def _measure_columns(connection, experiment, spec, shape, seed):
    start()
    samples, input_shape, classes = shape
    x = tf.random.stateless_normal([samples, *input_shape], [seed, 0])
    y = tf.random.stateless_uniform([samples], [seed, 1], 0, classes, tf.int32)
    trainer = Trainer(Dataset("random", x, y, x[:0], y[:0], classes, ""), spec)
    connection.send(experiment.columns(trainer))


@dataclass(frozen=True)
class Cost(_MeasuredInChild):
    """The time and the memory of one batch size, on random data of the data set's shape.

    The data decide neither, and loading real ones would be the peak of memory. A pass trains for an epoch, or evaluates
    as many samples; the first one, which compiles, is not counted.

    Columns:
        seconds: (passes,) of each pass.
        compile_seconds: () that the first pass took longer.
        memory: () bytes: the peak of the device, or of the process on a CPU, less those used before; NaN if unknown.
        compile_memory: () of them, the peak of compiling the program of training, before the first step; else NaN.
        parameters: () of the model.
        weight_bytes, gradient_bytes, activation_bytes: () that a step needs by the model: its weights, a gradient for
            each in training, and each layer's output for every sample, in training also its gradient.

    Args:
        batch_size: To measure.
        task: "training" or "evaluation".
        passes: How many are timed.
    """

    KIND = "cost"
    VERSION = 2  # 1 had no compile_memory

    task: str = checked(one_of("training", "evaluation"), default="training")
    passes: int = checked(positive_int, default=5)

    def work(self, dataset):
        samples, steps = len(dataset.x_train), len(dataset.x_train) / self.batch_size
        one_pass = Work(evaluated=samples, seconds=BATCH_SECONDS * steps)
        if self.task == "training":
            one_pass = Work(samples, steps)
        return Work(seconds=START_SECONDS).plus(one_pass, times=self.passes + 1)

    def table(self, run):
        return {
            "seconds per pass": np.median(run["seconds"], axis=1),
            "seconds to compile": run["compile_seconds"],
            "memory (MB)": run["memory"] / 1e6,
            "parameters": run["parameters"],
        }

    def columns(self, trainer):
        size, training = self.batch_size, self.task == "training"
        order = np.arange(len(trainer.dataset.x_train), dtype=np.int32)

        def one_pass():
            if training:
                return sum(segment.seconds for segment in trainer.train_epoch(order, size))
            started = time.perf_counter()
            trainer.evaluate(*trainer.training_data, size)
            return time.perf_counter() - started

        trainer.training_data  # noqa: B018 - on the device before memory is measured
        (before, _), started, compiled = memory_used(), time.perf_counter(), np.nan
        if training:
            train, none = trainer.cached(make_train_function, trainer.settings, size, False, False), tf.constant(0)
            train(trainer.loop_data, tf.constant(order), tf.constant([], tf.float32), none, none, none)
            compiled = memory_used()[1]
        one_pass()
        first = time.perf_counter() - started
        seconds = [one_pass() for _ in range(self.passes)]
        _, peak = memory_used()
        outputs = sum(int(np.prod(layer.output.shape[1:])) for layer in trainer.model.layers)
        weights = 4 * trainer.model.count_params()
        return {
            "seconds": seconds,
            "compile_seconds": max(0.0, first - np.median(seconds)),
            "memory": peak - before,
            "compile_memory": compiled - before,
            "parameters": trainer.model.count_params(),
            "weight_bytes": weights,
            "gradient_bytes": weights * training,
            "activation_bytes": 4 * size * outputs * (1 + training),
        }

    def __str__(self):
        return f"{self.batch_size}: cost of {self.task}"


@dataclass(frozen=True)
class Memory(Experiment):
    """The memory of training or evaluation at several batch sizes, on random data of the data set's shape.

    Each batch size is measured in a new process, as by Cost. On a CPU these processes run at the same time, since they
    do not share their memory; on a GPU one after another.

    Columns, one value for each batch size:
        memory, compile_memory, parameters, weight_bytes, gradient_bytes, activation_bytes: (batch sizes,) as in Cost.

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
        costs, columns = [Cost(size, self.task, passes=1) for size in self.batch_sizes], []
        groups = [costs] if tf.config.list_logical_devices()[-1].device_type == "CPU" else [[cost] for cost in costs]
        for group in groups:
            columns += yield from _measure_in_children(group, context, self.work(context.dataset).seconds)
        yield 1.0, Result({name: np.array([each[name] for each in columns], float) for name in MEMORY_COLUMNS})

    def __str__(self):
        return f"memory of {self.task} at {', '.join(map(str, self.batch_sizes))}"


@dataclass(frozen=True)
class Throughput(_MeasuredInChild):
    """The seconds of a training step at one batch size, on random data of the data set's shape.

    Columns:
        step_seconds: (calls,) mean of the steps of each compiled call; their number varies.
        memory: () bytes, as in Cost.

    Args:
        batch_size: To measure.
        optimizer: "sgd" or "adam".
        seconds: How long to measure.
    """

    KIND = "throughput"

    optimizer: str = checked(one_of("sgd", "adam"), default="sgd")
    seconds: float = checked(positive_float, default=2.0)

    def work(self, dataset):
        return Work(seconds=START_SECONDS + 1.5 * self.seconds)

    def table(self, run):
        return {"samples per second": self.batch_size / run["step_seconds"].min(axis=1)}

    def columns(self, trainer):
        order = np.arange(len(trainer.dataset.x_train) // self.batch_size * self.batch_size, dtype=np.int32)
        trainer.set_optimizer(OptimizerSettings(self.optimizer))
        trainer.training_data  # noqa: B018
        trainer.seconds_per_call = self.seconds / CALLS
        (before, _), step_seconds, spent = memory_used(), [], 0.0
        while spent < self.seconds or len(step_seconds) < 2:
            for segment in trainer.train_epoch(order, self.batch_size):
                step_seconds.append(segment.seconds / segment.values.shape[1])
                spent += segment.seconds
                if spent >= self.seconds:
                    break
        return {"step_seconds": step_seconds, "memory": memory_used()[1] - before}

    def __str__(self):
        return f"{self.batch_size}: throughput with {self.optimizer}"


@dataclass(frozen=True)
class StepTime(Experiment):
    """The seconds of a training step at several batch sizes, on the data set, in the process that trains.

    Several sizes share a process, which is faster than Cost and Throughput: memory depends on what the process has used
    before, but time does not.

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
