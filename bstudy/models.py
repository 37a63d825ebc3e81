"""The networks that are trained: the book's, by name, or the reader's own function."""

import hashlib
import importlib
import importlib.util
import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from bstudy.backend import keras, keras_defaults
from bstudy.errors import InvalidInput

WANTED = "use mlp, cnn, or MODULE:FUNCTION, a function of (input_shape, classes) that returns a Keras model"


@dataclass(frozen=True)
class ModelSpec:
    """Which network to build, by name."""

    name: str
    digest: str = ""  # SHA-256 of the file that holds a reader's function: another text is another model

    @property
    def is_builtin(self) -> bool:
        return not self.digest

    def validate(self, input_shape: tuple[int, ...]) -> None:
        """Raise InvalidInput if the book's network cannot take such samples; a reader's own is built to find out."""
        if self == CNN and (len(input_shape) not in (2, 3) or min(input_shape[:2]) < 4):
            raise InvalidInput(
                f"the cnn needs images, (rows, columns) or (rows, columns, channels), of at least 4 × 4; "
                f"these samples have the shape {input_shape}"
            )

    def cache_key(self) -> list[str]:
        """Return what a result depends on; the module may be renamed."""
        return [self.name.rpartition(":")[2], self.digest]

    def multiplications(self, input_shape: tuple[int, ...]) -> int:
        """Return about how many multiplications a sample takes on its way forward, for estimates of time only."""
        inputs = math.prod(input_shape)
        return 1400 * inputs if self == CNN else 1024 * (inputs + 1024)

    def __str__(self):
        return self.name


MLP, CNN = ModelSpec("mlp"), ModelSpec("cnn")


def find_model(name: str) -> ModelSpec:
    """Return the model of this name: mlp, cnn, or MODULE:FUNCTION.

    Raises:
        InvalidInput: there is none.
    """
    if name in (MLP.name, CNN.name):
        return ModelSpec(name)
    module, colon, function = name.partition(":")
    if re.search(r"\.(keras|h5|hdf5|pb|pkl)$", name) or (not colon and os.path.exists(name)):
        raise InvalidInput(
            f"{name!r} is a file, and loading a saved model can run any code in it; "
            "write a function that builds the model instead, and name it as MODULE:FUNCTION"
        )
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise InvalidInput(f"there is no model {name!r}; {WANTED}")
    _add_working_directory()
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:  # anything that a package's own __init__ raises
        raise InvalidInput(f"module {module!r} cannot be imported: {type(error).__name__}: {error}") from None
    if found is None or not found.has_location:
        raise InvalidInput(f"there is no module {module!r} in {os.getcwd()} or among the installed ones; {WANTED}")
    return ModelSpec(name, hashlib.sha256(Path(found.origin).read_bytes()).hexdigest())


def _add_working_directory():
    """Allow imports from the working directory, as `python` does and a script's command does not."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def build_model(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Return a new network that maps (n, *input_shape) to logits (n, classes).

    Raises:
        InvalidInput: the network does not fit the data, or the reader's function fails.
    """
    with keras_defaults():
        if spec.is_builtin:
            return {MLP: mlp, CNN: cnn}[spec](input_shape, classes)
        model = _call_function(spec, input_shape, classes)
    if reason := _misfit(model, input_shape, classes):
        raise InvalidInput(f"the model {spec} does not fit: {reason}")
    return model


def mlp(input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Two hidden layers of 1024 ReLU units, with Keras's initialization: Glorot uniform kernels, zero biases."""
    layers = keras.layers
    hidden = [layers.Dense(1024, activation="relu"), layers.Dense(1024, activation="relu")]
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), *hidden, layers.Dense(classes)])


def cnn(input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Two convolutions of 16 and 32 filters of 3 × 3, each with 2 × 2 maximum pooling, and a layer of 64 units."""
    layers = keras.layers
    model = keras.Sequential([keras.Input(input_shape)])
    model.add(layers.Reshape((*input_shape, 1)[:3]))  # a gray image has one channel
    for filters in (16, 32):
        model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    for layer in (layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(classes)):
        model.add(layer)
    return model


def _call_function(spec, input_shape, classes):
    module, _, name = spec.name.partition(":")
    _add_working_directory()
    try:
        function = getattr(importlib.import_module(module), name)
        return function(input_shape, classes)
    except Exception as error:  # anything that a reader's code raises
        raise InvalidInput(
            f"the model {spec} does not fit: {name}({input_shape}, {classes}) raised {type(error).__name__}: {error}"
        ) from None


def _misfit(model, input_shape, classes):
    """Return why bstudy cannot train what a reader's function returned, or None."""
    if not isinstance(model, keras.Model):
        return f"it is of type {type(model).__name__}, not a Keras model"
    if not model.built or not model.trainable_variables:
        return "it has no weights to train; does it begin with keras.Input(input_shape)?"
    if len(model.inputs) != 1 or tuple(model.input_shape[1:]) != input_shape:
        return f"it takes {model.input_shape}, but a batch of these data is (None, {', '.join(map(str, input_shape))})"
    if tuple(model.output_shape[1:]) != (classes,):
        return f"it returns {model.output_shape}; it must return logits, (None, {classes})"
    if getattr(model.layers[-1], "activation", None) in (keras.activations.softmax, keras.activations.sigmoid):
        return "it ends in probabilities; it must end in logits, a last layer without an activation"
    if any(variable.dtype != "float32" for variable in model.weights):
        return "its weights are not all float32"
    return None
