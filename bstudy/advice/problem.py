"""Trainings of a Keras model at any batch size and learning rate, hundreds of steps a call, on data on the device."""

import contextlib
import math
import time
from collections.abc import Iterator

import numpy as np

from bstudy.advice.data import held_out
from bstudy.advice.model import Network
from bstudy.advice.search import Setting
from bstudy.backend import keras_defaults, tf
from bstudy.errors import InvalidInput, in_one_line
from bstudy.experiments.cost import memory_used
from bstudy.trainer import epoch_permutation, take_rows

CHUNK_STEPS = 256  # whose order is on the device at a time
CALL_SECONDS = 0.3  # of one compiled call
TIMINGS = 10  # of a batch size; the shortest is its time, as whatever else the machine does can only add
EVALUATION_BATCH_SIZE = 500
SMALL = 32  # the batch size of the first trials
NOISE_STEPS = 100  # whose gradients give a noise scale
EDGE_FACTOR, EDGE_STEPS = 1.1, 5  # the learning rate grows by this factor after each five steps
LOWEST_RATE, HIGHEST_RATE, LEAST_LEVELS = 1e-8, 1e2, 20
LEARNED = 0.1  # of the first loss
EDGE = 3.0  # times below the learning rate at which the loss rises, the race begins


class KerasProblem:
    """Something to train, for `bstudy.advice.search`.

    Args:
        network: Model and data.
        clock: Returns the seconds that are left; trainings end at 0.
    """

    def __init__(self, network: Network, clock):
        self.network, self.model, self.seconds_left = network, network.model, clock
        arrays = network.arrays
        self.samples = len(arrays.x_train)
        self.data = tf.constant(arrays.x_train), tf.constant(arrays.y_train)
        self.held_out = [tf.constant(array) for array in held_out(arrays, EVALUATION_BATCH_SIZE)]
        self.optimizer = network.new_optimizer()
        self.fresh_optimizer = [variable.numpy() for variable in self.optimizer.variables]
        self.use_xla = all(len(variable.shape) < 3 for variable in self.model.trainable_variables)
        self._functions, self._step_seconds = {}, {}
        self._owner = None  # the training whose weights are in the model
        self._evaluate = None

    def check(self) -> None:
        """Take a step and evaluate, first with XLA.

        Raises:
            InvalidInput: the model cannot be trained on these data.
        """
        try:
            with keras_defaults():
                try:
                    self._try()
                except Exception:
                    if not self.use_xla:
                        raise
                    self.use_xla, self._evaluate = False, None
                    self._functions.clear()
                    self._try()
        except Exception as error:  # of a layer or a loss of the user's
            reason = in_one_line(error)
            raise InvalidInput(f"the model {self.network.name} cannot be trained on these data: {reason}") from None

    def _try(self):
        run = self.start(Setting(min(SMALL, self.samples), 1e-8), 0)
        run.train(1)
        if not math.isfinite(run.loss()):
            raise ValueError(f"its loss before training is {run.loss()}")

    def start(self, setting: Setting, seed: int) -> "KerasRun":
        return KerasRun(self, setting, self.network.first_seed + seed)

    def use(self, run: "KerasRun | None") -> None:
        """Put the weights of a training into the model, and keep those of the one before."""
        if self._owner is run:
            return
        if self._owner is not None:
            self._owner.state = [variable.numpy() for variable in self.variables]
        if run is not None:
            for variable, value in zip(self.variables, run.state, strict=True):
                variable.assign(value)
            run.state = None
        self._owner = run

    @property
    def variables(self) -> list:
        return [*self.model.variables, *self.optimizer.variables]

    def train_function(self, batch_size: int):
        """Return the compiled steps of a batch size."""
        if batch_size not in self._functions:
            self._functions[batch_size] = make_train_function(self)
        return self._functions[batch_size]

    def evaluate(self) -> float:
        """Return the mean held-out loss of the weights in the model."""
        if self._evaluate is None:
            self._evaluate = make_evaluate_function(self)
        x, y = self.held_out
        losses = []
        for first in range(0, len(x), EVALUATION_BATCH_SIZE):
            part = slice(first, first + EVALUATION_BATCH_SIZE)
            losses.append(self._evaluate(x[part], y[part]))
        return float(np.mean([float(loss) for loss in losses]))

    def step_seconds(self, batch_size: int) -> float:
        """Return the seconds of a step, measured at the first call."""
        if batch_size not in self._step_seconds:
            self._step_seconds[batch_size] = self.measure_step(batch_size)
        return self._step_seconds[batch_size]

    def measure_step(self, batch_size: int) -> float:
        """Return the seconds of a step, measured now."""
        run = self.start(Setting(batch_size, 1e-8), 0)
        run.train(1)  # compiles
        started = time.perf_counter()
        run.train(1)
        once = time.perf_counter() - started
        steps = int(np.clip(CALL_SECONDS / TIMINGS / once, 1, CHUNK_STEPS))
        run.align(steps)
        seconds = []
        for _ in range(TIMINGS):
            started = time.perf_counter()
            run.train(steps)
            seconds.append((time.perf_counter() - started) / steps)
        return min(seconds)

    def memory(self, batch_size: int) -> float:
        """Return the peak bytes of this process, or of the GPU, while it trains at this size; NaN if unknown."""
        run = self.start(Setting(batch_size, 1e-8), 0)
        run.train(1)
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forgets the peak until now
        run.train(2)
        return memory_used()[1]

    def highest_rate(self, batch_size: int, seconds: float) -> float:
        """Return the learning rate to begin the race with: a third of that at which the held-out loss rises.

        It grows by 10 % every five steps, or faster if there is less time. Once the loss has fallen to a tenth, the
        training begins anew: at a loss of almost zero, any rate is stable. Losses of batches would differ by chance.
        """
        run = self.start(Setting(batch_size, 1.0), 0)
        first = run.loss()
        started = time.perf_counter()
        run.loss()
        a_level = EDGE_STEPS * self.step_seconds(batch_size) + time.perf_counter() - started
        decades = math.log(HIGHEST_RATE / LOWEST_RATE)
        levels = int(np.clip(seconds / a_level, LEAST_LEVELS, decades / math.log(EDGE_FACTOR)))
        losses = [first]
        for rate in LOWEST_RATE * np.exp(decades * np.arange(levels) / levels):
            run.train(EDGE_STEPS, np.full(EDGE_STEPS, rate))
            losses.append(run.loss())
            if has_risen(losses, first):
                break
            if losses[-1] < LEARNED * first:
                run, losses = self.start(Setting(batch_size, 1.0), 0), [first]
        return float(rate / EDGE)

    def noise_scale(self, run: "KerasRun") -> float:
        """Return the gradient noise scale along the next steps of a training, which it takes.

        The two halves of a batch have the gradients g₁ and g₂. The mean of g₁ · g₂ estimates ‖g‖² without bias, and the
        mean of ‖g₁ − g₂‖² B / 4 estimates tr Σ; their ratio is the noise scale. For Adam, each product is weighted with
        1 / √v, its step for a unit gradient.
        """
        self.use(run)
        if "noise" not in self._functions:
            self._functions["noise"] = make_noise_function(self)
        size, rows = run.setting.batch_size, run.rows(NOISE_STEPS)
        with keras_defaults():
            self.optimizer.learning_rate = run.setting.learning_rate
            products, squares = self._functions["noise"](*self.data, tf.constant(rows), tf.constant(NOISE_STEPS))
        run.steps += NOISE_STEPS
        product, square = float(np.mean(products)), float(np.mean(squares))
        return square * size / 4 / product if product > 0 else math.inf


