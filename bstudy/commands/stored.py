"""The command that lists, prints and deletes stored results: results."""

from typing import TYPE_CHECKING

import click

from bstudy import options
from bstudy.errors import BstudyError, InvalidInput, printable

if TYPE_CHECKING:
    from bstudy.store import Store


@click.command()
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
