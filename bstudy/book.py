"""The chapters as a reader finds them: number, part, finding, text and parameters. Runs and draws nothing.

A chapter is a module `bstudy.chapters.chNN_name` with a docstring in sections, PART, and three functions:
experiments(**parameters), figure(runs, fig) and verdicts(runs).
"""

import inspect
import math
import pkgutil
import re
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from bstudy.errors import BstudyError, InvalidInput

SECTIONS = ("Claim", "Compare", "Look for", "Source", "Exercises")
MEANINGS = {  # of the chapters' parameters: a name means the same through the whole book
    "small": "the small batch size of the comparison",
    "large": "the large batch size, of the comparison or of the trained start",
    "batch_size": "the batch size that training begins with",
    "batch_sizes": "the batch sizes that are compared",
    "learning_rate": "the learning rate, wherever the comparison does not change it",
    "learning_rates": "the learning rates that are compared",
    "adam_learning_rate": "the learning rate of Adam",
    "sgd": "the learning rate of SGD at the smallest batch size",
    "adam": "the learning rate of Adam at the smallest batch size",
    "raised": "the larger learning rate that makes up for the large batch",
    "epochs": "how long to train: each part where a run has several, at most where it stops at a target",
    "early": "the epochs of training before the early look",
    "late": "the epochs of training before the late look",
    "trials": "how many trials, each with samples of its own",
    "epsilons": "how far each weight may move in the search for the sharpness, relative to its size plus 1",
    "passes": "how many epochs are timed, of which the median counts",
    "target": "the test accuracy to reach, as a share",
    "factor": "by how much the batch size or the learning rate changes at a milestone",
    "points": "the epochs after which the noise of the gradient is measured",
    "replicas": "the numbers of replicas that share each batch",
}


@dataclass(frozen=True)
class Chapter:
    number: int
    part: str
    finding: str  # the first line of the docstring
    text: dict  # section -> its text, with "Exercises" as a list
    parameters: dict  # name -> default
    module: ModuleType

    @property
    def name(self):
        """That of its files: ch01."""
        return f"ch{self.number:02}"

    def with_set(self, texts):
        """The parameters with `NAME=VALUE` texts laid over the defaults."""
        return self.parameters | read_settings(texts, self.parameters, "--set")

    def changed(self, parameters):
        """`name=value` texts of the parameters that are not as the chapter has them."""
        return [f"{name}={as_text(value)}" for name, value in parameters.items() if value != self.parameters[name]]

    def command(self, parameters):
        """What runs the chapter with these parameters, but for the data set and the number of seeds."""
        return f"bstudy chapter {self.number}" + "".join(f" --set {each}" for each in self.changed(parameters))


def meaning(name):
    """What a parameter means; nothing is said of a name that is new to the book."""
    return MEANINGS.get(name, "")


def as_text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_settings(texts, defaults, option):
    """{name: value} of `NAME=VALUE` texts, each of its default's type. Raises InvalidInput where one is not."""

    def read(text, default):
        if isinstance(default, tuple):
            several = tuple(read(part, default[0]) for part in text.rstrip(",").split(","))
            if len(set(several)) < 2:  # a chapter that takes several values compares them
                raise ValueError
            return several
        value = type(default)(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        return value

    values = {}
    for setting in texts:
        name, equals, text = (part.strip() for part in setting.partition("="))
        name = name.replace("-", "_")
        if not equals or name not in defaults:
            known = " ".join(f"{name}={as_text(default)}" for name, default in defaults.items())
            raise InvalidInput(
                f"{option} {setting!r} names nothing that can be set; that is, with the present values: {known}"
            )
        try:
            values[name] = read(text, defaults[name])
        except ValueError:
            raise InvalidInput(
                f"{option} {setting!r}: wanted a value such as {name}={as_text(defaults[name])}"
            ) from None
    return values


def parse(docstring):
    """(finding, {section: text}) of a chapter's docstring."""
    finding, _, rest = inspect.cleandoc(docstring).partition("\n")
    parts = re.split(rf"^({'|'.join(SECTIONS)})\b", rest, flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))
    exercises = re.split(r"^ +\d+\. ", text.pop("Exercises", ""), flags=re.MULTILINE)[1:]
    text = {name: " ".join(body.split()) for name, body in text.items()}
    return finding, text | {"Exercises": [" ".join(exercise.split()) for exercise in exercises]}


def chapters():
    """All chapters, in order."""
    try:
        package = import_module("bstudy.chapters")
    except ModuleNotFoundError:
        raise BstudyError(
            "bstudy.chapters is not installed: where this is a checkout, run 'pip install -e .' in it, "
            "and call 'bstudy' or 'pytest' rather than 'python -m'"
        ) from None
    found = []
    for module in pkgutil.iter_modules(package.__path__):
        if match := re.fullmatch(r"ch(\d\d)_\w+", module.name):
            module = import_module(f"bstudy.chapters.{module.name}")
            finding, text = parse(module.__doc__)
            defaults = {name: p.default for name, p in inspect.signature(module.experiments).parameters.items()}
            found.append(Chapter(int(match[1]), module.PART, finding, text, defaults, module))
    return sorted(found, key=lambda chapter: chapter.number)


def chapters_with_set(texts):
    """[(chapter, parameters)] of all chapters, with `NAME=VALUE` texts laid over where a chapter has that parameter.

    Raises InvalidInput where no chapter has one, or it is no value.
    """
    found = chapters()
    every = {name: default for each in found for name, default in each.parameters.items()}  # a name has one type
    values = read_settings(texts, every, "--set")
    return [(each, {name: values.get(name, default) for name, default in each.parameters.items()}) for each in found]


def chapter(number):
    """The chapter of this number. Raises InvalidInput where there is none."""
    found = {chapter.number: chapter for chapter in chapters()}
    if number not in found:
        raise InvalidInput(f"there is no chapter {number}; there are {', '.join(map(str, found))}")
    return found[number]
