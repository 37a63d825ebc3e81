"""The commands: from words to values, from values to the lab and the report. Computes nothing."""

import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from bstudy import __version__, options
from bstudy.chapter import docstring, option_name
from bstudy.errors import BstudyError, InvalidInput, NotMeasured, printable


class Commands(click.Group):
    """Commands that end with a sentence, not a traceback, at an error that a user can cause."""

    def main(self, *arguments, **settings):
        try:
            status = super().main(*arguments, **settings | {"standalone_mode": False})
        except BstudyError as error:
            click.echo(f"bstudy: {error}", err=True)
            status = error.exit_status
        except click.Abort:  # Ctrl-C, or no answer to a question
            click.echo("bstudy: stopped; all measured results are stored.", err=True)
            status = 130
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = error.exit_code
        except click.UsageError as error:
            click.UsageError(printable(error.format_message()), error.ctx).show()
            status = error.exit_code
        sys.exit(status)


class PrintableFormatter(logging.Formatter):
    """Makes one line without control characters of a record."""

    def format(self, record):
        return printable(super().format(record))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="bstudy %(version)s")
def main():
    """Test what is known and claimed about the batch size in training neural networks, chapter by chapter.

    Begin with: bstudy chapter 1
    """
    from bstudy.processes import load_matplotlib

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a redirected Windows console may lack some characters
    logging.lastResort.setFormatter(PrintableFormatter())
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if it cannot store a cache
    load_matplotlib()


@main.command("chapters")
def list_chapters():
    """List the chapters: number, part, question."""
    from bstudy.chapter import chapters

    part = None
    for chapter in chapters():
        if chapter.part != part:
            part = chapter.part
            click.echo(f"Part {part}")
        click.echo(f"{chapter.number:4}  {chapter.question}")


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
        return options.for_parameters(context.obj) if context.obj else []

    def format_options(self, context, formatter):
        shared = [each for each in super().get_params(context) if isinstance(each, click.Option)]
        for title, shown in (("Parameters of the chapter", self._parameters(context)), ("Options", shared)):
            if shown:
                with formatter.section(title):
                    formatter.write_dl([each.get_help_record(context) for each in shown])


@main.command("chapter", cls=ChapterCommand)
@click.argument("number", type=int)
@options.dataset
@options.seeds
@options.settings(help="Change a parameter of the chapter, like its own option does.")
@options.out(default="bstudy-out")
@options.formats
@options.style
@options.model
@options.devices
@options.jobs
@options.cluster
@options.quiet
@options.option("--solutions", is_flag=True, help="Print the solutions of the exercises.")
def run_chapter(
    number, dataset, seeds, settings, out, formats, style, model, devices, jobs, cluster, quiet, solutions, **parameters
):
    """Run chapter NUMBER, and print its page.

    This measures the results that are not stored yet, tests the claims, and draws the figure. The parameters of a
    chapter are options too: bstudy chapter 3 --help lists those of chapter 3.
    """
    from bstudy import report, terminal
    from bstudy.chapter import chapter
    from bstudy.lab import Lab

    found = chapter(number)
    parameters = found.with_settings(settings, parameters)
    found.module.experiments(**parameters)  # reports a wrong value before the data are loaded
    lab = Lab(dataset, seeds, quiet=quiet, devices=devices, model=model, jobs=jobs, cluster=cluster)
    report.check_files(report.page_files(found.name, out, formats))
    page = report.build(found, parameters, lab)
    terminal.show(page, report.write(page, out, formats, style), solutions)


@main.command("book")
@options.dataset
@options.seeds
@options.out(default="bstudy-book")
@options.model
@options.devices
@options.jobs
@options.cluster
@options.quiet
def write_book(dataset, seeds, out, model, devices, jobs, cluster, quiet):
    """Run all chapters, and write them as a folder of web pages."""
    from bstudy import html, report
    from bstudy.chapter import chapters
    from bstudy.lab import Lab

    lab = Lab(dataset, seeds, quiet=quiet, devices=devices, model=model, jobs=jobs, cluster=cluster)
    report.check_files(html.files(chapters(), out))
    pages = html.build_pages(lab)
    paths = html.write(pages, out, lab, options.for_rerun(dataset, seeds, model))
    click.echo(f"{len(paths)} pages; begin with {printable(paths[0])}")
    if missing := sum(page.report is None for page in pages):
        raise BstudyError(f"{missing} chapter{'s are' if missing > 1 else ' is'} missing from the book")


@main.command()
@options.dataset
@options.seeds
@options.settings(help="Change a parameter, in every chapter that has it.")
@options.out(default="bstudy-out")
@options.formats
@options.style
@options.model
def figures(dataset, seeds, settings, out, formats, style, model):
    """Draw the figures of all chapters from stored results.

    This measures nothing. The findings are listed in the file findings.md.
    """
    from bstudy import report
    from bstudy.chapter import chapters_with_settings
    from bstudy.findings import findings
    from bstudy.lab import Lab
    from bstudy.store import MARK

    chapters = chapters_with_settings(settings)
    lab = Lab(dataset, seeds, model=model, measure=False)
    summary, records, missing = out / "findings.md", [], 0
    pages = (report.page_files(chapter.name, out, formats) for chapter, _ in chapters)
    report.check_files([summary, *(path for page in pages for path in page)])
    for chapter, parameters in chapters:
        try:
            page = report.build(chapter, parameters, lab)
            click.echo("  ".join(map(printable, report.write(page, out, formats, style))))
            records.append(page.record())
        except (NotMeasured, InvalidInput) as error:  # the other chapters can still be drawn
            missing += 1
            command = f"{chapter.command(parameters)}{options.for_rerun(dataset, seeds, model)}"
            advice = f"; measure with: {command}" if isinstance(error, NotMeasured) else ""
            click.echo(f"bstudy: chapter {chapter.number}: {error}{advice}", err=True)
    report.write_text(summary, f"<!-- {MARK} -->\n\n{findings(records)}")
    if missing:
        raise BstudyError(f"{missing} figure{'s are' if missing > 1 else ' is'} missing")


