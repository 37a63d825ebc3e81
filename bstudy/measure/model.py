"""The Keras models, and how they are started and judged. Knows nothing of training."""

import contextlib
import functools
from importlib import import_module

import keras
import numpy as np
import tensorflow as tf

from bstudy.errors import InvalidInput
from bstudy.models import CNN, MLP, with_working_directory

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


def cnn(input_shape, classes):
    """Two convolutions of 16 and 32 3 × 3 filters, a 2 × 2 maximum after each, a layer of 64 units, and logits."""
    layers, settings = keras.layers, {"activation": "relu", "dtype": "float32"}
    return keras.Sequential(
        [
            keras.Input(input_shape, dtype="float32"),
            layers.Reshape((*input_shape, 1)[:3], dtype="float32"),  # a grey image has one channel
            layers.Conv2D(16, 3, padding="same", **settings),
            layers.MaxPooling2D(dtype="float32"),
            layers.Conv2D(32, 3, padding="same", **settings),
            layers.MaxPooling2D(dtype="float32"),
            layers.Flatten(dtype="float32"),
            layers.Dense(64, **settings),
            layers.Dense(classes, dtype="float32"),
        ]
    )


def built(architecture):
    """A new model of this Architecture. Raises InvalidInput where a reader's function gives none that fits."""
    model, input_shape, classes = architecture
    if model in (MLP, CNN):
        return {MLP: mlp, CNN: cnn}[model](input_shape, classes)

    def refuse(reason):
        raise InvalidInput(f"the model {model} does not fit: {reason}") from None

    module, _, name = model.name.partition(":")
    with_working_directory()
    try:
        function = getattr(import_module(module), name, None)
        if not callable(function):
            refuse(f"{module} has no function {name}")
        new = function(input_shape, classes)
    except InvalidInput:
        raise
    except Exception as error:  # whatever a reader's code raises
        refuse(f"{name}({input_shape}, {classes}) raised {type(error).__name__}: {error}")
    if not isinstance(new, keras.Model):
        refuse(f"{name} returned {type(new).__name__}, and no Keras model")
    if not new.built or not new.trainable_variables:
        refuse("it has no weights to train; does it begin with keras.Input(input_shape)?")
    if len(new.inputs) != 1 or tuple(new.input_shape[1:]) != input_shape:
        refuse(f"it takes {new.input_shape}, and a batch of these data is (None, {', '.join(map(str, input_shape))})")
    if tuple(new.output_shape[1:]) != (classes,):
        refuse(f"it returns {new.output_shape}; wanted logits, (None, {classes})")
    if getattr(new.layers[-1], "activation", None) in (keras.activations.softmax, keras.activations.sigmoid):
        refuse("it ends in probabilities; wanted logits, a last layer without an activation")
    if any(variable.dtype != "float32" for variable in new.weights):
        refuse("its weights are not all float32")
    return new


def shared(architecture, strategy=None):
    """The one model of this kind in a process: compiled functions belong to it, and weights are assigned into it.

    Under a strategy, every replica has a copy of its weights.
    """
    return _shared(architecture, strategy)


@functools.cache
def _shared(architecture, strategy):
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = built(architecture)
    if strategy and len(model.variables) > len(model.trainable_variables):
        raise InvalidInput(
            f"the model {architecture.model} keeps more than weights (batch normalisation, dropout), which copies on "
            "several devices would not have in common; train it on one device"
        )
    return model


def initial_weights(architecture, seed):
    """The weights that a new model starts from: the same seed gives the same ones, whatever is trained with them."""
    keras.utils.set_random_seed(seed)
    return weights_of(built(architecture))


def weights_of(model):
    """All that a model keeps: its weights, the statistics of batch normalisation, the state of dropout."""
    return [variable.numpy() for variable in model.variables]


def put(model, weights):
    """Have the model keep what `weights_of` gave."""
    for variable, value in zip(model.variables, weights, strict=True):
        variable.assign(value)


def trained(model, weights):
    """Of what `weights_of` gave, what training moves: in the order of `model.trainable_variables`."""
    there = {id(variable): weight for variable, weight in zip(model.variables, weights, strict=True)}
    return [there[id(variable)] for variable in model.trainable_variables]


def xla(model):
    """Whether XLA makes a loop over this model's steps faster; on a CPU its convolutions are tens of times slower."""
    return all(len(variable.shape) < 3 for variable in model.trainable_variables)


def stored_weights(result):
    """The weights in a Result's state, as `weights_of` gives them."""
    return [result.state[f"weight_{i}"] for i in range(sum(name.startswith("weight_") for name in result.state))]


def final_weights(start):
    """The weights that a trained Result ends with; NaN where it diverged, so that all that follows from them is."""
    weights = stored_weights(start)
    if not start.about["diverged"]:
        return weights
    return [np.full_like(weight, np.nan) if weight.dtype.kind == "f" else weight for weight in weights]


def cross_entropy(labels, logits):
    """(n,) the cross-entropy of each sample, in nats."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


@functools.cache
def _sums(model):
    @tf.function(jit_compile=xla(model))
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


def norm(tensors):
    """The Euclidean norm of all their entries together."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(tensor)) for tensor in tensors]))


def distances(weights, initial):
    """How far weights are from where they began, and how large they are, in the columns of a Recipe.

    A kernel has two axes or more, a bias (and what else has one axis) one; `weights` and `initial` are as `trained`
    gives them.
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
    with np.errstate(invalid="ignore"):  # a kernel that begins at zero has no direction there
        cosines = kernels[:, 1] / np.sqrt(kernels[:, 0] * kernels[:, 2])
    return {
        "weight_distance": weight_distance,
        "bias_distance": bias_distance,
        "weight_norm": weight_norm,
        "bias_norm": bias_norm,
        "cosines": cosines,
        "layer_norms": np.sqrt(kernels[:, 0]),
    }
