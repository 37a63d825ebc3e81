"""At a fixed number of steps the distance is bounded, whatever the batch size.

Claim     The distance from the start grows ever more slowly. Against epochs large batches lie far below small ones;
          against steps they lie on one curve, and that curve is a logarithm.
Compare   64 for 30 epochs, 1024 for 16 times as many: the same start and learning rate, and nearly as many steps.
Look for  On the left, two concave curves of different heights; in the middle, one. On the right, with a logarithmic
          axis for the steps, a logarithm is a straight line: is this one straight, or does it bend upwards?
Source    Shen (2018) for the bound; Hoffer, Hubara and Soudry (2017) for log t, which they find in the first phase of
          training at a constant learning rate, as of a random walk in a random potential.

Exercises
  1. Which law is better for 256, and at ten times the learning rate? `bstudy chapter 10 --set learning_rate=0.1`.
  2. A random walk in a flat landscape would go as √t. Which exponent does the power law have here?
  3. Where would 64 be after as many epochs as 1024 had? Extrapolate both laws, then train it, if you have the time.
"""

import numpy as np

from bstudy import Recipe, claim, fraction_unexplained, linear_fit, map_leaves, plots
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "III. Distance"


def experiments(small_batch_size=64, large_batch_size=1024, learning_rate=0.01, epochs=30):
    return {
        "small batch": Recipe.sgd(small_batch_size, learning_rate, epochs),
        "large batch": Recipe.sgd(large_batch_size, learning_rate, epochs * large_batch_size // small_batch_size),
    }


def table(runs):
    return map_leaves(lambda run: {"weight_distance": run.final("weight_distance")}, runs)


def figure(runs, fig):
    epochs, steps, law = fig.subplots(1, 3, sharey=True)
    for run, line in zip(runs.values(), ("-", "--"), strict=True):
        for axes, x in ((epochs, "epoch"), (steps, "step"), (law, "step")):
            plots.curve(axes, run, "weight_distance", x=x, linestyle=line)
        for color, fit, text in (("C0", log_fit, "{}: {:.2f} ln t"), ("C1", power_fit, "{}: t to the {:.2f}")):
            time, slope, fitted = fit(run)
            label = text.format(run.experiment.batch_size, slope.mean())
            law.plot(time, fitted.mean(axis=0), ":", color=color, linewidth=1, label=label)
    epochs.set(xlim=(0, runs["small batch"].experiment.epochs), title="against epochs", ylim=(0, None))
    steps.set(title="against steps", ylabel="")
    law.set_xscale("log", nonpositive="mask")
    law.set(xlim=(time[0], None), title="the same, logarithmic", ylabel="")


def log_fit(run, transform=np.asarray, inverse=np.asarray):
    """Fit a + b ln t to the distance after each epoch; return (n,) t, (seeds,) b and (seeds, n) the fit."""
    time, distance = run.experiment.steps(run.samples)[1:], run["weight_distance"][:, 1:].astype(float)
    slope, intercept = linear_fit(np.log(time), transform(distance))
    return time, slope, inverse(intercept[:, None] + slope[:, None] * np.log(time))


def power_fit(run):
    """Fit a power of t: as log_fit, but b is the exponent."""
    return log_fit(run, np.log, np.exp)


def verdicts(runs):
    small, large = runs["small batch"], runs["large batch"]
    for role, run in runs.items():
        half = run["weight_distance"][:, run.experiment.epochs // 2] / run.final("weight_distance")
        yield claim(f"Growth slows: half the epochs take the {role} over 0.6 of its way.", half, above=0.6, below=1)
    steps, distance = small.experiment.steps(small.samples)[1:], small["weight_distance"][:, 1:]
    epoch = np.rint(steps / large.experiment.steps(large.samples)[1]).astype(int)  # of the large batch, nearest
    shared = (epoch > 0) & (epoch <= large.experiment.epochs)
    ratio = (large["weight_distance"][:, epoch[shared]] / distance[:, shared]).mean(axis=1)
    yield claim("After as many steps both are as far (mean ratio, large to small).", ratio, above=0.9, below=1.1)
    for role, run in runs.items():
        distance = run["weight_distance"][:, 1:].astype(float)
        by_log, by_power = (fraction_unexplained(distance, fit(run)[2]) for fit in (log_fit, power_fit))
        more = by_log - by_power
        yield claim(f"log t fits the {role} better than a power of t (difference of 1 − R²).", more, below=0)
    ratio = log_fit(large)[1] / log_fit(small)[1]
    yield claim("The slope of the logarithm is the same (ratio, large to small).", ratio, above=0.8, below=1.25)
