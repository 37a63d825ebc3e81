"""The commands: words to values, values to the lab and the page. Computes nothing."""

import json
import re
import sys
from pathlib import Path

import click

from bstudy import __version__
from bstudy.errors import BstudyError, InvalidInput, NotMeasured
from bstudy.options import (
    budget_option,
    dataset_option,
    devices_option,
    folder_option,
    format_option,
    jobs_option,
    json_option,
    model_option,
    option,
    quiet_option,
    seeds_option,
    settings_option,
    style_option,
    told,
)


class Commands(click.Group):
    """Commands that end in a sentence, and not in a traceback, at what a user can meet."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except BstudyError as error:
            click.echo(f"bstudy: {error}", err=True)
            context.exit(error.exit_status)
        except KeyboardInterrupt:
            click.echo("bstudy: stopped; what was measured is kept.", err=True)
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
            click.echo(f"Part {chapter.part}")
        part = chapter.part
        click.echo(f"{chapter.number:4}  {chapter.finding}")


class ChapterCommand(click.Command):
    """`bstudy chapter 3 --help` tells the parameters of chapter 3."""

    def parse_args(self, context, arguments):
        numbers = [int(word) for word in arguments[:1] if re.fullmatch("[0-9]{1,9}", word)]
        context.obj = numbers[0] if numbers else None  # NUMBER is read after --help
        return super().parse_args(context, arguments)

    def format_epilog(self, context, formatter):
        if context.obj is not None:
            from bstudy.book import as_text, chapter, meaning

            terms = [
                (name, f"{meaning(name)}  [default: {as_text(value)}]")
                for name, value in chapter(context.obj).parameters.items()
            ]
            with formatter.section(f"Parameters of chapter {context.obj}, for --set"):
                formatter.write_dl(terms)


@main.command("chapter", cls=ChapterCommand)
@click.argument("number", type=int)
@dataset_option
@seeds_option
@settings_option(help="Change a parameter of the chapter.")
@folder_option(default="bstudy-out")
@format_option
@style_option
@model_option
@devices_option
@jobs_option
@quiet_option
def run_chapter(number, dataset, seeds, settings, out, formats, style, model, devices, jobs, quiet):
    """Run chapter NUMBER: measure what is not stored yet, judge, draw, and print the page."""
    from bstudy.book import chapter
    from bstudy.lab import Lab
    from bstudy.page import Page

    found = chapter(number)
    parameters = found.with_set(settings)
    found.module.experiments(**parameters)  # a wrong value is told before the data are loaded
    lab = Lab(dataset, seeds, quiet=quiet, devices=devices, jobs=jobs, model=model)
    page = Page.of(found, parameters, lab)
    page.show(page.write(out, formats, style))


@main.command("book")
@dataset_option
@seeds_option
@folder_option(default="bstudy-book")
@model_option
@devices_option
@jobs_option
@quiet_option
def write_book(dataset, seeds, out, model, devices, jobs, quiet):
    """Run every chapter, and write the book: a folder of web pages that need no network."""
    from bstudy.html import leaves, write
    from bstudy.lab import Lab
    from bstudy.page import writing_into

    lab = Lab(dataset, seeds, quiet=quiet, devices=devices, jobs=jobs, model=model)
    with writing_into(out):
        pass  # a folder that cannot be written to is told before hours of measuring
    found = leaves(lab)
    paths = write(found, out, lab, told(dataset, seeds, model))
    click.echo(f"{len(paths)} pages; begin with {paths[0]}")
    if missing := sum(leaf.page is None for leaf in found):
        raise BstudyError(f"{missing} chapter{'s are' if missing > 1 else ' is'} missing from the book")


@main.command()
@dataset_option
@seeds_option
@settings_option(help="Change a parameter, in every chapter that has it.")
@folder_option(default="bstudy-out")
@format_option
@style_option
@model_option
def figures(dataset, seeds, settings, out, formats, style, model):
    """Draw the figures of all chapters from what is stored, list the findings in findings.md, and measure nothing."""
    from bstudy.book import chapters_with_set
    from bstudy.findings import findings
    from bstudy.lab import Lab
    from bstudy.page import Page, writing_into

    lab, missing = Lab(dataset, seeds, model=model, measure=False), 0
    asked = chapters_with_set(settings)
    for chapter, parameters in asked:
        try:
            paths = Page.of(chapter, parameters, lab).write(out, formats, style)
            click.echo("  ".join(map(str, paths)))
        except (NotMeasured, InvalidInput) as error:  # the other chapters can still be drawn
            missing += 1
            command = f"{chapter.command(parameters)}{told(dataset, seeds, model)}"
            way = f"; measure with: {command}" if isinstance(error, NotMeasured) else ""
            click.echo(f"bstudy: chapter {chapter.number}: {error}{way}", err=True)
    with writing_into(out):
        (out / "findings.md").write_text(findings([chapter for chapter, _ in asked], out), encoding="utf-8")
    if missing:
        raise BstudyError(f"{missing} figure{'s are' if missing > 1 else ' is'} missing")


@main.command()
@dataset_option
@model_option
@option("--optimizer", type=click.Choice(["sgd", "adam"]), default="sgd")
@budget_option
@folder_option(default="bstudy-out")
@format_option
@style_option
@quiet_option
def advise(dataset, model, optimizer, budget, out, formats, style, quiet):
    """Say which batch size to use for your data and model on this machine, why, and how sure that is."""
    from bstudy import advise
    from bstudy.lab import Lab

    def say(text):
        if not quiet:
            click.echo(f"Measuring {text} ...", err=True)

    advice = advise.advise(Lab(dataset, [0], quiet=True, model=model), optimizer, budget, say)
    advice.show(advice.write(out, formats, style))


@main.command()
@option("--batch-size", type=int, required=True)
@option("--learning-rate", type=float, required=True)
@option("--epochs", type=int, required=True)
@option("--optimizer", type=click.Choice(["sgd", "adam"]), default="sgd")
@option("--then", multiple=True, metavar="KEY=VALUE,...", help="Go on with changes, such as batch_size=64,epochs=10.")
@dataset_option
@option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0,
    help="Decides the initial weights and the order of the samples.",
)  # fmt: skip
@json_option
@model_option
@devices_option
@quiet_option
def train(batch_size, learning_rate, epochs, optimizer, then, dataset, seed, json_file, model, devices, quiet):
    """Train the study's model once, by your own recipe, and say where it ends."""
    from bstudy import Phase, Recipe
    from bstudy.book import read_settings

    recipe = Recipe((Phase(batch_size, learning_rate, epochs, optimizer),))
    for changes in then:
        recipe = recipe.then(**read_settings(changes.split(","), vars(recipe.phases[-1]), "--then"))

    from bstudy.lab import Lab
    from bstudy.page import outcome, plain, writing_into

    lab = Lab(dataset, [seed], quiet=quiet, devices=devices, model=model)
    if json_file is not None:
        with writing_into(json_file.parent):
            pass  # a folder that cannot be written to is told before the training
    numbers = plain(outcome(lab.run({"run": recipe})["run"]))
    text = json.dumps(numbers, indent=1, allow_nan=False)
    if json_file == Path("-"):
        click.echo(text)
        return
    for name, value in numbers.items():
        click.echo(f"{name:18} {value}")
    if json_file is not None:
        with writing_into(json_file.parent):
            json_file.write_text(text + "\n", encoding="utf-8")


