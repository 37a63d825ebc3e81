"""How questions are answered: the only folder that imports TensorFlow, and the place where it is set up, silently.

Each module here has `measure(experiment, dataset, seed, begun, starts)`, a generator. About once a second it yields the
share of the work that is done, and the Result as far as it can be taken up from; the last one is complete. `begun` is
such a Result, or None; `starts` are the Results of `experiment.starts()`.
"""

import gc
import os
import platform
import sys
import tempfile
from contextlib import contextmanager

from bstudy import __version__
from bstudy.errors import InvalidInput
from bstudy.experiment.train import MOST_REPLICAS

# The size of the thread pool decides the last bits of a result, the number of cores does not. Two, everywhere, give the
# same bits on every machine of a type; more cores are better used by more processes.
THREADS = 2


@contextmanager
def silence():
    """Keep what libraries write to file descriptor 2 from the user, unless they fail."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as noise:
        shown = os.dup(2)
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(shown, 2)
            noise.seek(0)
            os.write(2, noise.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


with silence():
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it takes the functions of several batch sizes for one that is traced too often
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    # several replicas, also where there is one CPU; it changes neither the bits nor the speed of one
    CPU = [tf.config.LogicalDeviceConfiguration()] * MOST_REPLICAS
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], CPU)
    gc.freeze()  # or each collection walks all objects of TensorFlow's: a fifth of a search for the sharpness


def set_up(devices=None):
    """Start TensorFlow on these devices; gives on how many replicas a Recipe is to be trained.

    `devices` is None, for one device; "cpu", for one CPU even where there is a GPU; a number of devices, or "all". GPUs
    are used where there are any. Raises InvalidInput where there are not so many.
    """
    from bstudy.measure.cluster import cluster

    cluster()
    with silence():
        if devices == "cpu" and tf.config.list_physical_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")
        there = len(replica_devices())
        tf.function(tf.nn.relu, jit_compile=True)(tf.ones((2, 2)))  # XLA speaks at its first compilation
    replicas = {None: 1, "cpu": 1, "all": len(tf.config.list_logical_devices("GPU")) or 1}.get(devices, devices)
    if replicas > there:
        raise InvalidInput(f"devices must be at most {there} here, not {replicas}")
    return replicas


def replica_devices():
    """The names of the devices that replicas may be on: all GPUs, or where there is none the parts of the CPU."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def about():
    """What the bits of a result depend on, besides the question."""
    return {
        "bstudy": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "device": tf.config.list_logical_devices()[-1].device_type,
        "machine": platform.machine(),
        "threads": THREADS,
    }
