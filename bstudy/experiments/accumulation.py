"""Gradient accumulation: steps of one large batch, whose gradient is the sum over micro-batches."""

import math
from dataclasses import dataclass

import numpy as np

from bstudy.backend import tf
from bstudy.experiments.base import Experiment, Work, check_batch_size, checked, one_of, positive_float, positive_int
from bstudy.models import NORMALIZED
from bstudy.store import Result
from bstudy.trainer import Trainer, epoch_permutation, loss_and_gradients

TIMED_SAMPLES = 8192  # of the training set, at most


class AccumulatingTrainer(Trainer):
    """A trainer whose step adds up the gradients of micro-batches, and moves the weights once.

    Args:
        dataset: The data to train on.
        spec: The network to build.
        micro_batch_size: Samples of a micro-batch; the last one of a batch may be smaller.
    """

    def __init__(self, dataset, spec, micro_batch_size: int):
        super().__init__(dataset, spec)
        self.micro_batch_size = micro_batch_size

    def train_step(self, x, y):
        """Take one step of gradient descent on one batch, a micro-batch at a time.

        Returns:
            The mean loss before the step, and its gradients.
        """
        size, (full, rest) = self.micro_batch_size, divmod(y.shape[0], self.micro_batch_size)
        sums, i = [tf.constant(0.0), *(tf.zeros_like(each) for each in self.model.trainable_variables)], tf.constant(0)
        if full:
            while i < full:
                sums = self.add_micro_batch(sums, slice_rows(x, i * size, size), slice_rows(y, i * size, size))
                i += 1
        if rest:
            sums = self.add_micro_batch(sums, x[full * size :], y[full * size :])
        loss, *gradients = [each / y.shape[0] for each in sums]
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return loss, gradients

    def add_micro_batch(self, sums, x, y):
        """Return the sums over samples of the loss and its gradients, with these samples added."""
        loss, gradients = loss_and_gradients(self.model, self.model.trainable_variables, x, y)
        return [total + len(x) * mean for total, mean in zip(sums, [loss, *gradients], strict=True)]


def slice_rows(tensor, first, count: int):
    """Return `count` rows of a tensor; `first` may be a tensor."""
    return tf.slice(tensor, [first] + [0] * (len(tensor.shape) - 1), [count, *tensor.shape[1:]])


@dataclass(frozen=True)
class Accumulation(Experiment):
    """Training with SGD, in which each step accumulates the gradients of micro-batches.

    The gradients are weighted by the sizes of their micro-batches, so that each sample of a batch counts the same. The
    order of the samples is that of a Recipe.

    Columns:
        loss: (steps,) of each batch, before its step.
        test_accuracy, test_loss: (epochs + 1,) in percent, and nats, before training and after each epoch.
    After the loss stopped being finite, all values are NaN: the run diverged.

    Args:
        batch_size: Samples a step.
        micro_batch_size: Samples a gradient. If it is at least the batch size, nothing is accumulated.
        learning_rate: Of SGD.
        epochs: How long.
        network: "chosen", the network of the study, or "normalized", a small one with batch normalization.
    """

    KIND = "accumulation"
    EXTENDS = "epochs"

    batch_size: int = checked(positive_int)
    micro_batch_size: int = checked(positive_int)
    learning_rate: float = checked(positive_float)
    epochs: int = checked(positive_int)
    network: str = checked(one_of("chosen", "normalized"), default="chosen")

    def validate(self, dataset):
        check_batch_size(self.batch_size, dataset)

    def work(self, dataset):
        samples = len(dataset.x_train)
        steps = samples / min(self.batch_size, self.micro_batch_size) + samples / self.batch_size
        programs = frozenset((self.KIND, self.batch_size, self.micro_batch_size, self.network, last) for last in (0, 1))
        epoch = Work(samples, steps, len(dataset.x_test), programs=programs)
        return Work().plus(epoch, times=self.epochs * (0.1 if self.network == "normalized" else 1))

    def table(self, run):
        return {name: run.final(name) for name in ("test_accuracy", "test_loss")}

    def measure(self, context):
        trainer = context.trainer.cached(make_accumulating_trainer, self.micro_batch_size, self.network)
        start, samples = context.resume_from, len(context.dataset.x_train)
        trainer.set_weights(trainer.initial_weights(context.seed))
        trainer.set_optimizer(learning_rate=self.learning_rate)
        losses, tests = [], [trainer.evaluate(*trainer.test_data)]
        if start is not None:
            trainer.set_state(start.state)
            losses = list(start.columns["loss"])
            tests = list(zip(start.columns["test_loss"], start.columns["test_accuracy"], strict=True))
        while True:
            progress, diverged = (len(tests) - 1) / self.epochs, not np.isfinite([*losses, *tests[-1]]).all()
            checkpoint = self.make_result(losses, tests, trainer, samples, diverged)
            yield checkpoint.progress, checkpoint
            if checkpoint.complete:
                return
            order = epoch_permutation(samples, context.seed, len(tests) - 1)
            for segment in trainer.train_epoch(order, self.batch_size):
                losses += segment.values[0].tolist()
                yield progress + segment.progress / self.epochs * 0.99, checkpoint
            tests.append(trainer.evaluate(*trainer.test_data))

    def make_result(self, losses, tests, trainer, samples, diverged):
        """Return a checkpoint; all values of a run that diverged are NaN from there on."""
        length = self.epochs if diverged else len(tests) - 1
        columns = {"loss": np.full(length * math.ceil(samples / self.batch_size), np.nan, np.float32)}
        finite = np.cumprod(np.isfinite(losses)).astype(bool)
        columns["loss"][: finite.sum()] = np.array(losses)[finite]
        rows = np.full((length + 1, 2), np.nan, np.float32)
        rows[: len(tests) - diverged] = tests[: len(tests) - diverged]
        columns |= {"test_loss": rows[:, 0], "test_accuracy": rows[:, 1]}
        return Result(columns, trainer.get_state(), progress=length / self.epochs, diverged=bool(diverged))

    def __str__(self):
        text = f"{self.batch_size} in micro-batches of {self.micro_batch_size} at {self.learning_rate:g}"
        return text + ", batch normalization" * (self.network == "normalized")


