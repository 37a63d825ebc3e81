"""At a fixed number of steps the distance is bounded, whatever the batch size.

Claim     The distance from the start grows ever more slowly. Against epochs large batches lie far below small ones;
          against steps they lie on one curve, and that curve is a logarithm.
Compare   64 for 30 epochs, and 1024 for 16 times as many: the same start and learning rate, and nearly as many steps.
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

from bstudy import Recipe, claim, draw, linear_fit, unexplained

PART = "III. Distance"


def experiments(small=64, large=1024, learning_rate=0.01, epochs=30):
    return {
        "small batch": Recipe.sgd(small, learning_rate, epochs),
        "large batch": Recipe.sgd(large, learning_rate, epochs * large // small),
    }


def figure(runs, fig):
    epochs, steps, law = fig.subplots(1, 3, sharey=True)
    for run, line in zip(runs.values(), ("-", "--"), strict=True):
        draw.curve(epochs, run, "weight_distance", linestyle=line)
        draw.curve(steps, run, "weight_distance", clock="step", linestyle=line)
        draw.curve(law, run, "weight_distance", clock="step", linestyle=line)
        time, _, (logarithm, power), (slope, exponent) = laws(run)
        size = run.experiment.batch_size
        law.plot(time, logarithm.mean(axis=0), ":", color="C0", linewidth=1, label=f"{size}: {slope.mean():.2f} ln t")
        law.plot(
            time, power.mean(axis=0), ":", color="C1", linewidth=1, label=f"{size}: t to the {exponent.mean():.2f}"
        )
    epochs.set(xlim=(0, runs["small batch"].experiment.epochs), title="against epochs", ylim=(0, None))
    steps.set(title="against steps", ylabel="")
    law.set_xscale("log", nonpositive="mask")
    law.set(xlim=(time[0], None), title="the same, logarithmic", ylabel="")


def laws(run):
    """(n,) steps after the first epoch, (seeds, n) the distance, as the two laws fit it, and as their slopes."""
    time, distance = run.experiment.steps(run.samples)[1:], run["weight_distance"][:, 1:].astype(float)
    slope, height = linear_fit(np.log(time), distance)
    power, factor = linear_fit(np.log(time), np.log(distance))
    logarithm = height[:, None] + slope[:, None] * np.log(time)
    return time, distance, (logarithm, np.exp(factor[:, None] + power[:, None] * np.log(time))), (slope, power)


def verdicts(runs):
    small, large = runs.values()
    for role, run in runs.items():
        distance = run["weight_distance"]
        half = distance[:, run.experiment.epochs // 2] / distance[:, -1]
        yield claim(
            f"It grows and slows: half the epochs take the {role} more than 0.6 of its way.", half, above=0.6, below=1
        )
    time = small.experiment.steps(small.samples)[1:]
    same = np.rint(time / large.experiment.steps(large.samples)[1]).astype(int)
    shared = (same > 0) & (same <= large.experiment.epochs)
    ratio = (large["weight_distance"][:, same[shared]] / small["weight_distance"][:, 1:][:, shared]).mean(axis=1)
    yield claim("After as many steps both are as far (mean ratio, large to small).", ratio, above=0.9, below=1.1)
    for role, run in runs.items():
        _, distance, (logarithm, power), _ = laws(run)
        left = unexplained(distance, logarithm) - unexplained(distance, power)
        yield claim(f"log t fits the {role} better than a power of t (difference of 1 − R²).", left, below=0)
    slopes = laws(large)[3][0] / laws(small)[3][0]
    yield claim("The slope of the logarithm is the same (ratio, large to small).", slopes, above=0.8, below=1.25)
