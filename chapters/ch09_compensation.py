"""A larger learning rate or more epochs make up for a large batch.

Claim     A batch of 1024 reaches what 64 reaches, in accuracy and in distance from the start, if it may take as many
          steps (16 times the epochs), or larger ones (ten times the learning rate).
Compare   64 for 30 epochs, 1024 for 16 times as many, 1024 at ten times the learning rate. Beside them the grid of
          chapter 8, against learning rate / batch size: how far one epoch can carry the weights.
Look for  On the left: against steps, 1024 for 480 epochs lies on 64. On the right: do all batch sizes lie on one curve?
Source    Shen (2018): 1024 for 480 epochs ends at W 6.63, B 0.11 and 98 %; at learning rate 0.1, at 98 %. That learning
          rate / batch size is what counts: Jastrzębski et al. (2017); Smith and Le (2018).

Exercises
  1. One curve, as long as steps are small: add a column that is too fast, `--set learning_rates=0.01,0.1,1`.
  2. Steps or samples: which budget do you pay for? Read the cost of the three runs off `bstudy results`.
  3. By which power of the batch size would the learning rate have to grow, for Adam? Look up, then test one pair.
"""

import numpy as np

from bstudy import Recipe, claim, draw, unexplained

PART = "III. Distance"


def experiments(batch_sizes=(64, 256, 1024), learning_rates=(0.01, 0.03, 0.1), epochs=30):
    sizes, rates = sorted(batch_sizes), sorted(learning_rates)
    grid = {f"{size} at {rate:g}": Recipe.sgd(size, rate, epochs) for size in sizes for rate in rates}
    return grid | {"more epochs": Recipe.sgd(sizes[-1], rates[0], epochs * sizes[-1] // sizes[0])}


def figure(runs, fig):
    steps, ratio = fig.subplots(1, 2)
    *cells, more = runs.values()
    for run in (cells[0], more, cells[-1]):
        draw.curve(steps, run, "test_accuracy", clock="step")
    for run in cells:
        color, rate = draw.colour(run.experiment.batch_size), rate_over_size(run)
        ratio.plot(rate, 100 * run.final("test_accuracy").mean(), "o", color=color)
        if run.diverged.any():
            ratio.axvline(rate, color=color, linestyle=":", label=draw.label(run))
    draw.focus(steps)
    steps.set_xscale("log")
    rates, accuracy = grid(cells)
    fine = np.geomspace(rates.min(), rates.max(), 100)
    ratio.plot(fine, 100 * parabola(rates, accuracy, fine).mean(axis=0), color="gray", linewidth=1)
    ratio.set(xscale="log", xlabel="learning rate / batch size", ylabel="test accuracy (%)")


def rate_over_size(run):
    return run.experiment.phases[0].learning_rate / run.experiment.batch_size


def grid(cells):
    """(cells,) learning rate / batch size, and (seeds, cells) test accuracy."""
    return np.array([rate_over_size(run) for run in cells]), np.array([run.final("test_accuracy") for run in cells]).T


def parabola(rates, accuracy, at):
    """(seeds, n) the parabola in log(learning rate / batch size) that fits the cells best that did not diverge."""
    kept = np.isfinite(accuracy).all(axis=0)
    here, there = (np.vander(np.log(x / rates.min()), 3) for x in (rates[kept], at))
    return (there @ np.linalg.lstsq(here, accuracy[:, kept].T, rcond=None)[0]).T


def verdicts(runs):
    *cells, more = runs.values()
    reference, larger = cells[0], cells[-1]
    for run, what in ((more, "As many steps"), (larger, "Larger steps")):
        lost = 100 * (reference.final("test_accuracy") - run.final("test_accuracy"))
        yield claim(f"{what} bring back the accuracy (to within 1 point).", lost, below=1, published=0, unit="points")
    ratio = more.final("weight_distance") / reference.final("weight_distance")
    yield claim("As many steps go as far (ratio).", ratio, above=0.9, below=1.1, published=6.63 / 6.71)
    rates, accuracy = grid(cells)
    left = unexplained(accuracy, parabola(rates, accuracy, rates))
    yield claim("Learning rate / batch size decides: one curve leaves under a tenth unexplained.", left, below=0.1)
