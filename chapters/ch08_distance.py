"""Good solutions are far from the start, and large batches do not travel far enough.

Claim     Runs that end farther from their initial weights classify better, up to a best distance. In the same number of
          epochs large batches take fewer steps, so they end nearer to the start, and lower.
Compare   Batch sizes × learning rates, from the same start and for the same number of epochs. W and B are the Euclidean
          distances of all kernels, and of all biases, from where they began.
Look for  The diagonals: a larger batch at a larger learning rate ends about where a smaller one at a smaller rate does,
          in distance and in accuracy. A step of a large batch is not smaller (chapter 4); there are fewer of them.
Source    Shen (2018): the best solutions are about 6 from the start, on MNIST, where the initial norm is 44.

Exercises
  1. Which cell would you pick for 1024? Extend the grid until it gets worse: `--set learning_rates=0.1,0.3,1`.
  2. Half the epochs: `bstudy chapter 8 --set epochs=15`. Which cells change places?
  3. Distance correlates with accuracy. Does it cause it? Think of a way to travel far that teaches the model nothing.
"""

import numpy as np

from bstudy import Recipe, claim, draw, rank_correlation

PART = "III. Distance"


def experiments(batch_sizes=(64, 256, 1024), learning_rates=(0.01, 0.03, 0.1), epochs=30):
    return {
        f"{size} at {rate:g}": Recipe.sgd(size, rate, epochs)
        for size in sorted(batch_sizes)
        for rate in sorted(learning_rates)
    }


def figure(runs, fig):
    cells = {}
    for run in runs.values():
        weights, biases, accuracy = (
            run.final(name).mean() for name in ("weight_distance", "bias_distance", "test_accuracy")
        )
        place = f"{run.experiment.batch_size}", f"{run.experiment.phases[0].learning_rate:g}"
        cells[place] = 100 * accuracy, f"{100 * accuracy:.2f} %\nW {weights:.2f}   B {biases:.2f}"
    axes = fig.subplots()
    draw.heat(axes, cells, "test accuracy (%)")
    axes.set(xlabel="learning rate", ylabel="batch size")


def verdicts(runs):
    distance, accuracy = (
        np.array([run.final(name) for run in runs.values()]).T  # (seeds, cells)
        for name in ("weight_distance", "test_accuracy")
    )
    start = np.array([run["weight_norm"][:, 0] for run in runs.values()]).T
    rates = len({run.experiment.phases[0].learning_rate for run in runs.values()})
    best = np.argmax(accuracy, axis=1)[:, None]
    farthest = np.take_along_axis(distance / start, best, axis=1)[:, 0]
    yield claim(
        "The farther from the start, the better (rank correlation).", rank_correlation(distance, accuracy), above=0.5
    )
    yield claim(
        "At the smallest learning rate the largest batch travels less than half as far as the smallest (ratio).",
        distance[:, -rates] / distance[:, 0], below=0.5,
    )  # fmt: skip
    yield claim(
        "The best cell is a twentieth to a quarter of the initial norm away.", farthest,
        above=0.05, below=0.25, published=6 / 44,
    )  # fmt: skip
