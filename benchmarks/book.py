"""Where the time of the book goes.

    python benchmarks/book.py                the book from an empty store: a chapter uses what those before it measured
    python benchmarks/book.py CHAPTER ...    these chapters, each from an empty store
    python benchmarks/book.py stored FOLDER  all chapters from the results in a folder, as BSTUDY_HOME has it

Each chapter is a process. Prints the seconds of each part and the peak memory, and keeps them in book.json:

    start       TensorFlow is imported
    compile     the first call of each compiled function
    training    the other calls of training loops
    evaluation  of accuracies and losses
    measuring   other compiled functions: gradients, noise scales, sharpness
    weights     new networks, for initial weights
    processes   children that measure memory or time
    pages       the figure and the files
    rest        everything else

The last column, which is a bound, has the seconds that the matrix products of what was missing take at the speed of
this machine.
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


def timed(part, function):
    """Return the function, with its seconds added to a part."""

    @functools.wraps(function)
    def call(*arguments, **named):
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds[part] += time.perf_counter() - started

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


def run(number):
    """Run a chapter in this process, and print its parts."""
    started = time.perf_counter()
    from bstudy import report
    from bstudy.backend import start
    from bstudy.chapter import chapter
    from bstudy.experiments import cost
    from bstudy.lab import Lab
    from bstudy.trainer import Trainer

    timed("start", start)()
    watch_compiled_functions(Trainer)
    Trainer.initial_weights = timed("weights", Trainer.initial_weights)
    cost.Child = functools.partial(timed_child, cost.Child)
    found = chapter(number)
    lab = Lab("digits", 3, jobs=1, quiet=True)
    bound = seconds_of_products(lab, found)
    page = report.build(found, found.parameters, lab)
    timed("pages", report.write)(page, Path(os.environ["BSTUDY_HOME"]) / "out", ("png", "svg"), "page")
    total = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    parts = seconds | {"rest": total - sum(seconds.values()), "total": total}
    rounded = {name: round(value, 1) for name, value in parts.items()}
    print(json.dumps(rounded | {"peak MB": round(usage.ru_maxrss / 1024), "products": round(bound, 1)}))


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
    """Return a child process whose life, until it is ended, is added to the part "processes"."""
    started = time.perf_counter()
    child = child_class(*arguments)
    kill = child.kill

    def timed_kill():
        nonlocal started
        seconds["processes"] += time.perf_counter() - started
        started = time.perf_counter()
        kill()

    child.kill = timed_kill
    return child


def run_alone(number, home):
    """Run a chapter in a new process; return its parts."""
    command = [sys.executable, __file__, "--run", str(number)]
    done = subprocess.run(command, env=os.environ | {"BSTUDY_HOME": str(home)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(words):
    from bstudy.chapter import chapters

    kind = "stored" if words[:1] == ["stored"] else "alone" if words else "book"
    numbers = [int(word) for word in words] if kind == "alone" else [each.number for each in chapters()]
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        home, rows = Path(words[1] if kind == "stored" else folder), []
        for number in numbers:
            rows.append(run_alone(number, home / str(number) if kind == "alone" else home))
            if len(rows) == 1:
                print(f"{'chapter':>7}" + "".join(f"{name:>11}" for name in rows[0]))
            print(f"{number:>7}" + "".join(f"{value:>11}" for value in rows[-1].values()), flush=True)
            results.setdefault(kind, {})[str(number)] = rows[-1]
            FILE.write_text(json.dumps(results, indent=1) + "\n")
    sums = {name: round(sum(row[name] for row in rows), 1) for name in rows[0] if name != "peak MB"}
    print("all:", ", ".join(f"{name} {value}" for name, value in sums.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(int(sys.argv[2]))
    else:
        main(sys.argv[1:])
