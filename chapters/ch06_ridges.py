"""Large batches make very large and very small updates; small batches make updates of about one size.

Claim     Among trials over as many samples, the norms of large batches reach from very small to very large, those of
          small batches lie close together.
Compare   The norms of chapter 4's trials one by one: raw, and divided by their batch size's mean, so that only the
          shape is left.
Look for  Raw, the ridges of large batches lie farther right and are wider: even their small updates are not smaller
          than those of small batches. Scaled, the claim is about both ends, and each gets its verdict.
Source    Shen (2018), ridges of 1000 trials for each batch size.

Exercises
  1. A ridge of 5 trials a seed is mostly its smoothing. Draw it from more: `bstudy chapter 6 --set trials=100`.
  2. "Very small updates" of large batches: smaller than what? State both readings, and decide each from the figure.
  3. Which ridges would frozen weights give? Draw them by hand, then look at chapter 4.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, plots

PART = "II. Gradients"


def experiments(large_batch_size=1024, early_epochs=2, late_epochs=30, trials=5, trial_learning_rate=0.01):
    return {
        when: GradientTrials(
            Recipe.sgd(large_batch_size, 0.01, epochs), trials=trials, learning_rate=trial_learning_rate
        )
        for when, epochs in (("early", early_epochs), ("late", late_epochs))
    }


def figure(runs, fig):
    for (when, run), (raw, scaled) in zip(runs.items(), fig.subplots(2, 2, sharex="col"), strict=True):
        for axes, norm in ((raw, run["norm"]), (scaled, relative_norm(run))):
            all_trials = np.concatenate(list(norm), axis=1)  # (batch sizes, trials of all seeds)
            plots.ridges(axes, run.experiment.batch_sizes, all_trials)
        raw.set_title(f"{when}, raw")
        scaled.set_title(f"{when}, scaled")
    raw.set_xlabel("gradient norm of a trial")
    scaled.set_xlabel("gradient norm / its mean")


def relative_norm(run):
    """Return (seeds, batch sizes, trials) the norms over their batch size's mean."""
    return run["norm"] / run["norm"].mean(axis=2, keepdims=True)


def verdicts(runs):
    for when, run in runs.items():
        low, high = np.quantile(relative_norm(run), (0.05, 0.95), axis=2)  # (seeds, batch sizes)
        raw = np.quantile(run["norm"], 0.05, axis=2)
        wider, lower = high[:, -1] - high[:, 0], low[:, -1] - low[:, 0]
        yield claim(
            f"Relative to their mean, the large updates of the largest batch are larger, {when}.", wider, above=0
        )
        yield claim(f"Relative to their mean, its small updates are smaller, {when}.", lower, below=0)
        smaller = np.log(raw[:, -1] / raw[:, 0])
        yield claim(
            f"Without scaling, its small updates are smaller, {when} (logarithm of the ratio).", smaller, below=0
        )
