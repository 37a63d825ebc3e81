"""The Keras model of the study, and how it is started and judged. Knows nothing of training."""

import contextlib
import functools

import keras
import numpy as np
import tensorflow as tf

EVALUATION_BATCH = 10_000  # never that of the training, so that what is measured cannot depend on what is studied


def mlp(input_shape, classes):
    """Two hidden layers of 1024 ReLU units, and logits; Keras's own initialisation: Glorot uniform, zero biases."""
    dense = functools.partial(keras.layers.Dense, dtype="float32")
    return keras.Sequential(
        [
            keras.Input(input_shape, dtype="float32"),
            keras.layers.Flatten(dtype="float32"),
            dense(1024, activation="relu"),
            dense(1024, activation="relu"),
            dense(classes),
        ]
    )


def shared(input_shape, classes, strategy=None):
    """The one model of this shape in a process: compiled functions belong to it, and weights are assigned into it.

    Under a strategy, every replica has a copy of its weights.
    """
    return _shared(input_shape, classes, strategy)


@functools.cache
def _shared(input_shape, classes, strategy):
    with strategy.scope() if strategy else contextlib.nullcontext():
        return mlp(input_shape, classes)


def initial_weights(input_shape, classes, seed):
    """The weights that a new model starts from: the same seed gives the same ones, whatever is trained with them."""
    keras.utils.set_random_seed(seed)
    return mlp(input_shape, classes).get_weights()


def stored_weights(result):
    """The weights in a Result's state, as `model.get_weights()` gives them."""
    return [result.state[f"weight_{i}"] for i in range(sum(name.startswith("weight_") for name in result.state))]


def final_weights(start):
    """The weights that a trained Result ends with; NaN where it diverged, so that all that follows from them is."""
    weights = stored_weights(start)
    return [np.full_like(weight, np.nan) for weight in weights] if start.about["diverged"] else weights


def cross_entropy(labels, logits):
    """(n,) the cross-entropy of each sample, in nats."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


@functools.cache
def _sums(model):
    @tf.function(jit_compile=True)
    def sums(x, y):
        logits = model(x, training=False)
        correct = tf.argmax(logits, axis=1, output_type=y.dtype) == y
        return tf.reduce_sum(cross_entropy(y, logits)), tf.reduce_sum(tf.cast(correct, tf.int32))

    return sums


def evaluate(model, x, y, batch_size=EVALUATION_BATCH):
    """(mean loss, accuracy) of the model as it stands, on all samples."""
    loss, correct = 0.0, 0
    for first in range(0, len(x), batch_size):
        some = slice(first, first + batch_size)
        batch_loss, batch_correct = _sums(model)(x[some], y[some])
        loss, correct = loss + float(batch_loss), correct + int(batch_correct)
    return loss / len(x), correct / len(x)


def distances(weights, initial):
    """How far weights are from where they began, and how large they are, in the columns of a Recipe.

    A kernel has two axes or more, a bias one; `weights` and `initial` are as `model.get_weights()` gives them.
    """

    def dot(a, b):
        return np.einsum("i,i->", a.ravel(), b.ravel(), dtype=np.float64)  # sums in double without a copy in double

    def squares(pairs):
        """(now · now, now · then, then · then) for each pair of arrays."""
        return np.array([(dot(now, now), dot(now, then), dot(then, then)) for now, then in pairs]).reshape(-1, 3)

    def size_and_distance(squares):
        now, mixed, then = squares.sum(axis=0)
        return np.sqrt(now), np.sqrt(max(0.0, now - 2 * mixed + then))

    pairs = list(zip(weights, initial, strict=True))
    kernels = squares(pair for pair in pairs if pair[0].ndim > 1)
    biases = squares(pair for pair in pairs if pair[0].ndim == 1)
    weight_norm, weight_distance = size_and_distance(kernels)
    bias_norm, bias_distance = size_and_distance(biases)
    return {
        "weight_distance": weight_distance,
        "bias_distance": bias_distance,
        "weight_norm": weight_norm,
        "bias_norm": bias_norm,
        "cosines": kernels[:, 1] / np.sqrt(kernels[:, 0] * kernels[:, 2]),
        "layer_norms": np.sqrt(kernels[:, 0]),
    }
