"""TensorFlow and Keras, loaded at first use: silent, configured, with a fixed number of threads.

No other module imports them. `tf` and `keras` stand for the libraries: reading any attribute of them loads both, so
that asking, listing and drawing stay fast.
"""

import functools
import gc
import importlib
import importlib.metadata
import logging
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bstudy.errors import BackendError, InvalidInput

# The size of the thread pool decides the last bits of a result; the number of cores does not. Two threads everywhere
# give the same bits on all machines of one type, and more cores are used better by more processes.
THREADS = 2
MAX_REPLICAS = 8  # on one CPU
BLACKWELL = 12  # the compute capability from which on XLA in TensorFlow 2.21 aborts the process
RECORDED_FLAGS = ("TF_XLA_FLAGS", "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS")
VECTORS = ("avx512f", "avx2")  # as Linux names them
TEMPORARY_BYTES = 2**16  # more than AutoGraph writes for a function
KEEPER = "import sys; text = sys.stdin.buffer.read(); sys.stderr.buffer.write(text)"  # keeps it until the input ends
KERAS_DEFAULTS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last", "dtype_policy": "float32"}

USED_BEFORE = "TensorFlow was used in this program before bstudy, with other settings; run bstudy first, or use jobs=2"
WHEELS = "it needs 2 GB of memory, and Python 3.11 to 3.13 on Linux, Windows or a Mac with Apple silicon"
OTHER_BACKEND = "start Python again with the environment variable KERAS_BACKEND=tensorflow"
TEMPORARY = "set the environment variable TMPDIR to a folder on a disk with free space"
METAL = "tensorflow-metal cannot run compiled training loops: run 'pip uninstall tensorflow-metal'"

log = logging.getLogger(__name__)


class _LazyModule(types.ModuleType):
    def __getattr__(self, name):
        return getattr(_load()[self.__name__], name)


if TYPE_CHECKING:
    import keras
    import tensorflow as tf
else:
    keras, tf = _LazyModule("keras"), _LazyModule("tensorflow")


@contextmanager
def hide_stderr() -> Iterator[None]:
    """Hide what libraries print to stderr; show it if they raise, or if they end this process.

    The text goes to a small process, which prints it when its input ends, and is ended before that if all goes well.
    """
    sys.stderr.flush()
    keeper = subprocess.Popen([sys.executable, "-IS", "-c", KEEPER], stdin=subprocess.PIPE, start_new_session=True)
    shown = os.dup(2)
    os.dup2(keeper.stdin.fileno(), 2)
    keeper.stdin.close()
    try:
        yield
        keeper.kill()
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        keeper.wait()


@functools.cache
def _load() -> dict[str, types.ModuleType]:
    _check_installation()
    check_temporary_folder()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # otherwise one process takes all memory of a GPU
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):  # they shorten `fit`, which `bench` times
        os.environ.pop(name, None)
    with hide_stderr():
        try:
            loaded = {name: importlib.import_module(name) for name in ("tensorflow", "keras")}
        except Exception as error:  # anything that a broken installation raises
            raise BackendError(f"TensorFlow cannot be imported ({error}); {WHEELS}") from error
        try:
            _configure(loaded["tensorflow"])
        except RuntimeError as error:  # TensorFlow cannot be configured after its first computation
            raise BackendError(f"{USED_BEFORE} ({error})") from error
    return loaded


def _check_installation() -> None:
    """Raise BackendError for an installation that would end in a traceback."""
    if "keras" in sys.modules and (name := sys.modules["keras"].config.backend()) != "tensorflow":
        raise BackendError(f"Keras already runs on {name} in this program; {OTHER_BACKEND}")
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("tensorflow-metal")
        raise BackendError(METAL)


def check_temporary_folder() -> None:
    """Raise BackendError if no temporary file can be written: TensorFlow writes the code that AutoGraph generates."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(TEMPORARY_BYTES))
    except OSError as error:
        raise BackendError(f"TensorFlow needs room for temporary files ({error.strerror}); {TEMPORARY}") from None


def _configure(tensorflow: types.ModuleType) -> None:
    # TensorFlow's retracing warning is a false alarm here: each batch size has a function of its own
    tensorflow.get_logger().setLevel("ERROR")
    config = tensorflow.config
    config.threading.set_intra_op_parallelism_threads(THREADS)
    # several replicas also on one CPU; this changes neither the bits nor the speed of a single one
    parts = [config.LogicalDeviceConfiguration()] * MAX_REPLICAS
    config.set_logical_device_configuration(config.list_physical_devices("CPU")[0], parts)
    gc.freeze()  # exclude TensorFlow's objects from garbage collection; scanning them took 20 % of a sharpness search


def start(use_gpu: bool = True) -> None:
    """Load TensorFlow and choose the devices, before the first computation.

    Args:
        use_gpu: False to compute on the CPU even if there is a GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    newest = max((each.get("compute_capability", (0, 0))[0] for each in details), default=0)
    if newest >= BLACKWELL and tf.__version__.startswith(("2.20", "2.21")):
        log.warning("This GPU is too new for XLA in TensorFlow %s; continuing on the CPU.", tf.__version__)
        use_gpu = False
    if gpus and not use_gpu:
        tf.config.set_visible_devices([], "GPU")
    with hide_stderr():  # XLA prints a message at its first compilation
        tf.function(tf.nn.relu, jit_compile=True)(tf.ones((2, 2)))


def keras_settings() -> dict[str, object]:
    """Return the present values of the settings in KERAS_DEFAULTS."""
    return {name: getattr(keras.config, name)() for name in KERAS_DEFAULTS}


@contextmanager
def keras_defaults() -> Iterator[None]:
    """Use Keras's default settings inside, whatever the user's keras.json says, and restore the user's afterwards."""

    def apply(settings):
        for name, value in settings.items():
            getattr(keras.config, f"set_{name}")(value)

    before = keras_settings()
    apply(KERAS_DEFAULTS)
    try:
        yield
    finally:
        apply(before)


@contextmanager
def random_seed(seed: int) -> Iterator[None]:
    """Seed what Keras draws initial weights from, and restore the states of Python and NumPy afterwards."""
    before = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def replica_devices() -> list[str]:
    """Return the names of the devices that can hold a replica: all GPUs, or the parts of the CPU."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def check_replicas(replicas: int) -> None:
    """Raise InvalidInput if there are fewer devices than replicas."""
    there = len(replica_devices())
    if replicas > there:
        raise InvalidInput(f"there are {there} devices here, too few for {replicas} replicas; use at most {there}")


@functools.cache
def cpu_type() -> str:
    """Return the name of the CPU and its widest vector instructions, which decide the last bits of a result."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if name := re.search(r"^model name\s*: (.+)$", text, re.M):
            return name[1] + next((f" ({flag})" for flag in VECTORS if re.search(rf"\b{flag}\b", text)), "")
    return platform.processor() or platform.machine()


def environment() -> dict[str, object]:
    """Return what the bits of a result depend on besides its key: versions, device, threads and flags."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "device": tf.config.list_logical_devices()[-1].device_type,
        "machine": platform.machine(),
        "cpu": cpu_type(),
        "host": platform.node(),
        "threads": THREADS,
    } | {name: os.environ[name] for name in RECORDED_FLAGS if name in os.environ}
