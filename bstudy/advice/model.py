"""The reader's network as a compiled Keras model, whose loss and optimizer are used as they are."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bstudy import models, user_model
from bstudy.advice.data import Arrays
from bstudy.backend import keras, keras_defaults, random_seed
from bstudy.data import Dataset
from bstudy.errors import InvalidInput, in_one_line
from bstudy.models import build_model
from bstudy.processes import stdout_to_stderr

TRIED_SAMPLES = 32
OPTIMIZERS = ("sgd", "adam")
NOT_COMPILED = "compile it with its loss and optimizer, or end it in logits for labels that are class numbers"


@dataclass(frozen=True)
class Network:
    """What is trained.

    Args:
        name: Of the model.
        model: A compiled model.
        weights: Returns the initial values of all its variables for a seed.
        arrays: The data, as this model takes them.
        seeds_change_weights: Whether seeds have different initial weights, or only different orders of the samples.
        first_seed: Of the race; the others follow.
    """

    name: str
    model: "keras.Model"
    weights: Callable[[int], list[np.ndarray]] = field(repr=False)
    arrays: Arrays
    seeds_change_weights: bool = True
    first_seed: int = 0

    def new_optimizer(self) -> "keras.optimizers.Optimizer":
        """Return an optimizer like that of the model, with a learning rate that can be set."""
        before = self.model.optimizer
        with keras_defaults():
            optimizer = type(before).from_config(before.get_config() | {"learning_rate": 0.01})
            optimizer.build(self.model.trainable_variables)
        return optimizer

    @property
    def optimizer_name(self) -> str:
        """The optimizer and its main settings, as in "SGD (momentum 0.9)"."""
        config = self.model.optimizer.get_config()
        shown = [
            name
            for name in ("momentum", "nesterov", "weight_decay", "clipnorm", "global_clipnorm", "clipvalue")
            if config.get(name)
        ]
        settings = ", ".join(
            name if config[name] is True else f"{name.replace('_', ' ')} {config[name]:g}" for name in shown
        )
        return type(self.model.optimizer).__name__ + (f" ({settings})" if settings else "")

    @property
    def had_schedule(self) -> bool:
        """Whether the optimizer had a schedule of learning rates, which constant ones replace."""
        return isinstance(self.model.optimizer.get_config().get("learning_rate"), dict)


def find_network(model: Any, arrays: Arrays, optimizer: str | None = None) -> Network:
    """Return the network of a model.

    Args:
        model: A compiled Keras model; "mlp" or "cnn"; or a function, or its name MODULE:FUNCTION. The function takes no
            argument, the shape of a sample, or this shape and the number of classes (None if the labels are not class
            numbers). It returns a compiled model, or a classifier that ends in logits and is not compiled.
        arrays: The data. For a model that is not compiled they are standardized, as in the book.
        optimizer: "sgd" or "adam", for a model that is not compiled.

    Raises:
        InvalidInput: it cannot be trained on these data.
    """
    if optimizer not in (None, *OPTIMIZERS):
        raise InvalidInput(f"the optimizer must be {' or '.join(OPTIMIZERS)}, not {optimizer!r}")
    if isinstance(model, str) and model in (models.MLP.name, models.CNN.name):
        return _of_function(model, _builtin(model, arrays), arrays, optimizer)
    if isinstance(model, str):
        if ":" not in model:
            models.find_model(model)  # says what is wrong
        function = user_model.load_function(model)
        return _of_function(model, function, arrays, optimizer)
    if isinstance(model, keras.Model):
        return _of_instance(model, arrays, optimizer)
    if callable(model):
        return _of_function(getattr(model, "__name__", "model"), model, arrays, optimizer)
    raise InvalidInput(f"the model must be a Keras model or a function that returns one, not {type(model).__name__}")


def _builtin(name, arrays):
    spec = models.find_model(name)

    def build(input_shape, classes):
        if classes is None:
            user_model.refuse(name, "it is a classifier, and the labels are not class numbers from 0 on")
        return build_model(spec, input_shape, classes)

    if arrays.classes is not None:
        spec.fitted_to(
            Dataset(arrays.name, arrays.x_train, arrays.y_train, arrays.x_test, arrays.y_test, arrays.classes, "")
        )
    return build


def _of_instance(model, arrays, optimizer):
    if not model.compiled:
        user_model.refuse(model.name, f"it is not compiled; {NOT_COMPILED}")
    _check(model.name, model, optimizer)
    start = [variable.numpy() for variable in model.variables]
    return Network(model.name, model, lambda seed: start, arrays, seeds_change_weights=False)


def _of_function(name, function, arrays, optimizer):
    def build(seed):
        with random_seed(seed), stdout_to_stderr():
            try:
                return function(*_arguments(name, function, arrays))
            except InvalidInput:
                raise
            except (Exception, SystemExit) as error:  # anything that a user's code raises
                user_model.refuse(name, f"it raised {in_one_line(error)}")

    model = build(0)
    if not isinstance(model, keras.Model):
        user_model.refuse(name, f"it is of type {type(model).__name__}, not a Keras model")
    if not model.compiled:
        arrays = _compile_classifier(name, model, build, arrays, optimizer)
        optimizer = None
    _check(name, model, optimizer)
    known = {}

    def weights(seed):
        if seed not in known:
            known[seed] = [variable.numpy() for variable in build(seed).variables]
        return known[seed]

    return Network(name, model, weights, arrays)


def _arguments(name, function, arrays):
    """Return as many of (shape of a sample, number of classes) as the function takes."""
    parameters = inspect.signature(function).parameters.values()
    wanted = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if len(wanted) > 2:
        user_model.refuse(name, "its function must take no argument, input_shape, or input_shape and classes")
    return (arrays.x_train.shape[1:], arrays.classes)[: len(wanted)]


def _compile_classifier(name, model, build, arrays, optimizer):
    """Compile a classifier that ends in logits, and return its standardized data."""
    if arrays.classes is None:
        user_model.refuse(name, f"it is not compiled, and the labels are not class numbers; {NOT_COMPILED}")
    arrays = arrays.standardized()
    if reason := user_model.misfit(model, arrays.x_train.shape[1:], arrays.classes):
        user_model.refuse(name, reason)
    user_model.check_logits(name, model, build(1), arrays.x_train[:TRIED_SAMPLES])
    with keras_defaults():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
        model.compile(optimizers[optimizer or "sgd"](), loss, metrics=["accuracy"])
    return arrays


def _check(name, model, optimizer):
    """Raise InvalidInput if a compiled model cannot be trained step by step."""
    if optimizer is not None:
        user_model.refuse(name, "it is compiled, with its own optimizer; leave out the other one")
    if type(model).train_step is not keras.Model.train_step:
        user_model.refuse(name, "it has its own train_step, which would not be called; write it without")
    if not model.built or not model.trainable_variables:
        user_model.refuse(name, "it has no weights to train; does it begin with keras.Input?")
    if len(model.inputs or [0]) != 1 or len(model.outputs or [0]) != 1:
        user_model.refuse(name, "it has several inputs or outputs; it must map one array to one")