def has_risen(losses: list[float], first: float) -> bool:
    """Whether the loss has left its minimum: it is 4 times as high and near the first one, or not finite."""
    last, lowest = losses[-1], min(losses)
    if not math.isfinite(last):
        return True
    is_high = last - lowest > 3 * abs(lowest) and last > 0.3 * first
    return is_high or (lowest < 0.7 * first and last > 0.95 * first)


class KerasRun:
    """A training in progress; its weights are in the model while it is used, and kept here otherwise."""

    def __init__(self, problem: KerasProblem, setting: Setting, seed: int):
        self.problem, self.setting, self.seed, self.steps = problem, setting, seed, 0
        if setting.batch_size > problem.samples:
            raise InvalidInput(f"batch size {setting.batch_size} is larger than the training set")
        self.state = [*problem.network.weights(seed), *problem.fresh_optimizer]
        self._chunk = None, None

    def train(self, steps: int, decay: np.ndarray | None = None) -> np.ndarray:
        """Take steps, and return their losses (steps,); `decay` (steps,) multiplies the learning rate."""
        self.problem.use(self)
        train = self.problem.train_function(self.setting.batch_size)
        rates = np.full(steps, self.setting.learning_rate) if decay is None else decay * self.setting.learning_rate
        losses = []
        with keras_defaults():
            for first, count in self._calls(steps):
                chunk, within = divmod(self.steps, CHUNK_STEPS)
                part = np.zeros(CHUNK_STEPS, np.float32)
                part[within : within + count] = rates[first : first + count]
                found = train(
                    *self.problem.data,
                    self._order(chunk),
                    tf.constant(part),
                    tf.constant(within),
                    tf.constant(within + count),
                )
                losses.append(found.numpy()[within : within + count])
                self.steps += count
        return np.concatenate(losses)

    def _calls(self, steps: int) -> Iterator[tuple[int, int]]:
        """Yield (first, count) of compiled calls: each within a chunk, and short enough to be interrupted."""
        known = self.problem._step_seconds.get(self.setting.batch_size)
        longest = CHUNK_STEPS if known is None else max(1, int(CALL_SECONDS / known))
        first = 0
        while first < steps:
            count = min(steps - first, CHUNK_STEPS - self.steps % CHUNK_STEPS, longest)
            yield first, count
            first += count

    def align(self, steps: int) -> None:
        """Skip to where this number of steps is one call."""
        if self.steps % CHUNK_STEPS + steps > CHUNK_STEPS:
            self.steps += CHUNK_STEPS - self.steps % CHUNK_STEPS

    def _order(self, chunk):
        """Return the rows of a chunk of steps, on the device."""
        if self._chunk[0] != chunk:
            first = chunk * CHUNK_STEPS
            self._chunk = chunk, tf.constant(self._rows(first, CHUNK_STEPS))
        return self._chunk[1]

    def rows(self, steps: int) -> np.ndarray:
        """Return (steps · batch size,) int32 rows of the next steps."""
        return self._rows(self.steps, steps)

    def _rows(self, first, steps):
        """Return the rows of some steps: each epoch has a new order, and its last, smaller batch is left out."""
        size, samples = self.setting.batch_size, self.problem.samples
        per_epoch = samples // size
        parts = []
        for epoch in range(first // per_epoch, (first + steps - 1) // per_epoch + 1):
            parts.append(epoch_permutation(samples, self.seed, epoch)[: per_epoch * size])
        skipped = first % per_epoch * size
        return np.concatenate(parts)[skipped : skipped + steps * size]

    def loss(self) -> float:
        """Return the held-out loss."""
        self.problem.use(self)
        with keras_defaults():
            return self.problem.evaluate()


def make_train_function(problem: KerasProblem):
    """Return a compiled function that takes the steps `first, …, last - 1` of a chunk, and returns all its losses."""
    model, optimizer = problem.model, problem.optimizer

    @tf.function(jit_compile=problem.use_xla)
    def train(x, y, order, rates, first, last):
        size = order.shape[0] // CHUNK_STEPS
        losses = tf.TensorArray(tf.float32, CHUNK_STEPS)
        i = first
        while i < last:
            optimizer.learning_rate.assign(rates[i])
            loss, gradients = loss_and_gradients(model, *take_rows(x, y, tf.slice(order, [i * size], [size])))
            optimizer.apply(gradients, model.trainable_variables)
            losses = losses.write(i, loss)
            i += 1
        return losses.stack()

    return train


def make_noise_function(problem: KerasProblem):
    """Return a compiled function of steps whose batches are taken in two halves: g₁ · g₂ and ‖g₁ − g₂‖² of each."""
    model, optimizer = problem.model, problem.optimizer

    @tf.function(jit_compile=problem.use_xla)
    def measure(x, y, order, steps):
        half = order.shape[0] // NOISE_STEPS // 2
        products, squares = (tf.TensorArray(tf.float32, NOISE_STEPS) for _ in range(2))
        i = tf.constant(0)
        while i < steps:
            pair = []
            for part in range(2):
                rows = tf.slice(order, [(2 * i + part) * half], [half])
                pair.append(loss_and_gradients(model, *take_rows(x, y, rows))[1])
            first, second = ([tf.convert_to_tensor(gradient) for gradient in gradients] for gradients in pair)
            optimizer.apply([(a + b) / 2 for a, b in zip(first, second, strict=True)], model.trainable_variables)
            weights = unit_steps(optimizer, first)
            products = products.write(i, weighted_sum(weights, [a * b for a, b in zip(first, second, strict=True)]))
            squares = squares.write(
                i, weighted_sum(weights, [(a - b) ** 2 for a, b in zip(first, second, strict=True)])
            )
            i += 1
        return products.stack(), squares.stack()

    return measure


def unit_steps(optimizer, gradients) -> list:
    """Return the length of an optimizer's step for a unit gradient, for each weight: 1 / √v of Adam, else 1."""
    if hasattr(optimizer, "beta_2") and getattr(optimizer, "_velocities", None):
        return [tf.math.rsqrt(variable + 1e-16) for variable in optimizer._velocities]
    return [tf.ones_like(gradient) for gradient in gradients]


def weighted_sum(weights, tensors):
    return tf.add_n([tf.reduce_sum(weight * tensor) for weight, tensor in zip(weights, tensors, strict=True)])


def loss_and_gradients(model, x, y):
    """Return the loss of a batch as the model was compiled, with its own losses added, and its gradients."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True), training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    return loss, [
        tf.zeros_like(v) if g is None else g for g, v in zip(gradients, model.trainable_variables, strict=True)
    ]


def make_evaluate_function(problem: KerasProblem):
    """Return a compiled function of samples: their mean loss."""
    model = problem.model

    @tf.function(jit_compile=problem.use_xla)
    def evaluate(x, y):
        return model.compute_loss(x=x, y=y, y_pred=model(x, training=False), training=False)

    return evaluate