@main.command()
@dataset_option
def bench(dataset):
    """Compare this training loop with Keras's fit, and with the matrix products alone, on your machine."""
    from rich.console import Console

    from bstudy.data import load
    from bstudy.page import plain_table

    data = load(dataset)
    click.echo(f"Measuring on {data}, about a minute ...", err=True)
    from bstudy.measure import set_up

    set_up()
    from bstudy.measure.bench import bench

    headings = ("batch size", "bstudy", "model.fit", "products", "bstudy / fit", "bstudy / products")
    table = plain_table(*headings, title="samples a second")
    sizes = [size for size in (2, 8, 32, 128, 512, 1024) if size <= len(data.x_train)]
    for size, ours, fit, products in bench(data, sizes):
        speeds = (f"{speed:,.0f}" for speed in (ours, fit, products))
        table.add_row(str(size), *speeds, f"{ours / fit:.2f}", f"{ours / products:.2f}")
    Console(highlight=False).print(table)


@main.command()
@click.argument("key", default="")
@option("--clear", is_flag=True, help="Delete the stored results, or the one of KEY.")
@option("--yes", is_flag=True, help="Delete without asking.")
def results(key, clear, yes):
    """List what is stored, or show the result whose key begins with KEY."""
    from bstudy.store import Store

    store = Store()
    store.sweep()
    keys = store.keys(key)
    if key and len(keys) != 1:
        raise InvalidInput(
            f"{len(keys)} stored results have a key that begins with {key!r}; 'bstudy results' lists them"
        )
    if clear:
        what = f"{len(keys)} stored result{'s' * (len(keys) != 1)}"
        if yes or click.confirm(f"Delete {what} in {store.folder}?", err=True):
            for each in keys:
                store.remove(each)
            click.echo(f"Deleted {what}.")
        return
    for each in keys:
        if result := store.read(each):
            done = "" if result.complete else f", {100 * result.share:.0f} % done"
            about = result.about
            click.echo(f"{each[:10]}  {about['dataset']}  seed {about['seed']}  {about['experiment']}{done}")
            if key:
                last = {
                    name: column[-1:].tolist() if column.ndim else column.item()
                    for name, column in result.columns.items()
                }
                click.echo(json.dumps(about | {"last values": last}, indent=1))
    if not key:
        click.echo(f"{len(keys)} results, {store.size() / 1e6:.0f} MB, in {store.folder}")
