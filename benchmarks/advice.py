"""How much slower is what `bstudy advise` recommends than the best? The answer is kept in advice.json.

    python benchmarks/advice.py oracle [TASK ...]     search the best setting of each task, which takes an hour or two
    python benchmarks/advice.py speed [TASK ...]      measure the seconds of a step, on a quiet machine
    python benchmarks/advice.py ask [TASK ...]        ask for advice, also on a quiet machine
    python benchmarks/advice.py compare [TASK ...]    train the recommended and the best settings once more
    python benchmarks/advice.py table [TASK ...]      print what is kept

The time of a setting is the number of steps to a held-out loss, 90 % of the way from the first to the lowest one,
times the median seconds of a step: the geometric mean over seeds. The oracle searches, at each batch size from 8 to
1024, the learning rate in factors of √2 until those above and below the best are slower, with three seeds.

The best of a hundred settings owes a part of its lead to the luck of its seeds. So those within 20 % of it are trained
with ten other seeds, and so are the recommended settings. The regret is the time of one of these, divided by the least
time of those.
"""

import dataclasses
import json
import math
import sys
from pathlib import Path

import advice_tasks
import numpy as np

from bstudy.advice.data import make_arrays
from bstudy.advice.measure import measure_advice, read_goal
from bstudy.advice.model import find_network
from bstudy.advice.problem import KerasProblem
from bstudy.advice.search import Setting, Training, target_of
from bstudy.backend import start

FILE = Path(__file__).with_name("advice.json")
SIZES = [64, 32, 16, 8, 128, 256, 512, 1024]  # in this order, each from the best rate of its neighbor
ROUNDS = 5
SEEDS = (10, 11, 12)  # other ones than those of the advice
FINAL_SEEDS, CLOSE = range(20, 30), 1.2  # of the settings that the oracle found to be within this factor of its best
FIRST_RATES = {"SGD": 0.1, "momentum": 0.02, "Adam": 0.002}
BUDGET = 120.0  # seconds of an advice, the default
GIVE_UP = 2.0  # times the best time at this batch size
LOWEST = 16  # factors of √2 below the first rate at which a search gives up
DEFAULTS = {"SGD": 0.01, "momentum": 0.01, "Adam": 0.001}  # Keras's learning rates


def names(tasks):
    """Return the names of the tasks with each optimizer."""
    return [f"{task}, {optimizer}" for task in tasks for optimizer in advice_tasks.OPTIMIZERS]


def problem_of(task, optimizer):
    start()
    arrays = make_arrays(task, *advice_tasks.TASKS[task][0]())
    network = find_network(advice_tasks.build(task, optimizer), arrays)
    problem = KerasProblem(network, lambda: math.inf)
    problem.check()
    return problem, arrays


def steps_to(problem, setting, target, limit, seeds=SEEDS):
    """Return the steps to the target for each seed; infinite if it takes longer than `limit` seconds."""
    steps = []
    for seed in seeds:
        training = Training(problem, setting, seed)
        training.advance(limit, target)
        steps.append(training.time_to(target) / training.step_seconds)
        if math.isinf(steps[-1]):
            return [math.inf] * len(seeds)
    return steps


def mean(steps):
    return float(np.exp(np.mean(np.log(steps)))) if np.isfinite(steps).all() else math.inf


def find_target(problem, epochs, rate):
    """Return the first loss, the lowest one of three long trainings at batch size 64, and the target."""
    trainings = []
    for factor in (0.5, 1, 2):
        training = Training(problem, Setting(64, rate * factor), SEEDS[0])
        training.advance(epochs * problem.samples / 64 * training.step_seconds)
        trainings.append(training)
    lowest = min(each.lowest_loss() for each in trainings)
    return target_of(trainings), trainings[0].losses[0], lowest


def search_rates(problem, size, rate, target, epochs):
    """Return {rate: steps of each seed}: from `rate` up and down until both neighbors of the best are slower."""
    seconds, found = problem.step_seconds(size), {}
    most = epochs * problem.samples / size * seconds

    def time(power):
        if power not in found:
            best = min((mean(each) for each in found.values()), default=math.inf) * seconds
            found[power] = steps_to(problem, Setting(size, rate * 2 ** (power / 2)), target, min(most, GIVE_UP * best))
        return mean(found[power])

    best = min((0, 2, -2), key=time)
    while math.isinf(time(best)) and best > -LOWEST:
        best -= 2
    while near := [best + step for step in (2, -2, 1, -1) if time(best + step) < time(best)]:
        best = min(near, key=time)
    return {float(f"{rate * 2 ** (power / 2):.6g}"): steps for power, steps in sorted(found.items())}


def load():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def save(results):
    FILE.write_text(json.dumps(results, indent=1) + "\n")


def oracle(tasks):
    for name in names(tasks):
        task, optimizer = name.rsplit(", ", 1)
        entry = load().get(name, {})
        entry["sizes"] = {
            size: found for size, found in entry.get("sizes", {}).items() if math.isfinite(best(found)[0])
        }
        problem, _ = problem_of(task, optimizer)
        epochs = advice_tasks.TASKS[task][2]
        if "target" not in entry:
            # a first search, at batch size 64, for the rate of the long trainings
            target, *_ = find_target(problem, epochs / 4, FIRST_RATES[optimizer])
            rate = best({"steps": search_rates(problem, 64, FIRST_RATES[optimizer], target, epochs)})[1]
            entry["target"], entry["first"], entry["lowest"] = find_target(problem, epochs, rate)
        for size in [each for each in SIZES if each <= problem.samples and str(each) not in entry["sizes"]]:
            known = [each for each in entry["sizes"] if abs(math.log2(int(each) / size)) <= 1]
            rate = best(entry["sizes"][known[0]])[1] if known else FIRST_RATES[optimizer]
            found = {"steps": search_rates(problem, size, rate, entry["target"], epochs)}
            entry["sizes"][str(size)] = found
            save(load() | {name: entry})
            print(name, size, *best(found), flush=True)


