"""The command that lists, prints, deletes, exports and imports stored results: results."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bstudy import options
from bstudy.errors import BstudyError, InvalidInput, printable

if TYPE_CHECKING:
    from bstudy.store import Store

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("key", default="")
@options.option("--clear", is_flag=True, help="Delete all stored results, or the one of KEY.")
@options.option("--yes", is_flag=True, help="Delete or import without asking.")
@options.option("--export", type=FILE, metavar="FILE", help="Write all complete results into a file, for others.")
@options.option("--weights", is_flag=True, help="Export the weights too, with which others can continue a training.")
@options.option("--import", "source", type=FILE, metavar="FILE", help="Store the results of such a file.")
def results(key, clear, yes, export, weights, source):
    """List the stored results, or print one by its KEY.

    The beginning of a key is enough. --export and --import bring results to another machine, for example to a class.
    """
    from bstudy.store import Store

    if sum(map(bool, (clear, export, source))) > 1 or (key and source) or (weights and not export):
        raise click.UsageError("use one of --clear, --export (with --weights, if you like) and --import")
    store = Store()
    if source:
        return load_file(store, source, yes)
    store.remove_temporary_files()
    if export:
        return export_file(store, key, export, weights)
    keys = store.keys(key)
    if key and len(keys) != 1:
        raise InvalidInput(
            f"{len(keys)} stored results have a key that begins with {key!r}; 'bstudy results' lists all"
        )
    if clear:
        delete(store, keys, yes)
        return
    for each in keys:
        show(store, each, with_numbers=bool(key))
    if not key:
        click.echo(f"{len(keys)} results, {store.size() / 1e6:.0f} MB, in {printable(store.folder)}")


def delete(store: "Store", keys: list[str], yes: bool) -> None:
    """Delete the results of these keys, after a question."""
    what = f"{len(keys)} stored result{'s' * (len(keys) != 1)}"
    if yes or click.confirm(f"Delete {what} in {printable(store.folder)}?", err=True):
        for each in keys:
            store.remove(each)
        click.echo(f"Deleted {what}.")


def show(store: "Store", key: str, with_numbers: bool) -> None:
    """Print a line about a result, and its last values if asked."""
    try:
        result = store.read(key)
    except BstudyError as error:  # the others can still be listed
        click.echo(f"bstudy: {error}", err=True)
        return
    if result is None:
        return
    done = "" if result.complete else f", {100 * result.progress:.0f} % done"
    about = dict.fromkeys(("dataset", "model", "seed", "kind", "label"), "?") | result.metadata
    model = "" if about["model"] == "mlp" else f", {about['model']}"
    setting = f"{about['dataset']}{model}  seed {about['seed']}"
    click.echo(f"{key[:10]}  {setting}  {about['kind']}: {about['label']}{done}")
    if with_numbers:
        from bstudy.report import to_json

        last = {name: column[-1:] if column.ndim else column for name, column in result.columns.items()}
        click.echo(to_json(result.metadata | {"last values": last}), nl=False)


def export_file(store: "Store", key: str, path: Path, weights: bool) -> None:
    """Write the results whose key begins with `key` into a file."""
    from bstudy.exchange import export_results

    count, size = export_results(store, store.keys(key), path, weights)
    what = "with" if weights else "without"
    click.echo(f"{printable(path)}: {count} results {what} weights, {size / 1e6:.1f} MB")


def load_file(store: "Store", path: Path, yes: bool) -> None:
    """Store the results of a file, after asking."""
    from bstudy.exchange import describe, load_results

    count, size = describe(path)
    what = f"{count} results, {size / 1e6:.1f} MB"
    if not yes and not click.confirm(f"Store {what}, in {printable(store.folder)}?", err=True):
        return
    stored, known = load_results(store, path)
    click.echo(f"Stored {stored} results; {known} were there before.")
