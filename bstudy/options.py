"""The options that several commands share: what they are called, take and mean."""

import re
import shlex
from functools import partial
from pathlib import Path

import click

option = partial(click.option, show_default=True)
dataset_option = option(
    "--dataset", default="digits", envvar="BSTUDY_DATASET", show_envvar=True, metavar="NAME|FILE",
    help="digits (embedded), mnist, fashion_mnist, or an .npz file with x_train, y_train, x_test, y_test.",
)  # fmt: skip


def number_of_devices(context, parameter, value):
    if value in (None, "all", "cpu"):
        return value
    if not re.fullmatch("0*[1-9][0-9]{0,3}", value):
        raise click.BadParameter(f"wanted a number from 1 to 9999, all, or cpu, not {value!r}")
    return int(value)


devices_option = option(
    "--devices", envvar="BSTUDY_DEVICES", show_envvar=True, metavar="N|all|cpu", callback=number_of_devices,
    help="Train on so many devices, which share every batch: GPUs, or parts of the CPU; cpu keeps a GPU out.",
)  # fmt: skip
model_option = option(
    "--model", default="mlp", envvar="BSTUDY_MODEL", show_envvar=True, metavar="NAME|MODULE:FUNCTION",
    help="mlp (the study's), cnn, or your function of (input_shape, classes) that returns a Keras model with logits.",
)  # fmt: skip
jobs_option = option(
    "--jobs", type=click.IntRange(1, 64), default=1, metavar="N",
    help="Measure in so many processes; what measures time or memory runs alone all the same.",
)  # fmt: skip
quiet_option = option("--quiet", is_flag=True, help="Show no progress.")
seeds_option = option("--seeds", type=click.IntRange(1, 1000), default=3, help="How many runs of each, from seed 0 on.")
folder_option = partial(option, "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the files.")
settings_option = partial(option, "--set", "settings", multiple=True, metavar="NAME=VALUE")
json_option = option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    metavar="FILE|-", help="Write the numbers there.",
)  # fmt: skip
format_option = option(
    "--format", "formats", multiple=True, type=click.Choice(["png", "svg", "pdf"]), default=("png", "svg")
)
style_option = option("--style", type=click.Choice(["page", "slide", "dark"]), default="page")


def seconds_of(context, parameter, value):
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?) *(s|m|h|)", value)
    if match is None or not float(match[1]):
        raise click.BadParameter(f"wanted a time such as 90s, 2m or 1h, not {value!r}")
    return float(match[1]) * {"h": 3600, "m": 60}.get(match[2], 1)


budget_option = option("--budget", default="2m", callback=seconds_of, help="About how long to measure: 90s, 2m, 1h.")


def told(dataset, seeds, model):
    """The options that name these data, seeds and model again, where they are not the defaults."""
    words = ["--dataset", dataset] * (dataset != "digits") + ["--seeds", str(seeds)] * (seeds != 3)
    words += ["--model", model] * (model != "mlp")
    return "".join(f" {shlex.quote(word)}" for word in words)
