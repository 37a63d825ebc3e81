"""A network that a user wrote: a function in a module of the working directory. Imported, tried and identified here."""

import hashlib
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from bstudy.backend import keras, keras_defaults, keras_settings, tf
from bstudy.errors import InvalidInput, in_one_line
from bstudy.processes import stdout_to_stderr, working_directory

log = logging.getLogger(__name__)
_loaded: dict[Path, tuple] = {}  # file -> the import that read it, and the SHA-256 of what it read


def is_function_name(name: str) -> bool:
    """Whether a name has the form MODULE:FUNCTION."""
    module, colon, function = name.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def load_function(name: str) -> Callable:
    """Return the function MODULE:FUNCTION. What its module prints goes to stderr.

    Raises:
        InvalidInput: it cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    if working_directory() not in sys.path and "" not in sys.path:
        sys.path.append(working_directory())  # last: a file there must not replace an installed module
    with stdout_to_stderr(), keras_defaults():
        before = keras_settings()
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # anything that a user's code raises
            if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
                where = f"in {working_directory() or 'a deleted folder'} or among the installed ones"
                raise InvalidInput(f"there is no module {error.name!r} {where}") from None
            raise InvalidInput(f"module {module_name!r} cannot be imported: {in_one_line(error)}") from None
        changed = [name for name, value in keras_settings().items() if value != before[name]]
    if changed:
        advice = "set it on the layers, as in Dense(8, dtype=...)"
        raise InvalidInput(f"module {module_name!r} changes Keras's {changed[0]} for the whole program; {advice}")
    file = getattr(module, "__file__", None)
    if file is None or not callable(getattr(module, function_name, None)):
        raise InvalidInput(f"module {module_name!r} ({file or 'without a file'}) has no function {function_name!r}")
    return getattr(module, function_name)


def imported_files(name: str) -> dict[str, str]:
    """Return {path: SHA-256} of all imported files of the user's folder: those that the function may depend on.

    The folder is that of the function's module, or of its package.

    Raises:
        InvalidInput: a file was changed after it was imported.
    """
    top_name = name.partition(":")[0].partition(".")[0]
    top = sys.modules[top_name]
    folder = Path(top.__path__[0]).parent if hasattr(top, "__path__") else Path(top.__file__).parent
    files = {}
    for module_name, module in list(sys.modules.items()):
        package = module_name.partition(".")[0]
        path = Path(getattr(module, "__file__", None) or "")
        is_own = path.is_relative_to(folder) and "site-packages" not in path.parts
        # TensorFlow imports a temporary file for each function that it compiles
        is_other = package in ("__main__", "bstudy") or package.startswith("__autograph_generated")
        if is_other or not (is_own or package == top_name) or not path.is_file():
            continue
        files[str(path)] = _digest(path)
        loaded_by, digest = _loaded.setdefault(path, (module.__spec__, files[str(path)]))
        if loaded_by is not module.__spec__:  # imported again
            _loaded[path] = module.__spec__, files[str(path)]
        elif digest != files[str(path)]:
            raise InvalidInput(f"{path} was changed after it was imported; start again")
    return files


def check_unchanged(files: Iterable[tuple[str, str]]) -> None:
    """Raise InvalidInput if one of these (path, SHA-256) has changed, as another process may import them."""
    for path, digest in files:
        if not os.path.isfile(path) or _digest(Path(path)) != digest:
            raise InvalidInput(f"{path} was changed meanwhile; start again")


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def call_function(name: str, input_shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Return the model that the function MODULE:FUNCTION returns. What it prints goes to stderr.

    Raises:
        InvalidInput: it fails, or what it returns does not fit the data.
    """
    function = load_function(name)
    with stdout_to_stderr():
        try:
            model = function(input_shape, classes)
        except (Exception, SystemExit) as error:  # anything that a user's code raises
            call = f"{name.partition(':')[2]}({input_shape}, {classes})"
            refuse(name, f"{call} raised {in_one_line(error)}")
    if reason := misfit(model, input_shape, classes):
        refuse(name, reason)
    return model


def refuse(name: str, reason: str) -> None:
    """Raise InvalidInput with the reason why a model cannot be trained."""
    raise InvalidInput(f"the model {name} does not fit: {reason}") from None


