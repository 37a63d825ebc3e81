"""The same training steps on several devices, and on several machines.

On one device, a segment of an epoch is one compiled program. Devices that wait for each other cannot be inside one:
here the gradients are compiled, and their sum and the step are not. Several machines run the same command (SPMD): the
chief broadcasts once which tasks are missing, all train the same list, and the chief stores the results.
"""

import atexit
import contextlib
import faulthandler
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from bstudy.backend import check_replicas, hide_stderr, replica_devices, start, tf
from bstudy.data import Dataset
from bstudy.errors import BackendError, BstudyError, InvalidInput
from bstudy.models import ModelSpec
from bstudy.trainer import Trainer, cross_entropy, take_rows

CONNECT_SECONDS = 60  # to wait for the other machines


@functools.cache
def start_devices(devices: int | str | None) -> int:
    """Connect to the other machines if there are any, start TensorFlow, and return the number of replicas.

    Args:
        devices: A number of devices, "all", "cpu" (one CPU, even if there is a GPU), or None for one device.

    Raises:
        InvalidInput: there are too few devices, or TF_CONFIG is wrong.
        BackendError: TensorFlow cannot be used.
    """
    strategy = cluster_strategy()
    try:
        start(use_gpu=devices != "cpu")
    except RuntimeError as error:
        raise BackendError(f"the devices of this program cannot be changed any more ({error})") from error
    if strategy is not None:
        return strategy.num_replicas_in_sync
    if devices == "all":
        return len(tf.config.list_logical_devices("GPU")) or 1
    replicas = 1 if devices in (None, "cpu") else devices
    check_replicas(replicas)
    return replicas


def make_trainer(dataset: Dataset, spec: ModelSpec, replicas: int = 1) -> Trainer:
    """Return a trainer on this many replicas: on this machine, or on those that TF_CONFIG names."""
    strategy = cluster_strategy()
    if strategy is not None and strategy.num_replicas_in_sync == replicas:
        return DistributedTrainer(dataset, spec, strategy)
    if replicas == 1:
        return Trainer(dataset, spec)
    # not TensorFlow's collectives, which allow one number of replicas in the life of a process
    reduction = tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(replica_devices()[:replicas], cross_device_ops=reduction)
    return DistributedTrainer(dataset, spec, strategy)


class DistributedTrainer(Trainer):
    """Each replica computes the gradient of its share of a batch; the gradients are summed; all take the same step.

    Raises:
        InvalidInput: the model has variables besides weights, which the replicas would not have in common.
    """

    steps_per_call = 50  # all machines must make the same calls

    def __init__(self, dataset: Dataset, spec: ModelSpec, strategy: "tf.distribute.Strategy"):
        self.strategy = strategy
        with strategy.scope():
            super().__init__(dataset, spec)
        self.compile_loop = False
        if len(self.model.variables) > len(self.model.trainable_variables):
            raise InvalidInput(
                f"the model {spec} has variables besides weights (batch normalization, dropout), which several "
                "devices would not have in common; train it on one device"
            )

    def set_optimizer(self, *settings, **learning_rate) -> None:
        with self.strategy.scope():
            super().set_optimizer(*settings, **learning_rate)

    @functools.cached_property
    def loop_data(self):
        """The training data on every replica's device; the parts of one CPU share their memory."""
        if not tf.config.list_logical_devices("GPU"):
            return self.training_data
        copy = self.strategy.experimental_distribute_values_from_function
        return tuple(copy(lambda _, array=array: tf.identity(array)) for array in self.training_data)

    def train_epoch(self, *arguments, **settings):
        with translate_errors():
            yield from super().train_epoch(*arguments, **settings)

    def synchronize(self, *arrays):
        return broadcast_from_chief(*arrays) if self.strategy is cluster_strategy() else arrays

    def recorded_step(self, x, y, rows, record_norms):
        values = self.strategy.run(self._replica_step, args=(x, y, rows, record_norms))
        return [self.strategy.experimental_local_results(value)[0] for value in values]

    def _replica_step(self, x, y, rows, record_norms):
        replica = tf.distribute.get_replica_context()
        number = tf.get_static_value(replica.replica_id_in_sync_group).item()
        first, size = shares(rows.shape[0], self.strategy.num_replicas_in_sync)[number]
        # one for each replica, since a trace holds the variables of the replica that it was made on
        gradients_of_share = self.cached(make_share_gradients, rows.shape[0], number)
        loss, gradients = gradients_of_share(x, y, tf.slice(rows, [first], [size]))
        variables = self.model.trainable_variables
        before = [tf.identity(variable) for variable in variables] if record_norms else []
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))  # Keras sums them over replicas
        values = [replica.all_reduce("SUM", loss)]
        if record_norms:
            updates = [new - old for new, old in zip(variables, before, strict=True)]
            values.append(tf.linalg.global_norm(replica.all_reduce("SUM", gradients)))
            values.append(tf.linalg.global_norm(updates))
        return values


