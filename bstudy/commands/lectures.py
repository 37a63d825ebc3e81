"""The commands for lectures and homework: slides, check."""

import os
import sys
from pathlib import Path

import click

from bstudy import options
from bstudy.errors import BstudyError, printable


def read_numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    """Return the numbers in a list with commas, such as 1,2,9."""
    if value is None:
        return None
    parts = value.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a list of chapters such as 1,2,9")
    return list(dict.fromkeys(map(int, parts)))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.option("--chapters", callback=read_numbers, metavar="N,N,...", help="Which chapters; all by default.")
@options.dataset
@options.seeds
@options.model
@options.devices
@options.jobs
@options.cluster
@options.quiet
def slides(file, chapters, dataset, seeds, model, devices, jobs, cluster, quiet):
    """Write slides of chapters into FILE, deck.pptx or deck.pdf.

    Each chapter has a slide with its finding, its figure and its numbers. The explanation is in the notes for the
    speaker. What is not stored yet is measured.
    """
    from bstudy import chapter, report
    from bstudy.lab import Lab
    from bstudy.slides import check_ending, write

    check_ending(file)
    report.check_files([file])
    found = [chapter.chapter(number) for number in chapters] if chapters else chapter.chapters()
    lab = Lab(dataset, seeds, quiet=quiet, devices=devices, model=model, jobs=jobs, cluster=cluster)
    lab.prepare({each.name: each.module.experiments(**each.parameters) for each in found})
    write([report.build(each, each.parameters, lab) for each in found], file)
    click.echo(f"{printable(file)}: {len(found) + 1} slides")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE|FOLDER...", type=click.Path(path_type=Path))
@options.dataset
@options.model
@options.option(
    "--limit",
    default="10m",
    callback=options.read_duration,
    help="Measure again only what needs at most this time for a file: 90s, 10m, 1h.",
)
@options.jobs
@options.quiet
def check(paths, dataset, model, limit, jobs, quiet):
    """Check hand-ins, the JSON files that 'bstudy chapter' writes, by measuring again.

    A folder is searched for JSON files. --dataset and --model name what hand-ins may use besides the digits and the
    built-in models. The exit status is 1 if a file is not equal to what is measured here, at least to rounding.
    """
    from bstudy.data import load
    from bstudy.handin import Checker, find_files
    from bstudy.models import find_model

    files = find_files(paths)
    checker, checked = Checker(load(dataset), find_model(model), limit, quiet, jobs), []
    try:
        for file in files:
            checked.append(checker.check(file))
    finally:  # also if the user stops it
        show(checked)
    if wrong := sum(not each.is_right for each in checked):
        raise BstudyError(f"{wrong} of {len(checked)} file{'s' * (len(checked) > 1)} did not pass")


def show(checked):
    """Print a table of checked files."""
    from rich.text import Text

    from bstudy.handin import MARKS
    from bstudy.terminal import WIDTH, new_console, new_table

    table = new_table()
    table.add_column("result", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("what it is", overflow="fold")
    common = os.path.commonpath([each.path.parent for each in checked]) if checked else ""
    for each in checked:
        result = Text(f"{MARKS[each.outcome]} {each.outcome}", "green" if each.is_right else "red")
        about = [text for text in (each.setting, each.detail) if text]
        table.add_row(result, Text(printable(os.path.relpath(each.path, common))), Text("\n".join(about)))
    new_console(WIDTH if not sys.stdout.isatty() else 0).print(table)
