"""A larger learning rate or more epochs make up for a large batch.

Claim     A batch of 1024 reaches what 64 reaches, in accuracy and in distance from the start, if it may take as many
          steps (16 times the epochs), or larger ones (ten times the learning rate).
Compare   64 for 30 epochs, 1024 for 16 times as many, 1024 at ten times the learning rate. Next to them the grid of
          chapter 8, against learning rate / batch size: how far one epoch can carry the weights.
Look for  On the left: against steps, 1024 for 480 epochs lies on 64. On the right: do all batch sizes lie on one curve?
Source    Shen (2018): 1024 for 480 epochs ends at ‖Δw‖ = 6.63, ‖Δb‖ = 0.11 and 98 %; at learning rate 0.1, at 98 %.
          That learning rate / batch size decides: Jastrzębski et al. (2017); Smith and Le (2018).

Exercises
  1. One curve, as long as steps are small: add a column that is too fast, `--set learning_rates=0.01,0.1,1`.
  2. Steps or samples: which budget do you pay for? Read the cost of the three runs off `bstudy results`.
  3. By which power of the batch size would the learning rate have to grow, for Adam? Look up, then test one pair.
"""

import numpy as np

from bstudy import Recipe, claim, leaves, plots, stack, stats
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "III. Distance"


def experiments(batch_sizes=(64, 256, 1024), learning_rates=(0.01, 0.03, 0.1), epochs=30):
    sizes, rates = sorted(batch_sizes), sorted(learning_rates)
    return {
        "grid": {size: {rate: Recipe.sgd(size, rate, epochs) for rate in rates} for size in sizes},
        "more epochs": Recipe.sgd(sizes[-1], rates[0], epochs * sizes[-1] // sizes[0]),
    }


def compared(runs):
    """Return the small batch, the large one for more epochs, and the large one with larger steps."""
    grid, rates = runs["grid"], runs["grid"][min(runs["grid"])]
    return rates[min(rates)], runs["more epochs"], grid[max(grid)][max(rates)]


def figure(runs, fig):
    steps, ratio = fig.subplots(1, 2)
    for run in compared(runs):
        plots.curve(steps, run, "test_accuracy", x="step")
    plots.zoom_to_final_values(steps)
    steps.set_xscale("log")
    for (size, rate), run in leaves(runs["grid"]).items():
        ratio.plot(rate / size, run.final("test_accuracy").mean(), "o", color=plots.color(size))
        if run.diverged.any():
            ratio.axvline(rate / size, color=plots.color(size), linestyle=":", label=plots.label(run))
    ratios, accuracy = by_ratio(runs["grid"])
    between = np.geomspace(ratios.min(), ratios.max(), 100)
    ratio.plot(between, fitted(ratios, accuracy, between).mean(axis=0), color="gray", linewidth=1)
    ratio.set(xscale="log", xlabel="learning rate / batch size", ylabel="test accuracy (%)")


def by_ratio(grid):
    """Return (cells,) learning rate / batch size, and (seeds, cells) test accuracy."""
    cells = leaves(grid)
    return np.array([rate / size for size, rate in cells]), stack(cells, "test_accuracy")[1]


def fitted(ratios, accuracy, at):
    """Return (seeds, n) the accuracy at the ratios `at`, by a parabola in log(learning rate / batch size)."""
    return stats.parabola_fit(np.log(ratios / ratios.min()), accuracy, np.log(at / ratios.min()))


def verdicts(runs):
    reference, more_epochs, larger_steps = compared(runs)
    for run, change in ((more_epochs, "As many steps"), (larger_steps, "Larger steps")):
        lost = reference.final("test_accuracy") - run.final("test_accuracy")
        text = f"{change} bring back the accuracy (to within 1 percentage point)."
        yield claim(text, lost, below=1, published=0, unit="percentage points")
    ratio = more_epochs.final("weight_distance") / reference.final("weight_distance")
    yield claim("As many steps go as far (ratio).", ratio, above=0.9, below=1.1, published=6.63 / 6.71)
    ratios, accuracy = by_ratio(runs["grid"])
    left = stats.fraction_unexplained(accuracy, fitted(ratios, accuracy, ratios))
    text = "One curve in learning rate / batch size explains over 90 % of the variance of the accuracy (1 − R²)."
    yield claim(text, left, below=0.1)
