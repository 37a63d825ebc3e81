"""Where the time of the book goes.

    python benchmarks/book.py                the book from an empty store: a chapter uses what those before it measured
    python benchmarks/book.py CHAPTER ...    these chapters, each from an empty store
    python benchmarks/book.py stored FOLDER  all chapters from the results in a folder, as BSTUDY_HOME has it

Prints the seconds of each part and the peak memory of the process until then, and keeps them in book.json:

    start       TensorFlow is imported
    compile     the first call of each compiled function
    training    the other calls of training loops
    evaluation  of accuracies and losses
    measuring   other compiled functions: gradients, noise scales, sharpness
    weights     new networks, for initial weights
    processes   children that measure memory or time
    pages       the figure and the files
    rest        everything else

"products" is a bound: the seconds that the matrix products of what was missing take at the speed of this machine.
"""

import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILE = Path(__file__).with_name("book.json")
PARTS = ("start", "compile", "training", "evaluation", "measuring", "weights", "processes", "pages")
KINDS = {"make_train_function": "training", "make_evaluation_function": "evaluation"}
seconds = dict.fromkeys(PARTS, 0.0)
alive = {}  # the children, and "started": when the first of them was


def timed(part, function):
    """Return the function, with its seconds added to a part; those of timed functions that it calls are theirs."""

    @functools.wraps(function)
    def call(*arguments, **named):
        started, before = time.perf_counter(), sum(seconds.values())
        try:
            return function(*arguments, **named)
        finally:
            of_others = sum(seconds.values()) - before
            seconds[part] += time.perf_counter() - started - of_others

    return call


def watch_compiled_functions(trainer_class):
    """Time the compiled functions that a trainer makes: the first call of each, and the others."""
    cached = trainer_class.cached
    watched = {}

    def cached_and_timed(self, make, *arguments):
        made = cached(self, make, *arguments)
        if not hasattr(made, "get_concrete_function"):
            return made
        if made not in watched:
            first, later = timed("compile", made), timed(KINDS.get(make.__name__, "measuring"), made)
            calls = iter([first])
            watched[made] = lambda *values: next(calls, later)(*values)
        return watched[made]

    trainer_class.cached = cached_and_timed


def run(numbers):
    """Run chapters in this process, and print the parts of each as a line of JSON."""
    from bstudy import report
    from bstudy.backend import start
    from bstudy.chapter import chapter
    from bstudy.experiments import cost
    from bstudy.lab import Lab
    from bstudy.trainer import Trainer

    started = time.perf_counter()
    timed("start", start)()
    watch_compiled_functions(Trainer)
    Trainer.initial_weights = timed("weights", Trainer.initial_weights)
    cost.Child = functools.partial(timed_child, cost.Child)
    lab = Lab("digits", 3, jobs=1, quiet=True)
    for number in numbers:
        found = chapter(number)
        bound = seconds_of_products(lab, found)
        page = report.build(found, found.parameters, lab)
        timed("pages", report.write)(page, Path(os.environ["BSTUDY_HOME"]) / "out", ("png", "svg"), "page")
        total = time.perf_counter() - started
        parts = seconds | {"rest": total - sum(seconds.values()), "total": total, "products": bound}
        rounded = {name: round(value, 1) for name, value in parts.items()}
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps({"chapter": number} | rounded | {"peak MB": peak}), flush=True)
        started = time.perf_counter()
        seconds.update(dict.fromkeys(PARTS, 0.0))


def seconds_of_products(lab, found):
    """Return how long the matrix products of the missing measurements of a chapter take."""
    from bstudy import leaves
    from bstudy.machine import BACKWARD, this_machine

    multiplications, speed = lab.model.multiplications(lab.dataset.input_shape), this_machine()
    total = 0.0
    for task in lab._plan(dict.fromkeys(leaves(found.module.experiments(**found.parameters)).values())):
        work = task.experiment.work(lab.dataset)
        missing = task.seconds / speed.seconds(work, multiplications)
        total += missing * (BACKWARD * work.samples + work.evaluated) * multiplications
    return total / speed.multiplications_per_second


def timed_child(child_class, *arguments):
    """Return a child process; the time in which there is any is added to the part "processes"."""
    started, child = time.perf_counter(), child_class(*arguments)
    kill, group = child.kill, alive if alive else {"started": started}
    alive.update(group | {child: None})

    def timed_kill():
        if alive.pop(child, child) is None and len(alive) == 1:
            seconds["processes"] += time.perf_counter() - alive.pop("started")
        kill()

    child.kill = timed_kill
    return child


def rows_of(numbers, home):
    """Run chapters in a new process; yield the parts of each."""
    command = [sys.executable, __file__, "--run", *map(str, numbers)]
    with subprocess.Popen(
        command, env=os.environ | {"BSTUDY_HOME": str(home)}, stdout=subprocess.PIPE, text=True
    ) as run:
        for line in run.stdout:
            yield json.loads(line)
    if run.returncode:
        sys.exit(f"the process ended with {run.returncode}")


def main(words):
    from bstudy.chapter import chapters

    kind = "stored" if words[:1] == ["stored"] else "alone" if words else "book"
    every = [each.number for each in chapters()]
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(words[1] if kind == "stored" else folder)
        groups = [([int(word)], home / word) for word in words] if kind == "alone" else [(every, home)]
        rows = []
        for row in (row for group in groups for row in rows_of(*group)):
            rows.append(row)
            if len(rows) == 1:
                print("".join(f"{name:>11}" for name in row))
            print("".join(f"{value:>11}" for value in row.values()), flush=True)
            results.setdefault(kind, {})[str(row["chapter"])] = row
            FILE.write_text(json.dumps(results, indent=1) + "\n")
    sums = {name: round(sum(row[name] for row in rows), 1) for name in (*PARTS, "rest", "total", "products")}
    print("all:", ", ".join(f"{name} {value}" for name, value in sums.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run([int(word) for word in sys.argv[2:]])
    else:
        main(sys.argv[1:])