def misfit(model: object, input_shape: tuple[int, ...], classes: int) -> str | None:
    """Return why bstudy cannot train what a user's function returned, or None."""
    if not isinstance(model, keras.Model):
        return f"it is of type {type(model).__name__}, not a Keras model"
    if not model.built or not model.trainable_variables:
        return "it has no weights to train; does it begin with keras.Input(input_shape)?"
    if len(model.inputs) != 1 or tuple(model.input_shape) != (None, *input_shape):
        return f"it takes {model.input_shape}, but a batch of these data is (None, {', '.join(map(str, input_shape))})"
    if tuple(model.output_shape[1:]) != (classes,):
        return f"it returns {model.output_shape}; it must return logits, (None, {classes})"
    if any(variable.dtype != "float32" for variable in model.weights):
        return "its weights are not all float32"
    for method in ("train_step", "compute_loss"):
        if getattr(type(model), method) is not getattr(keras.Model, method):
            return f"it has its own {method}, which bstudy would not call; write it without"
    return None


def try_model(name: str, build: Callable[[int], "keras.Model"], x: np.ndarray) -> tuple[str, bool]:
    """Try a user's network before anything is measured.

    Args:
        name: Of the function, MODULE:FUNCTION.
        build: Calls it with this seed.
        x: (n, ...) some samples.

    Returns:
        SHA-256 of its architecture and initial weights; whether XLA can compile its gradient.

    Raises:
        InvalidInput: results of this network would be wrong or not reproducible.
    """
    first, again, other = map(build, (0, 0, 1))
    if {id(variable) for variable in first.variables} & {id(variable) for variable in other.variables}:
        refuse(name, "two calls return networks with weights in common; make all layers anew in each call")
    if not _have_equal_weights(first, again):
        refuse(name, "with the same seed, two calls return different initial weights; draw them with Keras or NumPy")
    if _have_equal_weights(first, other):
        log.warning("The initial weights of %s do not depend on the seed; only the order of the samples does.", name)
    if first.compiled:
        log.warning("The model %s is compiled, but bstudy trains it with its own optimizer and loss.", name)
    check_logits(name, first, other, x)
    if first.losses:
        refuse(name, "it adds losses of its own (a regularizer, or add_loss), which bstudy would not minimize")
    architecture, same = (_architecture(model) for model in (first, again))
    digest = hashlib.sha256(architecture.encode() if architecture == same else b"")
    for variable in first.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest(), _has_xla(first, x)


def check_logits(name: str, model: "keras.Model", other: "keras.Model", x: np.ndarray) -> None:
    """Raise InvalidInput if a network fails on these samples, or returns probabilities; `other` is overwritten."""
    try:
        returns_probabilities = _returns_probabilities(model, other, x)
    except Exception as error:  # of a layer of the user's
        refuse(name, f"for {len(x)} samples it raised {in_one_line(error)}")
    if returns_probabilities:
        refuse(name, "it ends in probabilities; it must end in logits, a last layer without an activation")


def _has_xla(model, x):
    """Whether XLA can compile the gradient of the network; it has no program for some layers of random images."""

    @tf.function(jit_compile=True)
    def gradients(x):
        with tf.GradientTape() as tape:
            outputs = tf.reduce_sum(model(x, training=True))
        return tape.gradient(outputs, model.trainable_variables)

    try:
        gradients(tf.constant(x))
    except Exception:  # if it is not XLA's, training without XLA reports it
        return False
    return True


def _have_equal_weights(first, second):
    """Whether all trainable weights of two networks are equal."""
    pairs = list(zip(first.trainable_variables, second.trainable_variables, strict=False))
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


def _returns_probabilities(first, other, x):
    """Whether all outputs lie between 0 and 1, whatever the weights; those of `other` are overwritten."""
    random = np.random.default_rng(0)
    for variable in other.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    outputs = [model(x, training=False).numpy() for model in (first, other)]
    return all(output.any() and output.min() >= -1e-6 and output.max() <= 1 + 1e-6 for output in outputs)


def _architecture(model):
    """Return the model as JSON with numbered names, as Keras counts its layers; "" if it cannot be written."""
    try:
        text = model.to_json()
    except Exception:  # a layer that Keras cannot write: the files and the weights still identify it
        return ""
    for number, name in enumerate(dict.fromkeys(re.findall(r'"name": "([^"]*)"', text))):
        text = text.replace(f'"{name}"', f'"{number}"')
    return text
