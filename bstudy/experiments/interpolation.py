"""The loss on the straight line through two trained points."""

import math
from dataclasses import dataclass

import numpy as np

from bstudy.backend import keras
from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, checked, positive_int
from bstudy.experiments.recipe import TRAIN_EVAL_SAMPLES, Recipe
from bstudy.store import Result
from bstudy.trainer import train_subset

STATISTICS_BATCH_SIZE = 1000


def pair(name, value):
    if not (isinstance(value, tuple) and len(value) == 2):
        raise InvalidInput(f"{name} must be two recipes, not {value!r}")
    return value


@dataclass(frozen=True)
class Interpolation(Experiment):
    """Loss and accuracy on the line f(α b + (1 − α) a) through the final weights a and b of two trainings.

    After Goodfellow et al. (2015) and Keskar et al. (2017).

    Columns, each (points,):
        alpha: From −1 to 2: a is at 0, b at 1.
        train_loss, train_accuracy: On the random training subset of a Recipe; in nats, and percent.
        test_loss, test_accuracy: On the test set.

    Args:
        trained: The two trainings.
        points: On the line.
    """

    KIND = "interpolation"

    trained: tuple[Recipe, Recipe] = checked(pair)
    points: int = checked(positive_int, default=25)

    def work(self, dataset):
        evaluated = min(len(dataset.x_train), TRAIN_EVAL_SAMPLES) + len(dataset.x_test)
        return Work(evaluated=self.points * evaluated, seconds=0.01 * self.points)

    def table(self, run):
        return {f"maximum {part} accuracy (%)": run[f"{part}_accuracy"].max(axis=1) for part in ("train", "test")}

    def measure(self, context):
        trainer, rows = context.trainer, []
        trainer.set_weights(context.trained_weights(0))
        a, b = (trainer.trainable_part(context.trained_weights(number)) for number in (0, 1))
        subset = trainer.cached(train_subset, TRAIN_EVAL_SAMPLES)
        alphas = np.linspace(-1, 2, self.points)
        for alpha in alphas:
            yield len(rows) / len(alphas), Result({}, progress=0.0)
            for variable, start, end in zip(trainer.model.trainable_variables, a, b, strict=True):
                variable.assign(alpha * end + (1 - alpha) * start)
            recompute_statistics(trainer.model, subset[0])
            rows.append((*trainer.evaluate(*subset), *trainer.evaluate(*trainer.test_data)))
        names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
        columns = dict(zip(names, np.array(rows, np.float32).T, strict=True))
        yield 1.0, Result(columns | {"alpha": np.float32(alphas)})

    def __str__(self):
        return f"the line from {self.trained[0]} to {self.trained[1]}"


def recompute_statistics(model, x) -> None:
    """Recompute the batch-normalization statistics on x: the stored ones belong to other weights."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for number in range(math.ceil(len(x) / STATISTICS_BATCH_SIZE)):
        for layer in layers:
            layer.momentum = number / (number + 1)  # the mean over all batches so far
        model(x[number * STATISTICS_BATCH_SIZE :][:STATISTICS_BATCH_SIZE], training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
