"""The command line: the group of all commands, and what an error prints. The commands are in `bstudy/commands/`."""

import gc
import logging
import sys

import click

from bstudy import __version__
from bstudy.chapter import docstring
from bstudy.commands import lectures, measuring, notebooks, pages, stored
from bstudy.errors import BstudyError, printable


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
    gc.set_threshold(20_000)  # of 700, a tenth of the time that drawing takes is spent looking for unused objects
    load_matplotlib()


for command in (
    pages.list_chapters,
    pages.run_chapter,
    pages.write_book,
    pages.figures,
    notebooks.notebook,
    lectures.slides,
    lectures.check,
    measuring.advise,
    measuring.train,
    measuring.bench,
    stored.results,
):
    main.add_command(command)
if sys.flags.optimize > 1:  # Python has removed the docstrings
    for command in (main, *main.commands.values()):
        command.help = docstring(command.callback)
