"""Adam finds much larger weights, and generalizes worse.

Claim     At the same batch size and learning rate Adam ends many times as far from the start as SGD, biases still more,
          and at lower test accuracy; its distance grows almost linearly, while that of SGD is concave.
Compare   SGD and Adam at one batch size, learning rate and number of epochs. Only the optimizer differs.
Look for  On the right, distance as a fraction of its end: a straight diagonal, or an arch? Adam divides each gradient
          by its own recent size, so that its steps do not shrink when the gradients do.
Source    Shen (2018): ‖Δw‖ = 254.3, ‖Δb‖ = 18.3 and 95 % for Adam; 6.71, 0.11 and 98 % for SGD. That adaptive methods
          generalize worse: Wilson et al. (2017); that it depends on tuning: Choi et al. (2019). The learning rate of
          0.01 is ten times Adam's default.

Exercises
  1. Give Adam its default: `bstudy train --batch-size 64 --learning-rate 0.001 --epochs 30 --optimizer adam`. Which of
     the claims are about Adam, and which about its learning rate?
  2. Does a larger batch help Adam? `bstudy chapter 11 --set batch_size=1024`.
  3. An Adam step moves each weight by at most about the learning rate. How far could 1,000 steps carry all of them?
"""

from bstudy import Recipe, claim, plots
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "IV. Adam"


def experiments(batch_size=64, learning_rate=0.01, epochs=30):
    return {
        "SGD": Recipe.sgd(batch_size, learning_rate, epochs),
        "Adam": Recipe.adam(batch_size, learning_rate, epochs),
    }


def figure(runs, fig):
    accuracy, distance, fraction = fig.subplots(1, 3)
    for run, line in zip(runs.values(), ("-", "--"), strict=True):
        plots.curve(accuracy, run, "test_accuracy", linestyle=line)
        plots.curve(distance, run, "weight_distance", yscale="log", linestyle=line)
        plots.curve(distance, run, "bias_distance", yscale="log", linestyle=line, linewidth=1, label=None)
        plots.curve(fraction, run, run["weight_distance"] / run.final("weight_distance")[:, None], linestyle=line)
    plots.zoom_to_final_values(accuracy)
    distance.set(title="‖Δw‖, and ‖Δb‖ (thin)", ylabel="distance from the start")
    fraction.set(title="distance / its end", ylabel="")


def halfway(run):
    """Return (seeds,) the distance after half of the epochs, as a fraction of the last: 0.5 if it grows linearly."""
    return run["weight_distance"][:, run.experiment.epochs // 2] / run.final("weight_distance")


def verdicts(runs):
    sgd, adam = runs["SGD"], runs["Adam"]
    weights, biases = (adam.final(name) / sgd.final(name) for name in ("weight_distance", "bias_distance"))
    lost = sgd.final("test_accuracy") - adam.final("test_accuracy")
    yield claim("Adam's weights end more than five times as far (ratio).", weights, above=5, published=254.3 / 6.71)
    yield claim("So do its biases (ratio).", biases, above=5, published=18.3 / 0.11)
    yield claim("Adam ends at lower test accuracy.", lost, above=0, published=3, unit="percentage points")
    yield claim("Adam's way is almost linear: half the epochs, half the way.", halfway(adam), above=0.4, below=0.6)
    yield claim("That of SGD is concave: half the epochs, far more than half the way.", halfway(sgd), above=0.6)
