"""The command that writes a chapter as a notebook: notebook."""

from pathlib import Path

import click

from bstudy import options
from bstudy.errors import InvalidInput, printable


@click.command(cls=options.ChapterCommand)
@click.argument("number", type=int)
@options.dataset
@options.seeds
@options.settings(help="Change a parameter of the chapter, like its own option does.")
@options.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The new file; by default ch03.ipynb for chapter 3.",
)
@options.model
@options.option("--solutions", is_flag=True, help="Include the solutions of the exercises.")
@options.option(
    "--install",
    metavar="SOURCE",
    help="What the first cell installs if bstudy is missing: an address or a wheel, as pip install takes it.",
)
def notebook(number, dataset, seeds, settings, out, model, solutions, install, **parameters):
    """Write chapter NUMBER as a Jupyter notebook.

    Its functions can be edited and run there, and its exercises answered. This measures nothing. The parameters of a
    chapter are options too: bstudy notebook 3 --help lists those of chapter 3.
    """
    from bstudy import data, models
    from bstudy.chapter import chapter
    from bstudy.notebook import Setting, check_new, dataset_from, make_notebook, write_notebook

    found = chapter(number)
    parameters = found.with_settings(settings, parameters)
    found.module.experiments(**parameters)  # reports a wrong value
    models.find_model(model)
    if dataset not in data.NAMES and not Path(dataset).expanduser().is_file():
        raise InvalidInput(f"there is no data set or file {dataset!r}; use {', '.join(data.NAMES)}, or an .npz file")
    out = out or Path(f"{found.name}.ipynb")
    check_new(out)
    setting = Setting(parameters, dataset_from(dataset, out.parent), seeds, model)
    write_notebook(out, make_notebook(found, setting, solutions, install or ""))
    click.echo(f"{printable(out)}; open it in JupyterLab, in an editor such as VS Code, or in a hosted notebook")
