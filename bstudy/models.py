"""The networks that are trained: the book's, by name, or a user's own function."""

import hashlib
import math
import os
import re
from dataclasses import dataclass, replace

from bstudy import user_model
from bstudy.backend import keras, keras_defaults, random_seed
from bstudy.data import Dataset
from bstudy.errors import InvalidInput
from bstudy.processes import stdout_to_stderr

TRIED_SAMPLES = 100
HIDDEN = 64  # units of the small network's one hidden layer
WANTED = "use mlp, cnn, or MODULE:FUNCTION, a function of (input_shape, classes) that returns a Keras model"


@dataclass(frozen=True)
class ModelSpec:
    """Which network to build, by name."""

    name: str
    files: tuple[tuple[str, str], ...] = ()  # of a user's function: (path, SHA-256) of what was imported for it
    built: str = ""  # of a user's function: SHA-256 of the network that it returns for some data
    has_xla: bool = True  # whether XLA has all its operations

    @property
    def is_builtin(self) -> bool:
        return not self.files

    def fitted_to(self, dataset: Dataset) -> "ModelSpec":
        """Return this model after a trial on these data; a user's then holds what was built.

        Raises:
            InvalidInput: the network cannot be trained on them.
        """
        input_shape = dataset.input_shape
        if self == CNN and (len(input_shape) not in (2, 3) or min(input_shape[:2]) < 4):
            raise InvalidInput(
                f"the cnn needs images, (rows, columns) or (rows, columns, channels), of at least 4 × 4; "
                f"these samples have the shape {input_shape}"
            )
        if self.is_builtin or self.built:
            return self

        def build(seed):
            with random_seed(seed):
                return build_model(self, input_shape, dataset.classes)

        with keras_defaults(), stdout_to_stderr():
            built, has_xla = user_model.try_model(self.name, build, dataset.x_train[:TRIED_SAMPLES])
        return replace(find_model(self.name), built=built, has_xla=has_xla)  # it may have imported more files

    @property
    def digest(self) -> str:
        """SHA-256 of a user's function and of the network that it returns; "" of the book's networks."""
        if self.is_builtin:
            return ""
        digests = sorted(digest for _, digest in self.files)  # a file may be renamed
        return hashlib.sha256("".join([*digests, self.built]).encode()).hexdigest()

    def cache_key(self) -> list[str]:
        """Return what a result depends on; the module may be renamed."""
        return [self.name.rpartition(":")[2], self.digest]

    def facts(self) -> dict[str, str]:
        """Return what a record reports of the model."""
        return {"name": self.name, "digest": self.digest}

    def multiplications(self, input_shape: tuple[int, ...]) -> int:
        """Return about how many multiplications a sample takes on its way forward, for estimates of time only."""
        inputs = math.prod(input_shape)
        return 1400 * inputs if self == CNN else 1024 * (inputs + 1024)

    def __str__(self):
        return self.name


MLP, CNN = ModelSpec("mlp"), ModelSpec("cnn")
NORMALIZED, SMALL = ModelSpec("normalized"), ModelSpec("small")  # of experiments, not a choice of the user


def find_model(name: str) -> ModelSpec:
    """Return the model of this name: mlp, cnn, or MODULE:FUNCTION.

    Raises:
        InvalidInput: there is none.
    """
    if name in (MLP.name, CNN.name):
        return ModelSpec(name)
    if re.search(r"\.(keras|h5|hdf5|pb|pkl)$", name) or (":" not in name and os.path.exists(name)):
        raise InvalidInput(
            f"{name!r} is a file, and loading a saved model can run any code in it; "
            "write a function that builds the model instead, and name it as MODULE:FUNCTION"
        )
    if not user_model.is_function_name(name):
        raise InvalidInput(f"there is no model {name!r}; {WANTED}")
    user_model.load_function(name)
    return ModelSpec(name, tuple(user_model.imported_files(name).items()))


def build_model(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Return a new network that maps (n, *input_shape) to logits (n, classes).

    Raises:
        InvalidInput: the network does not fit the data, or the user's function fails.
    """
    with keras_defaults():
        if spec.is_builtin:
            return {MLP: mlp, CNN: cnn, NORMALIZED: normalized, SMALL: small}[spec](input_shape, classes)
        user_model.check_unchanged(spec.files)
        return user_model.call_function(spec.name, input_shape, classes)


def mlp(input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Two hidden layers of 1024 ReLU units, with Keras's initialization: Glorot uniform kernels, zero biases."""
    layers = keras.layers
    hidden = [layers.Dense(1024, activation="relu"), layers.Dense(1024, activation="relu")]
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), *hidden, layers.Dense(classes)])


def normalized(input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """One hidden layer of 128 units, with batch normalization before its ReLU."""
    layers = keras.layers
    hidden = [layers.Dense(128), layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), *hidden, layers.Dense(classes)])


def small(input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """One hidden layer of 64 ReLU units: the network of RateGrid."""
    layers = keras.layers
    hidden = layers.Dense(HIDDEN, activation="relu")
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), hidden, layers.Dense(classes)])


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
