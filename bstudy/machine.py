"""What this machine can do: how long work takes here, and how many processes it can run."""

import contextlib
import functools
import json
import os
import timeit
from typing import NamedTuple

import numpy as np

from bstudy.backend import THREADS
from bstudy.experiments.base import Work
from bstudy.store import data_dir, write_atomically

START_SECONDS = 6.0  # of TensorFlow
PROCESS_BYTES = 1.5e9  # of a process that trains the default model
BACKWARD = 3  # a sample that passes forward and backward, in units of one that only passes forward
TRAFFIC = 12  # bytes of each weight that a step reads and writes, beyond those of its products
COMPILE_PRODUCTS = 6e10  # multiplications that take as long as a compilation


class Machine(NamedTuple):
    """Speeds of this machine, with the threads that a training uses."""

    multiplications_per_second: float  # with an addition each, in products of matrices
    bytes_per_second: float  # of weights

    def seconds(self, work: Work, multiplications: float) -> float:
        """Return about how long this work takes, without compilation.

        Args:
            work: To do.
            multiplications: Of one sample on its way forward through the model.
        """
        products = (BACKWARD * work.samples + work.evaluated) / self.multiplications_per_second
        return multiplications * (products + TRAFFIC * work.steps / self.bytes_per_second) + work.seconds

    @property
    def compile_seconds(self) -> float:
        """About how long it takes to compile one program."""
        return COMPILE_PRODUCTS / self.multiplications_per_second


TYPICAL = Machine(multiplications_per_second=1e11, bytes_per_second=5e10)


def measure_machine() -> Machine:
    """Measure the speeds of this machine, in about 0.2 s and without TensorFlow."""
    a = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)  # small: one thread computes the product
    weights = np.zeros(2**24, np.float32)  # larger than a cache
    product = min(timeit.repeat(lambda: a @ a, number=500, repeat=5)) / 500
    update = min(timeit.repeat(lambda: np.add(weights, weights, out=weights), number=1, repeat=5))
    return Machine(THREADS * 64**3 / product, 2 * weights.nbytes / update)


@functools.cache
def this_machine() -> Machine:
    """Return the speeds of this machine, measured once and stored."""
    path = data_dir() / "machine.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Machine(**json.loads(path.read_text(encoding="utf-8")))
    machine = measure_machine()
    with contextlib.suppress(OSError):  # it is measured again next time
        write_atomically(path, lambda file: file.write(json.dumps(machine._asdict()).encode()))
    return machine


def default_jobs(tasks: int) -> int:
    """Return how many processes to use for this many independent tasks: one for every two cores, if memory allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // THREADS, int(available_memory() // PROCESS_BYTES), tasks))


def available_memory() -> float:
    """Return the bytes that programs can still use; a very large number if the system does not report it."""
    with contextlib.suppress(OSError, KeyError, ValueError), open("/proc/meminfo") as lines:
        return 1024 * int(dict(line.split(":") for line in lines)["MemAvailable"].split()[0])
    return 2.0**60