def make_share_gradients(trainer: DistributedTrainer, batch_size: int, number: int):
    """Return a compiled function of one replica's share of a batch: its loss and gradients, as parts of the batch's."""

    @tf.function(jit_compile=True)
    def loss_and_gradients(x, y, rows):
        x, y = take_rows(x, y, rows)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(cross_entropy(y, trainer.model(x, training=True))) / batch_size
        return loss, tape.gradient(loss, trainer.model.trainable_variables)

    return loss_and_gradients


def shares(batch_size: int, replicas: int) -> list[tuple[int, int]]:
    """Return (first, size) of each replica's share of a batch: as even as possible, some empty in a tiny batch."""
    sizes = [batch_size // replicas + (i < batch_size % replicas) for i in range(replicas)]
    return [(sum(sizes[:i]), size) for i, size in enumerate(sizes)]


# --- several machines ---


def is_cluster() -> bool:
    """Whether TF_CONFIG names machines that train together.

    Raises:
        InvalidInput: TF_CONFIG is wrong.
    """
    return read_configuration() is not None


def is_chief() -> bool:
    """Whether this machine decides what is measured, and stores it.

    Raises:
        InvalidInput: TF_CONFIG is wrong.
    """
    if (configuration := read_configuration()) is None:
        return True
    cluster, task = configuration
    return task["type"] == "chief" or ("chief" not in cluster and task["index"] == 0)


def read_configuration() -> tuple[dict, dict] | None:
    """Return the cluster and the task of TF_CONFIG, or None without it; raise InvalidInput if it is wrong."""
    if "TF_CONFIG" not in os.environ:
        return None
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        cluster, task = config["cluster"], {"type": "worker", "index": 0} | config["task"]
        hosts = [host for kind in cluster for host in cluster[kind]]
        is_valid = cluster.keys() <= {"chief", "worker"} and task["index"] in range(len(cluster[task["type"]]))
        is_valid = is_valid and all(re.fullmatch(r"\S+:\d+", host) for host in hosts)
    except (ValueError, KeyError, TypeError, AttributeError):
        is_valid = False
    if not is_valid:
        raise InvalidInput(
            'TF_CONFIG must look like {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
            '"task": {"type": "worker", "index": 0}}, with another index on each machine'
        )
    return cluster, task


@functools.cache
def cluster_strategy() -> "tf.distribute.Strategy | None":
    """Return the strategy of training on all machines of TF_CONFIG, or None. It must precede every computation."""
    if not is_cluster():
        return None
    print(f"Waiting for the other machines of TF_CONFIG, at most {CONNECT_SECONDS} s ...", file=sys.stderr, flush=True)
    # TensorFlow waits without a limit, and meanwhile runs no other thread and no signal handler of Python
    with open(os.devnull, "w") as nowhere:
        atexit.register(os.dup2, os.open(os.devnull, os.O_WRONLY), 2)  # its thread pools complain at exit
        faulthandler.dump_traceback_later(CONNECT_SECONDS, exit=True, file=nowhere)
        try:
            with hide_stderr(), translate_errors():
                return tf.distribute.MultiWorkerMirroredStrategy()
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Turn TensorFlow's errors about other machines into a sentence."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError) as error:
        raise BstudyError(
            "another machine of TF_CONFIG does not answer (ended, stopped or cut off); the chief has stored all "
            "measured results: start the command on all machines again"
        ) from error
    except tf.errors.UnknownError as error:
        raise BstudyError(f"TF_CONFIG names a port that this machine cannot use: {error.message}") from error


def broadcast_from_chief(*arrays) -> list[np.ndarray]:
    """Return the chief's arrays, bit for bit, on all machines; every machine passes arrays of the same shapes."""
    strategy, received = cluster_strategy(), []
    with translate_errors():
        for array in map(np.asarray, arrays):
            content = np.frombuffer(array.tobytes(), np.uint8).astype(np.int32) * is_chief()
            if content.size:  # TensorFlow crashes on an empty tensor
                tensor = tf.constant(content)
                copies = strategy.experimental_distribute_values_from_function(lambda _, tensor=tensor: tensor)
                content = strategy.reduce("SUM", copies, axis=None).numpy()
            received.append(np.frombuffer(content.astype(np.uint8).tobytes(), array.dtype).reshape(array.shape)[()])
    return received


def agree_on_missing(keys: Sequence[str], missing: set[str]) -> set[str]:
    """Return the chief's missing keys, on all machines.

    Args:
        keys: All keys that may be missing: the same on all machines.
        missing: Those that are missing here.

    Raises:
        InvalidInput: the machines were asked different things.
    """
    digest = np.frombuffer(hashlib.sha256("".join(keys).encode()).digest(), np.uint8)
    if (digest != broadcast_from_chief(digest)[0]).any():
        raise InvalidInput("the machines of TF_CONFIG got different commands: use the same command and data on all")
    (wanted,) = broadcast_from_chief(np.array([key in missing for key in keys], np.uint8))
    return {key for key, want in zip(keys, wanted, strict=True) if want}