@dataclass(frozen=True)
class AccumulationCost(Experiment):
    """The time of a sample in one large batch, accumulated, and in small batches of the micro-batch's size.

    Passes of the three kinds alternate, over the same at most 8,192 training samples. The first pass of each, which
    compiles, is not counted.

    Columns:
        large_seconds, accumulated_seconds, small_seconds: (passes,) per sample.
        weight_bytes: () of all trainable weights. Their gradient has as many, and so has the sum of gradients.
        output_bytes: () of each layer's output for one sample, and its gradient.

    Args:
        batch_size: Samples a step, of the large batch.
        micro_batch_size: Samples a gradient; it divides the batch size, or the last one of a batch is smaller.
        passes: How many are timed.
    """

    KIND = "accumulation_cost"
    EXCLUSIVE = True

    batch_size: int = checked(positive_int)
    micro_batch_size: int = checked(positive_int)
    passes: int = checked(positive_int, default=20)

    def validate(self, dataset):
        check_batch_size(self.batch_size, dataset)

    def samples(self, dataset) -> int:
        """Return how many samples a pass has: whole batches."""
        return min(len(dataset.x_train), max(TIMED_SAMPLES, self.batch_size)) // self.batch_size * self.batch_size

    def work(self, dataset):
        samples = self.samples(dataset)
        programs = frozenset((self.KIND, self.batch_size, self.micro_batch_size, number) for number in range(3))
        one_pass = Work(3 * samples, samples / self.batch_size + 2 * samples / self.micro_batch_size, programs=programs)
        return Work().plus(one_pass, times=self.passes + 1)

    def table(self, run):
        names = ("large", "accumulated", "small")
        return {f"µs per sample, {name}": 1e6 * np.median(run[f"{name}_seconds"], axis=1) for name in names}

    def measure(self, context):
        plain, order = context.trainer, np.arange(self.samples(context.dataset), dtype=np.int32)
        accumulating = plain.cached(make_accumulating_trainer, self.micro_batch_size, "chosen")
        ways = {
            "large": (plain, self.batch_size),
            "accumulated": (accumulating, self.batch_size),
            "small": (plain, self.micro_batch_size),
        }
        seconds = {name: [] for name in ways}
        for number in range(self.passes + 1):
            yield number / (self.passes + 1), Result({}, progress=0.0)
            for name, (trainer, size) in ways.items():
                trainer.set_weights(trainer.initial_weights(context.seed))
                trainer.set_optimizer()
                spent = sum(
                    segment.seconds for segment in trainer.train_epoch(order, size, next_stop=lambda _: len(order))
                )
                seconds[name].append(spent / len(order))
        outputs = sum(int(np.prod(layer.output.shape[1:])) for layer in plain.model.layers)
        weights = sum(int(np.prod(variable.shape)) for variable in plain.model.trainable_variables)
        columns = {f"{name}_seconds": np.array(values[1:]) for name, values in seconds.items()}
        yield 1.0, Result(columns | {"weight_bytes": np.array(4.0 * weights), "output_bytes": np.array(8.0 * outputs)})

    def __str__(self):
        return f"cost of {self.batch_size} in micro-batches of {self.micro_batch_size}"


def make_accumulating_trainer(trainer: Trainer, micro_batch_size: int, network: str) -> AccumulatingTrainer:
    """Return an accumulating trainer on the data of another one."""
    spec = NORMALIZED if network == "normalized" else trainer.spec
    return AccumulatingTrainer(trainer.dataset, spec, micro_batch_size)
