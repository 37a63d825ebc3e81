"""The commands: words to values, values to the lab and the page. Computes nothing."""

import json
import os
import sys
from pathlib import Path

import click

from bstudy import __version__
from bstudy.errors import BstudyError, InvalidInput

FORMATS, STYLES = (
    ("png", "svg", "pdf"),
    ("page", "slide", "dark"),
)  # draw's own, named here so that --help needs no matplotlib

dataset_option = click.option(
    "--dataset", default="digits", envvar="BSTUDY_DATASET", show_envvar=True, show_default=True, metavar="NAME|FILE",
    help="digits (embedded), mnist, fashion_mnist, or an .npz file with x_train, y_train, x_test, y_test.",
)  # fmt: skip
quiet_option = click.option("--quiet", is_flag=True, help="No progress on standard error.")


class Commands(click.Group):
    """Commands that end in a sentence, and never in a traceback, where a user meets what can go wrong."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except BstudyError as error:
            click.echo(f"bstudy: {error}", err=True)
            context.exit(error.exit_status)
        except KeyboardInterrupt:
            click.echo("bstudy: stopped before anything was measured.", err=True)
            context.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="bstudy %(version)s")
def main():
    """What is known and claimed about the batch size in training neural networks, tested chapter by chapter.

    Begin with: bstudy chapter 1
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a redirected Windows console may not know every sign


@main.command("chapters")
def list_chapters():
    """List the chapters: number, part, finding."""
    from bstudy.book import chapters

    part = None
    for chapter in chapters():
        if chapter.part != part:
            part = chapter.part
            click.echo(f"Part {part}")
        click.echo(f"{chapter.number:4}  {chapter.finding}")


@main.command("chapter")
@click.argument("number", type=int)
@dataset_option
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many runs of each.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a parameter of the chapter.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="bstudy-out",
    show_default=True,
    help="Folder of the files.",
)
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS), default=("png", "svg"), show_default=True
)
@click.option("--style", type=click.Choice(STYLES), default="page", show_default=True)
@quiet_option
def run_chapter(number, dataset, seeds, settings, out, formats, style, quiet):
    """Run chapter NUMBER: measure what is not stored yet, judge, draw, and print the page."""
    from bstudy.book import chapter
    from bstudy.lab import Lab
    from bstudy.page import Page

    found = chapter(number)
    parameters = found.with_set(settings)
    found.module.experiments(**parameters)  # a wrong value is said before data are loaded
    page = Page.of(found, parameters, Lab(dataset, seeds, quiet=quiet))
    page.show(page.write(out, formats, style))


@main.command()
@click.option("--batch-size", type=int, required=True)
@click.option("--learning-rate", type=float, required=True)
@click.option("--epochs", type=int, required=True)
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]), default="sgd", show_default=True)
@click.option(
    "--then",
    "phases",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Go on with something changed: batch_size=64,epochs=10.",
)
@dataset_option
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the initial weights and the order."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE|-",
    help="Write the numbers to a file, or to standard output.",
)
@quiet_option
def train(batch_size, learning_rate, epochs, optimizer, phases, dataset, seed, json_file, quiet):
    """Train the study's model once, by your own recipe, and print where it ends."""
    from bstudy.experiment import Phase, Recipe

    recipe = Recipe((Phase(batch_size, learning_rate, epochs, optimizer),))
    for text in phases:
        recipe = recipe.then(**phase_changes(text))

    from bstudy.lab import Lab
    from bstudy.page import outcome, plain

    lab = Lab(dataset, [seed], quiet=quiet)
    numbers = outcome(lab.run({"run": recipe})["run"], lab.dataset)
    text = json.dumps(plain(numbers), indent=1, allow_nan=False)
    if json_file == "-":
        click.echo(text)
        return
    for name, value in numbers.items():
        click.echo(f"{name:18} {value:.4f}" if isinstance(value, float) else f"{name:18} {value}")
    if json_file:
        try:
            Path(json_file).write_text(text + "\n")
        except OSError as error:
            raise BstudyError(f"{json_file} cannot be written: {error.strerror}") from None


def phase_changes(text):
    """The changes that a --then names, as values of a Phase's types."""
    types = {"batch_size": int, "learning_rate": float, "epochs": int, "optimizer": str}
    changes = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in types:
            raise InvalidInput(f"--then {text!r}: wanted KEY=VALUE with a key of {', '.join(types)}")
        try:
            changes[name] = types[name](value.strip())
        except ValueError:
            raise InvalidInput(f"--then {text!r}: {name} cannot be {value.strip()!r}") from None
    return changes


@main.command()
@click.argument("key", required=False)
@click.option("--clear", is_flag=True, help="Delete the stored results, or the one of KEY.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def results(key, clear, yes):
    """List what is stored, or show the result whose key begins with KEY."""
    from bstudy.store import Store

    store = Store()
    keys = [each for each in store.keys() if each.startswith(key or "")]
    if key and len(keys) != 1:
        raise InvalidInput(
            f"{len(keys)} stored results have a key that begins with {key!r}; 'bstudy results' lists them"
        )
    if clear:
        what = "1 result" if len(keys) == 1 else f"all {len(keys)} results"
        if keys and (yes or click.confirm(f"Delete {what} in {store.folder}?", err=True)):
            for each in keys:
                store.remove(each)
            click.echo(f"Deleted {what}.")
        return
    size = 0
    for each in keys:
        result = store.read(each)
        if result is None:
            continue
        size += store.size(each)
        about = result.about
        done = "" if result.complete else f", {100 * result.share:.0f} % done"
        click.echo(f"{each[:10]}  {about['dataset']}  seed {about['seed']}  {about['experiment']}{done}")
        if key:
            for name, column in sorted(result.columns.items()):
                last = column if column.ndim == 0 else column[-1] if len(column) else "–"
                click.echo(f"    {name:22} {column.shape!s:12} last {last}")
            click.echo(f"    {about['versions']}, {about['device']}, {about['threads']} threads")
    if not key:
        click.echo(f"{len(keys)} results, {size / 1e6:.0f} MB, in {os.fspath(store.folder)}")
