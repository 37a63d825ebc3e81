"""The options that several commands share, and a command with options for a chapter's parameters."""

import re
import shlex
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import click

from bstudy.chapter import Chapter, as_text, option_name, read_value
from bstudy.errors import InvalidInput, printable

option = partial(click.option, show_default=True)
variable = partial(option, show_envvar=True)
dataset = variable(
    "--dataset",
    default="digits",
    envvar="BSTUDY_DATASET",
    metavar="NAME|FILE",
    help="digits (included), mnist, fashion_mnist, or an .npz file with x_train, y_train, x_test, y_test.",
)


def read_devices(context: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    """Return the value of --devices: a number, "all", "cpu" or None."""
    if value in (None, "all", "cpu"):
        return value
    if not re.fullmatch("0*[1-9][0-9]{0,3}", value):
        raise click.BadParameter(f"{value!r} is not a number from 1 to 9999, all, or cpu")
    return int(value)


devices = variable(
    "--devices",
    envvar="BSTUDY_DEVICES",
    metavar="N|all|cpu",
    callback=read_devices,
    help="Number of devices that split each batch (GPUs, or virtual CPU devices). 'cpu' ignores GPUs.",
)
model = variable(
    "--model",
    default="mlp",
    envvar="BSTUDY_MODEL",
    metavar="NAME|MODULE:FUNCTION",
    help="mlp, cnn, or your function of (input_shape, classes) that returns a Keras model with logits.",
)
jobs = option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Number of parallel processes; by default, what the machine can use. "
    "Time and memory are always measured with no other process.",
)
cluster = variable(
    "--cluster",
    envvar="BSTUDY_CLUSTER",
    metavar="ADDRESS|FILE",
    help="Measure on the workers of a Dask cluster: the address of its scheduler, such as tcp://host:8786, or its "
    "scheduler file. Time and memory are still measured on this machine.",
)
quiet = option("--quiet", is_flag=True, help="Show no progress.")
seeds = option("--seeds", type=click.IntRange(1, 1000), default=3, help="Number of seeds, from 0 on.")
out = partial(option, "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the files.")
settings = partial(option, "--set", "settings", multiple=True, metavar="NAME=VALUE")
optimizer = option("--optimizer", type=click.Choice(["sgd", "adam"]), default="sgd", help="Of the training.")
json_file = option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    metavar="FILE|-",
    help="Write the numbers to this file, or print them as JSON.",
)
FORMATS, STYLES = click.Choice(["png", "svg", "pdf"]), click.Choice(["page", "slide", "dark"])
formats = option("--format", "formats", multiple=True, type=FORMATS, default=("png", "svg"), help="May be repeated.")
style = option("--style", type=STYLES, default="page", help="Look of the figure.")


def read_duration(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """Return the seconds of a duration such as 90s, 2m or 1h."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?) *(s|m|h|)", value)
    if match is None or not float(match[1]):
        raise click.BadParameter(f"{value!r} is not a duration such as 90s, 2m or 1h")
    return float(match[1]) * {"h": 3600, "m": 60}.get(match[2], 1)


budget = option("--budget", default="2m", callback=read_duration, help="How long to measure: 90s, 2m, 1h.")


class ParameterValue(click.ParamType):
    """A value of the type of a chapter parameter's default."""

    def __init__(self, default: object):
        self.default = default
        self.name = (
            "list" if isinstance(default, tuple) else {int: "integer"}.get(type(default), type(default).__name__)
        )

    def convert(self, value, parameter, context):
        try:
            return read_value(value, self.default)
        except ValueError as error:
            self.fail(f"{error}; for example {as_text(self.default)}", parameter, context)


def for_parameters(chapter: Chapter) -> list[click.Option]:
    """Return an option for each parameter of a chapter."""
    return [
        click.Option(
            [option_name(name)],
            type=ParameterValue(default),
            default=as_text(default),
            show_default=True,
            help=chapter.help[name],
        )
        for name, default in chapter.parameters.items()
    ]


def first_argument(words: Iterable[str]) -> str:
    """Return the first word that is neither an option nor, after an option, its value; "" if there is none."""
    before = ""
    for word in words:
        is_value = before.startswith("--") and "=" not in before
        if not word.startswith("-") and not is_value:
            return word
        before = word
    return ""


class ChapterCommand(click.Command):
    """A command whose options depend on its argument: a chapter's parameters are options."""

    def parse_args(self, context, arguments):
        parser = self.make_parser(context)
        parser.ignore_unknown_options = True  # those of the chapter, which is not known yet
        found, others, _ = parser.parse_args([*arguments])
        number = first_argument(map(str, (found["number"], *others)))
        if not number and not found.get("help") and not context.resilient_parsing:
            raise click.MissingParameter(ctx=context, param=self.params[0])
        if re.fullmatch("[0-9]{1,9}", number):
            from bstudy.chapter import chapter

            context.obj = chapter(int(number))
            shared = {name for each in super().get_params(context) for name in (each.name, *each.opts)}
            if taken := [name for name in context.obj.parameters if shared & {name, option_name(name)}]:
                file = context.obj.module.__file__
                raise InvalidInput(f"{file}: the parameter {taken[0]!r} has the name of an option; rename it")
        return super().parse_args(context, arguments)

    def get_params(self, context):
        return [*super().get_params(context), *self._parameters(context)]

    def _parameters(self, context):
        return for_parameters(context.obj) if context.obj else []

    def format_options(self, context, formatter):
        shared = [each for each in super().get_params(context) if isinstance(each, click.Option)]
        for title, shown in (("Parameters of the chapter", self._parameters(context)), ("Options", shared)):
            if shown:
                with formatter.section(title):
                    formatter.write_dl([each.get_help_record(context) for each in shown])


def for_rerun(dataset: str, seeds: int, model: str) -> str:
    """Return the options that select these data, seeds and model again, if they are not the defaults."""
    words = ["--dataset", dataset] * (dataset != "digits") + ["--seeds", str(seeds)] * (seeds != 3)
    words += ["--model", model] * (model != "mlp")
    return printable("".join(f" {shlex.quote(word)}" for word in words))
