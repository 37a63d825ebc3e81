"""Good solutions are far from the start, and large batches do not travel far enough.

Claim     Runs that end farther from their initial weights classify better, up to a best distance. In the same number of
          epochs large batches take fewer steps, so they end nearer to the start, and lower.
Compare   Batch sizes × learning rates, from the same start and for the same number of epochs. ‖Δw‖ and ‖Δb‖ are the
          Euclidean distances of all kernels, and of all biases, from their initial values.
Look for  The diagonals: a larger batch at a larger learning rate ends about where a smaller one at a smaller rate does,
          in distance and in accuracy. A step of a large batch is not smaller (chapter 4); there are fewer of them.
Source    Shen (2018): the best solutions are about 6 from the start, on MNIST, where the initial norm is 44.

Exercises
  1. Which cell would you pick for 1024? Extend the grid until it gets worse: `--set learning_rates=0.1,0.3,1`.
  2. Half the epochs: `bstudy chapter 8 --set epochs=15`. Which cells change places?
  3. Distance correlates with accuracy. Does it cause it? Think of a way to travel far that teaches the model nothing.
"""

from bstudy import Recipe, claim, leaves, plots, stack, stats
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "III. Distance"


def experiments(batch_sizes=(64, 256, 1024), learning_rates=(0.01, 0.03, 0.1), epochs=30):
    return {
        size: {rate: Recipe.sgd(size, rate, epochs) for rate in sorted(learning_rates)} for size in sorted(batch_sizes)
    }


def figure(runs, fig):
    cells = {}
    for (size, rate), run in leaves(runs).items():
        accuracy = run.final("test_accuracy").mean()
        weights, biases = run.final("weight_distance").mean(), run.final("bias_distance").mean()
        text = f"{accuracy:.2f} %\n‖Δw‖ {weights:.2f}   ‖Δb‖ {biases:.2f}"
        cells[f"{size}", f"{rate:g}"] = accuracy, text
    axes = fig.subplots()
    plots.heatmap(axes, cells, "test accuracy (%)")
    axes.set(xlabel="learning rate", ylabel="batch size")


def verdicts(runs):
    cells = leaves(runs)
    _, accuracy = stack(cells, "test_accuracy")  # (seeds, cells)
    _, distance = stack(cells, "weight_distance")
    _, initial_norm = stack(cells, lambda run: run["weight_norm"][:, 0])
    correlation = stats.rank_correlation(distance, accuracy)
    yield claim("The farther from the start, the better (rank correlation).", correlation, above=0.5)
    smallest, largest = runs[min(runs)], runs[max(runs)]
    lowest = min(smallest)
    ratio = largest[lowest].final("weight_distance") / smallest[lowest].final("weight_distance")
    text = "At the smallest learning rate the largest batch travels less than half as far as the smallest (ratio)."
    yield claim(text, ratio, below=0.5)
    best = stats.value_at_minimum(distance / initial_norm, -accuracy)
    text = "The best cell is a twentieth to a quarter of the initial norm away."
    yield claim(text, best, above=0.05, below=0.25, published=6 / 44)
