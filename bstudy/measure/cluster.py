"""Several machines, as TF_CONFIG names them: the first decides what is measured and keeps it, the others help it."""

import atexit
import contextlib
import faulthandler
import functools
import hashlib
import json
import os
import sys
from importlib import import_module

import numpy as np
import tensorflow as tf

from bstudy.errors import BstudyError, Followed, InvalidInput
from bstudy.measure import silence

SECONDS_TO_WAIT = 60  # for the other machines to start
ENOUGH = -1  # told in place of a question's number


@functools.cache
def cluster():
    """The strategy of training on all machines that TF_CONFIG names, or None. It must be made before anything else."""
    if "TF_CONFIG" not in os.environ:
        return None
    is_first_worker()  # which reads what TensorFlow would fail on without a sentence
    print(f"Waiting for the other workers of TF_CONFIG, at most {SECONDS_TO_WAIT} s ...", file=sys.stderr, flush=True)
    # TensorFlow waits for ever, and lets no thread and no signal handler of Python's run meanwhile
    with open(os.devnull, "w") as nowhere:
        atexit.register(os.dup2, os.open(os.devnull, os.O_WRONLY), 2)  # its thread pools complain when the process ends
        faulthandler.dump_traceback_later(SECONDS_TO_WAIT, exit=True, file=nowhere)
        try:
            with silence(), connected():
                return tf.distribute.MultiWorkerMirroredStrategy()
        finally:
            faulthandler.cancel_dump_traceback_later()


def is_first_worker():
    """Whether this machine is the one that decides what is measured, and keeps it. Raises InvalidInput."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG", '{"cluster": {"worker": [""]}, "task": {}}'))
        workers, task = config["cluster"], config["task"]
        of_chiefs = task.get("type", "worker") == "chief"
        return of_chiefs or ("chief" not in workers and task.get("index", 0) == 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput(
            'TF_CONFIG must be such as {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
            '"task": {"type": "worker", "index": 0}}, with an index for each'
        ) from None


@contextlib.contextmanager
def connected():
    """What is done here with other machines ends in a sentence where one of them does not answer."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError) as error:
        raise BstudyError(
            "another worker of TF_CONFIG does not answer (ended, stopped or cut off); what was measured is kept by the "
            "first worker: start all of them again"
        ) from error
    except tf.errors.UnknownError as error:
        raise BstudyError(f"TF_CONFIG names a port for this worker that cannot be used: {error.message}") from error


def agreed(strategy, *arrays):
    """What the first worker of a cluster has, bit for bit, on all of them; on one machine, the arrays as they are."""
    if strategy is None or strategy is not cluster():
        return list(arrays)
    found = []
    with connected():
        for array in map(np.asarray, arrays):
            content = np.frombuffer(array.tobytes(), np.uint8).astype(np.int32) * is_first_worker()
            if content.size:  # TensorFlow dies of an empty one
                content = tf.constant(content)
                copies = strategy.experimental_distribute_values_from_function(lambda _, content=content: content)
                content = strategy.reduce("SUM", copies, axis=None).numpy()
            found.append(np.frombuffer(content.astype(np.uint8).tobytes(), array.dtype).reshape(array.shape)[()])
    return found


def tell(number):
    """Have the other workers measure the question of this number too, or leave."""
    agreed(cluster(), number)


def follow(questions, dataset):
    """On all but the first worker: measure what it tells of the `questions`, pairs (Recipe, seed), until it has enough.

    Raises Followed then, and InvalidInput where the first worker was asked something else.
    """
    if cluster() is None:
        return
    asked = [experiment.key(dataset, seed) for experiment, seed in questions]
    digest = np.frombuffer(hashlib.sha256("".join(asked).encode()).digest(), np.uint8)
    if (digest != agreed(cluster(), digest)[0]).any():
        raise InvalidInput("the workers of TF_CONFIG were asked different things: give all the same command and data")
    while not is_first_worker():
        (number,) = agreed(cluster(), ENOUGH)
        if number == ENOUGH:
            raise Followed("The first worker has what was measured.")
        experiment, seed = questions[number]
        measure = import_module(type(experiment).__module__.replace("experiment", "measure")).measure
        for _ in measure(experiment, dataset, seed):
            pass