@main.command()
@options.dataset
@options.model
@options.optimizer
@options.budget
@options.out(default="bstudy-out")
@options.formats
@options.style
@options.quiet
def advise(dataset, model, optimizer, budget, out, formats, style, quiet):
    """Recommend a batch size for your data, model and machine."""
    from bstudy import report
    from bstudy.advise import Advice, advise
    from bstudy.lab import Lab

    def log(text):
        if not quiet:
            click.echo(f"Measuring {text} ...", err=True)

    lab = Lab(dataset, [0], quiet=True, model=model, jobs=1)
    report.check_files(report.page_files(Advice.name, out, formats))
    advice = advise(lab, optimizer, budget, log)
    advice.show(report.write(advice, out, formats, style))


@main.command()
@options.option("--batch-size", type=int, required=True)
@options.option("--learning-rate", type=float, required=True)
@options.option("--epochs", type=int, required=True)
@options.optimizer
@options.option(
    "--then", multiple=True, metavar="NAME=VALUE,...", help="Add a phase with changes: batch_size=64,epochs=10."
)
@options.dataset
@options.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Sets the initial weights and the sample order."
)
@options.json_file
@options.model
@options.devices
@options.cluster
@options.quiet
def train(batch_size, learning_rate, epochs, optimizer, then, dataset, seed, json_file, model, devices, cluster, quiet):
    """Train a model once by your own recipe, and print the final numbers."""
    from bstudy import Phase, Recipe, report
    from bstudy.chapter import read_settings
    from bstudy.lab import Lab

    recipe = Recipe((Phase(batch_size, learning_rate, epochs, optimizer),))
    for changes in then:
        recipe = recipe.then(**read_settings(changes.split(","), vars(recipe.phases[-1]), "a phase"))
    lab = Lab(dataset, [seed], quiet=quiet, devices=devices, model=model, cluster=cluster)
    is_printed = json_file == Path("-")
    if json_file and not is_printed:
        report.check_files([json_file])
    numbers = report.final_numbers(lab.run({"run": recipe})["run"])
    if is_printed:
        click.echo(report.to_json(numbers), nl=False)
        return
    for name, value in report.to_jsonable(numbers).items():
        click.echo(f"{name:18} {value}")
    if json_file:
        report.write_json(json_file, numbers)


@main.command()
@options.dataset
def bench(dataset):
    """Compare the speed of this training loop with Keras's fit.

    The third speed is that of only the matrix products of the training, which no loop can avoid.
    """
    from bstudy.bench import bench
    from bstudy.data import load
    from bstudy.terminal import WIDE_TABLE, new_console, new_table

    data = load(dataset)
    click.echo(f"Measuring on {data}, about a minute ...", err=True)
    headings = ("batch size", "bstudy", "model.fit", "products", "bstudy / fit", "bstudy / products")
    table = new_table(*headings, title="samples per second")
    sizes = [size for size in (2, 8, 32, 128, 512, 1024) if size <= len(data.x_train)]
    for size, ours, fit, products in bench(data, sizes):
        speeds = (f"{speed:,.0f}" for speed in (ours, fit, products))
        table.add_row(str(size), *speeds, f"{ours / fit:.2f}", f"{ours / products:.2f}")
    new_console(WIDE_TABLE).print(table)


@main.command()
@click.argument("key", default="")
@options.option("--clear", is_flag=True, help="Delete all stored results, or the one of KEY.")
@options.option("--yes", is_flag=True, help="Delete without asking.")
def results(key, clear, yes):
    """List the stored results, or print one by its KEY.

    The beginning of a key is enough.
    """
    from bstudy.store import Store

    store = Store()
    store.remove_temporary_files()
    keys, folder = store.keys(key), printable(store.folder)
    if key and len(keys) != 1:
        raise InvalidInput(
            f"{len(keys)} stored results have a key that begins with {key!r}; 'bstudy results' lists all"
        )
    if clear:
        what = f"{len(keys)} stored result{'s' * (len(keys) != 1)}"
        if yes or click.confirm(f"Delete {what} in {folder}?", err=True):
            for each in keys:
                store.remove(each)
            click.echo(f"Deleted {what}.")
        return
    for each in keys:
        try:
            result = store.read(each)
        except BstudyError as error:  # the others can still be listed
            click.echo(f"bstudy: {error}", err=True)
            continue
        if result is not None:
            done = "" if result.complete else f", {100 * result.progress:.0f} % done"
            about = dict.fromkeys(("dataset", "model", "seed", "kind", "label"), "?") | result.metadata
            model = "" if about["model"] == "mlp" else f", {about['model']}"
            setting = f"{about['dataset']}{model}  seed {about['seed']}"
            click.echo(f"{each[:10]}  {setting}  {about['kind']}: {about['label']}{done}")
            if key:
                from bstudy.report import to_json

                last = {name: column[-1:] if column.ndim else column for name, column in result.columns.items()}
                click.echo(to_json(result.metadata | {"last values": last}), nl=False)
    if not key:
        click.echo(f"{len(keys)} results, {store.size() / 1e6:.0f} MB, in {folder}")


if sys.flags.optimize > 1:  # Python has removed the docstrings
    for each in (main, *main.commands.values()):
        each.help = docstring(each.callback)
