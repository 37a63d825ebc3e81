"""One training step as the mathematics has it, and the compiled loop around it."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bstudy.backend import keras, keras_defaults, random_seed, tf
from bstudy.data import Dataset
from bstudy.models import MLP, ModelSpec, build_model

FIRST_CALL_STEPS = 16
EVALUATION_BATCH_SIZE = 10_000  # fixed: a measurement must not depend on the batch size under study


class OptimizerSettings(NamedTuple):
    """An optimizer without its learning rate, in Keras's names and with its defaults."""

    name: str = "sgd"  # or "adam"
    momentum: float = 0.0  # of sgd
    beta_1: float = 0.9  # of adam
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0  # decoupled: w ← w − η weight_decay w in each step, also of biases (AdamW)


SGD = OptimizerSettings()


class Segment(NamedTuple):
    """Some steps of an epoch."""

    progress: float  # of the epoch, after them
    values: np.ndarray  # (1 or 3, steps) the loss, and if asked for the norms of gradient and update
    seconds: float


class Trainer:
    """A Keras model and its training loop. The same recipe, data and seed give the same bits.

    All measurements of a process assign their weights into one trainer, one measurement after another: TensorFlow never
    frees a compiled function.

    Args:
        dataset: The data to train on.
        spec: The network to build.
    """

    seconds_per_call = 1.0  # a compiled call cannot be interrupted
    steps_per_call: int | None = None  # None: as many as take about `seconds_per_call`

    def __init__(self, dataset: Dataset, spec: ModelSpec = MLP):
        self.dataset, self.spec = dataset, spec
        with random_seed(0):  # which also keeps the program's random states
            self.model = self.build_model()
        # On a CPU, XLA makes a loop of matrix products faster, and convolutions tens of times slower
        self.use_xla = spec.has_xla and all(len(variable.shape) < 3 for variable in self.model.trainable_variables)
        self.compile_loop = self.use_xla
        self.optimizer: keras.optimizers.Optimizer
        self._cache: dict[tuple, Any] = {}
        self.set_optimizer()

    def build_model(self) -> "keras.Model":
        """Return a new network for these data."""
        return build_model(self.spec, self.dataset.input_shape, self.dataset.classes)

    def train_step(self, x, y):
        """Take one step of gradient descent on one batch.

        Returns:
            The mean loss before the step, and its gradients.
        """
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(cross_entropy(y, self.model(x, training=True)))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return loss, gradients

    def recorded_step(self, x, y, rows, record_norms):
        """Take one step on these rows of the data; return its loss, and if asked for its norms."""
        before = [tf.identity(variable) for variable in self.model.trainable_variables] if record_norms else []
        loss, gradients = self.train_step(*take_rows(x, y, rows))
        if not record_norms:
            return [loss]
        updates = [new - old for new, old in zip(self.model.trainable_variables, before, strict=True)]
        return [loss, tf.linalg.global_norm(gradients), tf.linalg.global_norm(updates)]

    def train_epoch(
        self,
        order: np.ndarray,
        batch_size: int,
        record_norms: bool = False,
        next_stop: Callable[[int], int] | None = None,
        learning_rates: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> Iterator[Segment]:
        """Train on the samples in this order, and yield about once a second.

        The full batches come first, then the smaller last one, which is one step of another batch size.

        Args:
            order: (samples,) int32 rows of the training set.
            batch_size: Samples a step.
            record_norms: Whether to measure the norms of gradient and update.
            next_stop: Returns the step to yield after, by the number of steps of the epoch so far, instead of by time.
            learning_rates: (steps,) of each step; None for the one of the optimizer.
            labels: (samples,) to train on; None for those of the data.
        """
        full, rest = divmod(len(order), batch_size)
        rows = tf.constant(order)
        data = self.loop_data if labels is None else (self.loop_data[0], tf.constant(labels))
        step_limit = self.steps_per_call or FIRST_CALL_STEPS
        for size, offset, steps in ((batch_size, 0, full), (rest, full * batch_size, 1)):
            if size == 0:
                continue
            loop = self.cached(make_train_function, self.settings, size, record_norms, learning_rates is not None)
            rates = tf.constant([] if learning_rates is None else learning_rates[offset // batch_size :], tf.float32)
            train = functools.partial(loop, data, rows, rates)
            train(tf.constant(offset), tf.constant(0), tf.constant(0))  # compiles: no measured second includes that
            first = 0
            while first < steps:
                last = min(next_stop(first) if next_stop else first + step_limit, steps)
                started = time.perf_counter()
                values = train(tf.constant(offset), tf.constant(first), tf.constant(last))
                values = np.array([value.numpy()[first:last] for value in values])
                seconds = time.perf_counter() - started
                step_limit = self.steps_per_call or max(1, int(self.seconds_per_call * (last - first) / seconds))
                first = last
                yield Segment((offset + last * size) / len(order), values, seconds)

    def evaluate(self, x, y, batch_size: int = EVALUATION_BATCH_SIZE, training: bool = False) -> tuple[float, float]:
        """Return the mean loss in nats and the accuracy in percent on all samples, with the current weights.

        If `training`, layers such as batch normalization work as in training, and change their statistics.
        """
        count = self.cached(make_evaluation_function, training)
        loss, correct = 0.0, 0
        for first in range(0, len(x), batch_size):
            batch = slice(first, first + batch_size)
            batch_loss, batch_correct = count(x[batch], y[batch])
            loss, correct = loss + float(batch_loss), correct + int(batch_correct)
        return loss / len(x), 100 * correct / len(x)

    @functools.cached_property
    def training_data(self) -> tuple["tf.Tensor", "tf.Tensor"]:
        """Samples and labels, on the device."""
        return tf.constant(self.dataset.x_train), tf.constant(self.dataset.y_train)

    @functools.cached_property
    def test_data(self) -> tuple["tf.Tensor", "tf.Tensor"]:
        return tf.constant(self.dataset.x_test), tf.constant(self.dataset.y_test)

    @property
    def loop_data(self):
        """The training data as the training loop reads them."""
        return self.training_data

    def synchronize(self, *arrays) -> Sequence:
        """Return the chief's arrays, if several machines train together; otherwise these."""
        return arrays

    def cached(self, make: Callable, *arguments) -> Any:
        """Return `make(self, *arguments)`, made once: each compiled function belongs to one trainer."""
        key = make, *arguments
        if key not in self._cache:
            self._cache[key] = make(self, *arguments)
        return self._cache[key]

    def set_optimizer(self, settings: OptimizerSettings = SGD, learning_rate: float = 0.01) -> None:
        """Use this optimizer as new."""
        self.settings, self.optimizer = settings, self.cached(make_optimizer, settings)
        for variable in self.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        self.optimizer.learning_rate = learning_rate

    def initial_weights(self, seed: int) -> list[np.ndarray]:
        """Return the weights of a new network: the same seed gives the same ones, whatever was trained before."""
        with random_seed(seed):
            return [variable.numpy() for variable in self.build_model().variables]

    def get_weights(self) -> list[np.ndarray]:
        """Return all variables of the model: weights, batch-normalization statistics, states of dropout."""
        return [variable.numpy() for variable in self.model.variables]

    def set_weights(self, weights: Sequence) -> None:
        """Assign what `get_weights` returned."""
        for variable, value in zip(self.model.variables, weights, strict=True):
            variable.assign(value)

    def trainable_part(self, weights: Sequence) -> list:
        """Return the trainable weights among those of `get_weights`, in the order of `trainable_variables`."""
        by_variable = {id(variable): weight for variable, weight in zip(self.model.variables, weights, strict=True)}
        return [by_variable[id(variable)] for variable in self.model.trainable_variables]

    def get_state(self) -> dict[str, np.ndarray]:
        """Return the variables of model and optimizer, by name."""
        state = {f"weight_{i}": weight for i, weight in enumerate(self.get_weights())}
        return state | {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(self.optimizer.variables)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Assign what `get_state` returned, with the same optimizer."""
        self.set_weights(weights_of(state))
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(state[f"optimizer_{i}"])


def weights_of(state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the weights in what `Trainer.get_state` returned."""
    return [state[f"weight_{i}"] for i in range(sum(name.startswith("weight_") for name in state))]


def cross_entropy(labels, logits):
    """Return (n,) the cross-entropy of each sample, in nats."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def loss_and_gradients(model, variables, x, y, training=True):
    """Return the mean loss of a batch, and its gradients with respect to `variables`."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cross_entropy(y, model(x, training=training)))
    return loss, tape.gradient(loss, variables)


def epoch_permutation(samples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the samples in this epoch: a full permutation that depends on seed and epoch only."""
    return np.random.default_rng([seed, epoch]).permutation(samples).astype(np.int32)


def wrong_labels(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """Return the labels with this fraction of them wrong: random ones, each replaced by a random other class."""
    random, noisy = np.random.default_rng([seed, 0, 1]), labels.copy()
    rows = random.permutation(len(labels))[: round(fraction * len(labels))]
    noisy[rows] = (labels[rows] + random.integers(1, classes, size=len(rows))) % classes
    return noisy


def take_rows(x, y, rows):
    """Return these samples and their labels, inside a compiled function."""
    flat = tf.reshape(x, [x.shape[0], -1])  # XLA gathers rows faster than images
    return tf.reshape(tf.gather(flat, rows), [rows.shape[0], *x.shape[1:]]), tf.gather(y, rows)


def make_train_function(
    trainer: Trainer, settings: OptimizerSettings, batch_size: int, record_norms: bool, sets_rate: bool = False
):
    """Return a compiled function that runs steps `first, …, last - 1` of an epoch.

    The batch of step i is `order[offset + i * batch_size :][:batch_size]`; if `sets_rate`, its learning rate is
    `rates[i]`. It returns tensors (steps,), filled from `first` to `last - 1`: the loss, and if asked for the norms of
    gradient and update. Its steps are those of the trainer's optimizer at the first call, so each optimizer, by its
    settings, has a function of its own.
    """

    @tf.function(jit_compile=trainer.compile_loop)
    def train(data, order, rates, offset, first, last):
        columns = [tf.TensorArray(tf.float32, order.shape[0] // batch_size) for _ in range(3 if record_norms else 1)]
        i = first
        while i < last:  # `for i in tf.range(first, last)` would be compiled again for each pair of bounds
            if sets_rate:
                trainer.optimizer.learning_rate.assign(rates[i])
            rows = tf.slice(order, [offset + i * batch_size], [batch_size])
            values = trainer.recorded_step(*data, rows, record_norms)
            columns = [column.write(i, value) for column, value in zip(columns, values, strict=True)]
            i += 1
        return [column.stack() for column in columns]

    return train


def make_evaluation_function(trainer: Trainer, training: bool):
    """Return a compiled function of a batch: the sum of its losses, and how many samples are classified correctly."""

    @tf.function(jit_compile=trainer.use_xla)
    def count(x, y):
        logits = trainer.model(x, training=training)
        correct = tf.argmax(logits, axis=1, output_type=y.dtype) == y
        return tf.reduce_sum(cross_entropy(y, logits)), tf.reduce_sum(tf.cast(correct, tf.int32))

    return count


def make_optimizer(trainer: Trainer, settings: OptimizerSettings) -> "keras.optimizers.Optimizer":
    """Return the one optimizer with these settings for a trainer."""
    decay = {"weight_decay": settings.weight_decay or None}
    with keras_defaults():
        if settings.name == "sgd":
            optimizer = keras.optimizers.SGD(momentum=settings.momentum, **decay)
        else:
            optimizer = keras.optimizers.Adam(
                beta_1=settings.beta_1, beta_2=settings.beta_2, epsilon=settings.epsilon, **decay
            )
        optimizer.build(trainer.model.trainable_variables)
    return optimizer


def subset_rows(total: int, samples: int | None) -> np.ndarray:
    """Return (samples,) int32 rows of a training set, in ascending order: always the same random ones; None for all.

    A smaller number returns a part of what a larger one returns.
    """
    return np.sort(np.random.default_rng(0).permutation(total)[:samples]).astype(np.int32)


def train_subset(trainer: Trainer, samples: int):
    """Return at most `samples` training samples and their labels, on the device: always the same random ones."""
    x, y = trainer.dataset.x_train, trainer.dataset.y_train
    rows = subset_rows(len(x), samples)
    return tf.constant(x[rows]), tf.constant(y[rows])
