"""The gradient of one single batch of each size, at fixed weights."""

from dataclasses import dataclass

import numpy as np

from bstudy.backend import keras, tf
from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, batch_size_tuple, checked, for_typical_sizes, positive_int
from bstudy.experiments.gradient_trials import GradientTrials
from bstudy.experiments.recipe import Recipe
from bstudy.store import Result

FORWARD_BATCH_SIZE = 10_000


@dataclass(frozen=True)
class SingleBatches(Experiment):
    """The gradient of the summed loss over one batch of each size, at trained weights.

    For samples that are drawn with replacement, E ‖S_B‖² = B tr Σ + B² ‖g‖².

    Columns:
        norm: (batch sizes, draws) of the gradient of the last layer's kernel.
        noise_trace: () tr Σ, the trace of the covariance of a single sample's gradient over the training set.
        squared_gradient_norm: () ‖g‖², of the mean gradient over the training set.

    Args:
        trained: The training whose final weights are used.
        batch_sizes: Of the batches.
        draws: How many batches of each size.
    """

    KIND = "single_batches"

    trained: Recipe
    batch_sizes: tuple[int, ...] = checked(batch_size_tuple, default=GradientTrials.batch_sizes)
    draws: int = checked(positive_int, default=300)

    def work(self, dataset):
        return Work(evaluated=2 * len(dataset.x_train), seconds=2e-6 * self.draws * sum(self.batch_sizes))

    def table(self, run):
        squares = np.square(run["norm"], dtype=np.float64).mean(axis=2)
        return for_typical_sizes("norm", self.batch_sizes, squares**0.5)

    def measure(self, context):
        h, delta = last_layer_terms(context)
        squares = np.mean(np.square(h).sum(1, dtype=np.float64) * np.square(delta).sum(1, dtype=np.float64))
        squared_gradient_norm = np.sum(np.square(h.T @ delta / len(h), dtype=np.float64))
        random, norms = np.random.default_rng([context.seed, 1]), []
        for size in self.batch_sizes:
            draws = (random.integers(len(h), size=size) for _ in range(self.draws))
            norms.append([np.linalg.norm(h[rows].T @ delta[rows]) for rows in draws])
            yield (len(norms) - 0.5) / len(self.batch_sizes), Result({}, progress=0.0)
        columns = {
            "norm": np.array(norms, np.float32),
            "noise_trace": np.float32(squares - squared_gradient_norm),
            "squared_gradient_norm": np.float32(squared_gradient_norm),
        }
        yield 1.0, Result(columns)

    def __str__(self):
        return f"single batches after {self.trained}"


def last_layer_terms(context) -> tuple[np.ndarray, np.ndarray]:
    """Return h (n, units) and δ (n, classes): the gradient of the last kernel is Σ hᵢ δᵢᵀ, without a tape.

    h is the input of the last layer, and δ = softmax − one-hot, for each training sample.

    Raises:
        InvalidInput: the model does not end in a Dense layer of logits.
    """
    trainer, dataset = context.trainer, context.dataset
    last = trainer.model.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.linear:
        raise InvalidInput(f"the model {trainer.spec} must end in a Dense layer without an activation for this chapter")
    trainer.set_weights(context.trained_weights())
    inputs = keras.Model(trainer.model.inputs[0], last.input)
    h, delta = [], []
    for first in range(0, len(dataset.x_train), FORWARD_BATCH_SIZE):
        batch = slice(first, first + FORWARD_BATCH_SIZE)
        x, labels = dataset.x_train[batch], dataset.y_train[batch]
        h.append(inputs(x, training=False).numpy())
        probabilities = tf.nn.softmax(trainer.model(x, training=False)).numpy()
        delta.append(probabilities - np.eye(dataset.classes, dtype=np.float32)[labels])
    return np.concatenate(h), np.concatenate(delta)
