"""Gradient descent, with or without noise, and with a penalty on the norm of the gradient."""

import time
from dataclasses import dataclass, replace

import numpy as np

from bstudy.backend import keras, tf
from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, below_one, checked, positive_int
from bstudy.experiments.recipe import not_negative, rounded_rate
from bstudy.store import Result
from bstudy.trainer import (
    Trainer,
    cross_entropy,
    epoch_permutation,
    loss_and_gradients,
    take_rows,
    train_subset,
    weights_of,
    wrong_labels,
)

COLUMNS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class GradientPenalty(Experiment):
    """Descent on the loss plus a penalty on the squared norms of the gradients of small batches.

    A step takes `parts` batches of `batch_size` samples, with the losses L₁, L₂, … and goes down the gradient of

        mean of Lₖ + penalty / 4 · mean of ‖∇Lₖ‖²

    The gradient of ‖∇Lₖ‖² is 2 Hₖ ∇Lₖ, with the Hessian Hₖ; the product is computed exactly, without Hₖ. One part and
    no penalty is SGD. If the parts are all samples, every step takes the same batches, and nothing is random but the
    start. Otherwise each epoch has a new permutation. Layers such as dropout work as in evaluation.

    Columns, before training and after each evaluation (evaluations + 1,):
        train_loss, train_accuracy: on the samples that are trained on, with the labels that are trained on, in nats
            and percent.
        test_loss, test_accuracy: on the test set.
    After the loss stopped being finite, all values are NaN: the run diverged.

    Args:
        batch_size: Samples of one batch.
        learning_rate: η.
        steps: Between two evaluations.
        evaluations: How many, without the one before training.
        samples: Of the training set, the same random ones for all seeds; a multiple of what one step takes.
        penalty: µ.
        parts: Batches that one step takes.
        label_noise: The fraction of the labels that are wrong, as in a Recipe.
    """

    KIND = "gradient_penalty"
    EXTENDS = "evaluations"

    batch_size: int = checked(positive_int)
    learning_rate: float = checked(rounded_rate)
    steps: int = checked(positive_int)
    evaluations: int = checked(positive_int)
    samples: int = checked(positive_int)
    penalty: float = checked(not_negative, default=0.0)
    parts: int = checked(positive_int, default=1)
    label_noise: float = checked(below_one, default=0.0)

    def __post_init__(self):
        super().__post_init__()
        if self.samples % self.step_samples:
            raise InvalidInput(f"samples must be a multiple of {self.step_samples}, those of a step")

    @property
    def step_samples(self) -> int:
        """The number of samples of one step."""
        return self.batch_size * self.parts

    @property
    def clock(self) -> np.ndarray:
        """(evaluations + 1,) η × steps at each evaluation."""
        return self.learning_rate * self.steps * np.arange(self.evaluations + 1)

    def validate(self, dataset):
        available = len(dataset.x_train)
        if self.samples > available:
            text = f"samples {self.samples} is larger than the training set of {dataset.name}, which has {available}"
            raise InvalidInput(f"{text} samples")

    def work(self, dataset):
        steps = self.steps * self.evaluations
        passes = 4 if self.penalty else 1  # a Hessian-vector product takes about three gradients
        evaluated = (self.evaluations + 1) * (self.samples + len(dataset.x_test))
        programs = frozenset([(self.KIND, self.batch_size, self.parts, self.penalty > 0)])
        return Work(passes * steps * self.step_samples, passes * steps * self.parts, evaluated, programs=programs)

    def table(self, run):
        return {name: run.final(name) for name in COLUMNS}

    def measure(self, context):
        trainer, start = context.trainer, context.resume_from
        x, y = trainer.cached(train_subset, self.samples)
        labels = wrong_labels(y.numpy(), context.dataset.classes, self.label_noise, context.seed)
        data = x, tf.constant(labels)

        def evaluate():
            return [*trainer.evaluate(*data), *trainer.evaluate(*trainer.test_data)]

        columns = {name: np.full(self.evaluations + 1, np.nan, np.float32) for name in COLUMNS}
        if start is None:
            trainer.set_weights(trainer.initial_weights(context.seed))
            done, rows = 0, [evaluate()]
        else:
            trainer.set_weights(weights_of(start.state))
            done = start.metadata["evaluations"]
            rows = np.transpose([start.columns[name][: done + 1] for name in COLUMNS])
        for name, values in zip(COLUMNS, np.transpose(rows), strict=True):
            columns[name][: done + 1] = values
        while True:
            state = {f"weight_{i}": weight for i, weight in enumerate(trainer.get_weights())}
            checkpoint = Result(dict(columns), state, {"evaluations": done}, done / self.evaluations)
            yield checkpoint.progress, checkpoint
            if done == self.evaluations:
                return
            for part in self.descend(trainer, data, context.seed, done * self.steps):
                yield (done + part) / self.evaluations, checkpoint
            row = evaluate()
            if not np.isfinite(row).all():
                yield 1.0, replace(checkpoint, progress=1.0, diverged=True)
                return
            done += 1
            for name, value in zip(COLUMNS, row, strict=True):
                columns[name][done] = value

    def descend(self, trainer: Trainer, data: tuple, seed: int, before: int):
        """Take the steps up to the next evaluation, and yield the fraction that is done about once a second."""
        run = trainer.cached(make_descent, self.batch_size, self.parts, self.penalty > 0)
        order = tf.constant(np.concatenate([self.rows(seed, before + step) for step in range(self.steps)]))
        settings, first, limit = tf.constant([self.learning_rate, self.penalty], tf.float32), 0, 1
        while first < self.steps:
            last, started = min(first + limit, self.steps), time.perf_counter()
            run(*data, order, settings, tf.constant(first), tf.constant(last)).numpy()
            seconds = time.perf_counter() - started
            limit = trainer.steps_per_call or max(1, int(trainer.seconds_per_call * (last - first) / seconds))
            first = last
            yield first / self.steps

    def rows(self, seed: int, step: int) -> np.ndarray:
        """Return the samples of a step, counted from 0: all in the same order, or some of a new permutation."""
        epoch, place = divmod(step, self.samples // self.step_samples)
        if self.step_samples == self.samples:
            epoch = 0
        return epoch_permutation(self.samples, seed, epoch)[place * self.step_samples :][: self.step_samples]

    def __str__(self):
        text = f"{self.batch_size} at {self.learning_rate:g}"
        if self.parts > 1:
            text = f"{self.parts} × {text}"
        return text + (f", penalty {self.penalty:g}" if self.penalty else "")


def make_descent(trainer: Trainer, batch_size: int, parts: int, is_penalized: bool):
    """Return a compiled function that takes steps `first, …, last - 1`; `settings` are the rate and the penalty µ."""
    model, variables = trainer.model, trainer.model.trainable_variables
    gradients_of = dense_gradients if dense_layers(model) else gradients_part_by_part

    @tf.function(jit_compile=trainer.compile_loop)
    def descend(x, y, order, settings, first, last):
        size, step = parts * batch_size, first
        while step < last:
            batch = take_rows(x, y, tf.slice(order, [step * size], [size]))
            gradients = gradients_of(model, batch, parts, settings[1] if is_penalized else None)
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(settings[0] * gradient)
            step += 1
        return step

    return descend


def gradients_part_by_part(model, batch: tuple, parts: int, penalty=None) -> list:
    """Return the gradients of the penalized loss of a batch of several parts: the means of gₖ + µ / 2 · Hₖ gₖ."""
    variables = [variable.value for variable in model.trainable_variables]
    x, y = (tf.reshape(array, [parts, array.shape[0] // parts, *array.shape[1:]]) for array in batch)
    total, part = [tf.zeros_like(variable) for variable in variables], tf.constant(0)
    while part < parts:
        _, gradients = loss_and_gradients(model, variables, x[part], y[part], training=False)
        if penalty is not None:
            with tf.autodiff.ForwardAccumulator(variables, gradients) as along:
                _, again = loss_and_gradients(model, variables, x[part], y[part], training=False)
            products = along.jvp(again)
            gradients = [g + penalty / 2 * product for g, product in zip(gradients, products, strict=True)]
        total = [before + gradient for before, gradient in zip(total, gradients, strict=True)]
        part += 1
    return [gradient / parts for gradient in total]


def dense_layers(model) -> list:
    """Return the layers of a network of dense layers; none if it has others."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.Flatten)]
    is_dense = isinstance(model, keras.Sequential) and all(isinstance(layer, keras.layers.Dense) for layer in layers)
    return layers if is_dense else []


def dense_gradients(model, batch: tuple, parts: int, penalty=None) -> list:
    """Return what `gradients_part_by_part` returns, for a network of dense layers, without the gradient of each part.

    The gradient of a kernel is Σ aᵢ δᵢᵀ, over the samples i of a part, with the inputs a of its layer and the
    derivatives δ of the loss by its outputs. So its squared norm is Σ (aᵢ · aⱼ) (δᵢ · δⱼ), a sum over pairs.
    """
    x, y = batch
    size = x.shape[0] // parts
    with tf.GradientTape() as outer:
        inputs, outputs, values = [], [], tf.reshape(x, [x.shape[0], -1])
        with tf.GradientTape() as inner:
            for layer in dense_layers(model):
                inputs.append(values)
                values = tf.matmul(values, layer.kernel.value)
                values = values + layer.bias.value if layer.use_bias else values
                inner.watch(values)
                outputs.append(values)
                values = layer.activation(values)
            loss = tf.reduce_sum(cross_entropy(y, values)) / size  # the sum of the parts' mean losses
        if penalty is not None:
            for layer, a, delta in zip(dense_layers(model), inputs, inner.gradient(loss, outputs), strict=True):
                a, delta = (tf.reshape(array, [parts, size, -1]) for array in (a, delta))
                pairs = tf.matmul(a, a, transpose_b=True) + float(layer.use_bias)
                loss += penalty / 4 * tf.reduce_sum(pairs * tf.matmul(delta, delta, transpose_b=True))
        loss = loss / parts
    return outer.gradient(loss, [variable.value for variable in model.trainable_variables])
