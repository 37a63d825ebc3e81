"""Large batches make very large and very small updates; small batches make updates of about one size.

Claim     Among trials over as many samples, the norms of large batches reach from very small to very large, those of
          small batches lie close together.
Compare   The norms of chapter 4's trials one by one: as they are, and divided by their batch size's mean, so that only
          the shape is left.
Look for  Raw, the ridges of large batches lie farther right and are wider: even their small updates are not smaller
          than those of small batches. Scaled, the claim is about both ends, and each gets its verdict.
Source    Shen (2018), ridges of 1000 trials for each batch size.

Exercises
  1. A ridge of 5 trials a seed is mostly its smoothing. Draw it from more: `bstudy chapter 6 --set trials=100`.
  2. "Very small updates" of large batches: smaller than what? State both readings, and decide each from the figure.
  3. Which ridges would frozen weights give? Draw them by hand, then look at chapter 4.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, draw

PART = "II. Gradients"


def experiments(large=1024, early=2, late=30, trials=5, learning_rate=0.01):
    starts = {"early": Recipe.sgd(large, 0.01, early), "late": Recipe.sgd(large, 0.01, late)}
    return {when: GradientTrials(start, trials=trials, learning_rate=learning_rate) for when, start in starts.items()}


def figure(runs, fig):
    for (when, run), (raw, scaled) in zip(runs.items(), fig.subplots(2, 2, sharex="col"), strict=True):
        together = np.concatenate(list(run["norm"]), axis=1)  # (batch sizes, trials of all seeds)
        draw.ridges(raw, run.experiment.batch_sizes, together)
        draw.ridges(scaled, run.experiment.batch_sizes, np.concatenate(list(relative(run)), axis=1))
        raw.set_title(f"{when}, raw")
        scaled.set_title(f"{when}, scaled")
    raw.set_xlabel("gradient norm of a trial")
    scaled.set_xlabel("gradient norm / its mean")


def relative(run):
    """(seeds, batch sizes, trials) norms over their batch size's mean."""
    return run["norm"] / run["norm"].mean(axis=2, keepdims=True)


def verdicts(runs):
    for when, run in runs.items():
        low, high = np.quantile(relative(run), (0.05, 0.95), axis=2)  # (seeds, batch sizes)
        raw = np.quantile(run["norm"], 0.05, axis=2)
        wider, lower = high[:, -1] - high[:, 0], low[:, -1] - low[:, 0]
        yield claim(f"Over their mean, the largest batches' large updates are larger, {when}.", wider, above=0)
        yield claim(f"Over their mean, their small updates are smaller, {when}.", lower, below=0)
        smaller = np.log(raw[:, -1] / raw[:, 0])
        yield claim(f"As they are, their small updates are smaller, {when} (logarithm of the ratio).", smaller, below=0)