def speed(tasks):
    """Measure the seconds of a step at all batch sizes in turn: on a machine that does nothing else."""
    for name in names(tasks):
        problem, _ = problem_of(*name.rsplit(", ", 1))
        sizes, results = [size for size in SIZES if size <= problem.samples], load()
        rounds = [[problem.measure_step(size) for size in sizes] for _ in range(ROUNDS)]
        results[name]["step_seconds"] = dict(zip(map(str, sizes), np.median(rounds, axis=0).tolist(), strict=True))
        save(results)
        print(name, [f"{1e6 * seconds:.0f}" for seconds in results[name]["step_seconds"].values()], flush=True)


def best(found):
    """Return the fewest steps at a batch size, as a mean over seeds, and their learning rate."""
    steps = {float(rate): mean(each) for rate, each in found["steps"].items()}
    rate = min(steps, key=steps.get)
    return steps[rate], rate


def ask(tasks):
    """Ask for advice once more on each task, each time with other seeds."""
    for name in names(tasks):
        task, optimizer = name.rsplit(", ", 1)
        _, arrays = problem_of(task, optimizer)
        network = find_network(advice_tasks.build(task, optimizer), arrays)
        network = dataclasses.replace(network, first_seed=100 * len(load()[name].get("advice", [])))
        advice = measure_advice(network, read_goal("time"), BUDGET)
        raced = max((each.setting for each in advice.race), key=lambda each: each.learning_rate)
        row = {"advice": (advice.batch_size, advice.learning_rate), "rule": raced._replace(learning_rate=raced[1] / 2)}
        latest = load()
        latest[name].setdefault("advice", []).append(row | {"seconds": advice.seconds})
        save(latest)
        print(name, row, flush=True)


def times_of(entry):
    """Return {setting: seconds} of all that the oracle measured."""
    return {
        Setting(int(size), float(rate)): mean(steps) * entry["step_seconds"][size]
        for size, found in entry["sizes"].items()
        for rate, steps in found["steps"].items()
    }


def finalists(entry):
    """Return the settings that the oracle found to be nearly as fast as the best."""
    times = times_of(entry)
    return [setting for setting, time in times.items() if time <= CLOSE * min(times.values())]


def compare(tasks):
    """Train the finalists and the recommended settings with other seeds; keep the steps of each."""
    for name in names(tasks):
        entry = load()[name]
        problem, _ = problem_of(*name.rsplit(", ", 1))
        rows = [Setting(*row[kind]) for row in entry.get("advice", []) for kind in ("advice", "rule")]
        settings = [*finalists(entry), *rows, Setting(32, DEFAULTS[name.rsplit(", ", 1)[1]])]
        shortest = min(times_of(entry).values())
        for setting in dict.fromkeys(settings):
            if key_of(setting) not in entry.setdefault("final", {}):
                size = str(setting.batch_size)
                if size not in entry["step_seconds"]:
                    entry["step_seconds"][size] = problem.measure_step(setting.batch_size)
                limit = 20 * shortest / entry["step_seconds"][size] * problem.step_seconds(setting.batch_size)
                entry["final"][key_of(setting)] = steps_to(problem, setting, entry["target"], limit, FINAL_SEEDS)
        save(load() | {name: entry})
        print(name, len(entry["final"]), "settings", flush=True)


def key_of(setting):
    return f"{setting[0]} at {setting[1]:.6g}"


def table(tasks):
    """Print, for each task and optimizer, the best setting, the recommended one, and how much slower it is."""
    headings = ("best B", "rate", "seconds", "advice: B", "rate", "regret", "no race", "B = 32, default", "seconds")
    print(f"{'':26}" + "".join(f"{heading:>16}" for heading in headings))
    every = []
    for name in names(tasks):
        entry = load().get(name, {})
        if "final" not in entry:
            continue

        def seconds(setting, entry=entry):
            return mean(entry["final"][key_of(setting)]) * entry["step_seconds"][str(setting[0])]

        fastest = min(finalists(entry), key=seconds)
        default = seconds((32, DEFAULTS[name.rsplit(", ", 1)[1]])) / seconds(fastest)
        for row in entry.get("advice", []):
            regrets = [seconds(row[kind]) / seconds(fastest) for kind in ("advice", "rule")]
            every.append(regrets[0])
            cells = [fastest.batch_size, f"{fastest.learning_rate:.3g}", f"{seconds(fastest):.3g}"]
            cells += [row["advice"][0], f"{row['advice'][1]:.2g}", *(f"{each:.2f}" for each in (*regrets, default))]
            print(f"{name:26}" + "".join(f"{cell:>16}" for cell in [*cells, round(row["seconds"])]))
    if every:
        near = [sum(regret <= most for regret in every) for most in (1.1, 1.2, 1.5)]
        print(
            f"median {np.median(every):.2f}; at most 1.1, 1.2, 1.5 in {near} of {len(every)}; largest {max(every):.2f}"
        )


if __name__ == "__main__":
    {"oracle": oracle, "speed": speed, "ask": ask, "compare": compare, "table": table}[sys.argv[1]](
        sys.argv[2:] or list(advice_tasks.TASKS)
    )
