"""Which model is trained: one of the book's, by name, or a reader's own function. Builds none, and loads no Keras."""

import hashlib
import importlib.util
import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bstudy.errors import InvalidInput

WANTED = "wanted mlp, cnn, or MODULE:FUNCTION, a function of (input_shape, classes) that returns a Keras model"


@dataclass(frozen=True)
class Model:
    """A model by its name; a reader's own is known by its function and by the file that holds it."""

    name: str
    fingerprint: str = ""  # SHA-256 of a reader's file: another text is another model

    @property
    def is_the_books(self):
        return not self.fingerprint

    def says(self):
        """What an answer depends on, in JSON's types."""
        return [self.name.rpartition(":")[2], self.fingerprint]

    def __str__(self):
        return self.name


MLP, CNN = Model("mlp"), Model("cnn")


class Architecture(NamedTuple):
    """A model for data of one shape."""

    model: Model
    input_shape: tuple[int, ...]
    classes: int

    def check(self):
        """Raise InvalidInput where the book's model cannot be had for this shape; a reader's own is built to know."""
        if self.model == CNN and (len(self.input_shape) not in (2, 3) or min(self.input_shape[:2]) < 4):
            raise InvalidInput(
                f"the cnn needs images, (rows, columns) or (rows, columns, channels), of at least 4 × 4; "
                f"these samples have the shape {self.input_shape}"
            )

    def multiplications(self):
        """About how many a sample takes to pass, for estimates alone."""
        if self.model == CNN:
            return 1400 * math.prod(self.input_shape)
        return 1024 * (math.prod(self.input_shape) + 1024)


def model(name):
    """The Model of this name: mlp, cnn, or MODULE:FUNCTION.

    A module is looked for as Python does, from the working directory on. Raises InvalidInput where there is none.
    """
    if name in ("mlp", "cnn"):
        return Model(name)
    module, colon, function = name.partition(":")
    if re.search(r"\.(keras|h5|hdf5|pb|pkl)$", name) or (not colon and os.path.exists(name)):
        raise InvalidInput(
            f"{name!r} is a file, and loading a saved model can run any code in it; "
            "name a function that builds the model instead, as MODULE:FUNCTION"
        )
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise InvalidInput(f"there is no model {name!r}; {WANTED}")
    with_working_directory()
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:  # whatever a package's own __init__ raises
        raise InvalidInput(f"module {module!r} cannot be imported: {type(error).__name__}: {error}") from None
    if found is None or not found.has_location:
        raise InvalidInput(f"there is no module {module!r} in {os.getcwd()} or among the installed ones; {WANTED}")
    return Model(name, hashlib.sha256(Path(found.origin).read_bytes()).hexdigest())


def with_working_directory():
    """Let modules of the working directory be imported, as `python` does and a script's command does not."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
