"""The commands that measure for the reader: advise, train, bench."""

from pathlib import Path

import click

from bstudy import options


@click.command()
@options.option(
    "--dataset",
    default="digits",
    envvar="BSTUDY_DATASET",
    show_envvar=True,
    metavar="NAME|FILE|MODULE:FUNCTION",
    help="digits, mnist, fashion_mnist; an .npz file with x_train, y_train and, if there is a test set, x_test and "
    "y_test, of any shape; or your function that returns such arrays.",
)
@options.option(
    "--model",
    default="mlp",
    envvar="BSTUDY_MODEL",
    show_envvar=True,
    metavar="NAME|MODULE:FUNCTION",
    help="mlp, cnn, or your function that returns a compiled Keras model; or, for (input_shape, classes), a classifier "
    "with logits that is not compiled.",
)
@options.option(
    "--optimizer", type=click.Choice(["sgd", "adam"]), help="Of a model that is not compiled.  [default: sgd]"
)
@options.option(
    "--for",
    "goal",
    default="time",
    metavar="GOAL",
    help="time: the least time to the same loss; epochs=10: the lowest loss after 10 epochs; "
    "memory=2GB: the least time with at most 2 GB.",
)
@options.budget
@options.out(default="bstudy-out")
@options.formats
@options.style
@options.quiet
def advise(dataset, model, optimizer, goal, budget, out, formats, style, quiet):
    """Recommend a batch size and a learning rate for your data, model and machine."""
    from bstudy import report
    from bstudy.advice.data import read_arrays
    from bstudy.advice.measure import measure_advice, print_progress, read_goal
    from bstudy.advice.model import find_network
    from bstudy.advice.page import Advice
    from bstudy.backend import start
    from bstudy.errors import Interrupted

    goal = read_goal(goal)
    report.check_files(report.page_files(Advice.name, out, formats))
    arrays = read_arrays(dataset)
    start()
    network = find_network(model, arrays, optimizer)
    advice = measure_advice(network, goal, budget, None if quiet else print_progress)
    advice.show(report.write(advice, out, formats, style))
    if advice.stopped:
        raise Interrupted("stopped early; the advice above rests on what was measured until then")


@click.command()
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


@click.command()
@options.dataset
@options.model
def bench(dataset, model):
    """Compare the speed of this training loop with Keras's fit.

    The last speed is that of the computing that no loop can avoid: for mlp the matrix products alone, for other models
    the forward and backward passes of one batch and a plain update. The other way is the same loop without XLA, or
    with it for convolutions, which are trained without.
    """
    from bstudy.bench import bench
    from bstudy.data import load
    from bstudy.models import find_model
    from bstudy.terminal import WIDE_TABLE, new_console, new_table

    data = load(dataset)
    spec = find_model(model).fitted_to(data)
    click.echo(f"Measuring {spec} on {data}, about a minute ...", err=True)
    headings = ("batch size", "bstudy", "other way", "model.fit", "bound", "bstudy / fit", "bstudy / bound")
    table = new_table(*headings, title="samples per second")
    for speeds in bench(data, [size for size in (2, 8, 32, 128, 512, 1024) if size <= len(data.x_train)], spec):
        size, loop, other, fit, bound = speeds
        shown = (f"{speed:,.0f}" if speed == speed else "–" for speed in (loop, other, fit, bound))
        table.add_row(str(size), *shown, f"{loop / fit:.2f}", f"{loop / bound:.2f}")
    new_console(WIDE_TABLE).print(table)
