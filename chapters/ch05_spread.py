"""At equal mean step, larger batches vary more.

Claim     Scale the norms of chapter 4's trials so that every batch size has the same mean, as a larger learning rate
          would: the larger the batches, the more their norms vary from trial to trial.
Compare   The trials of chapter 4, each batch size's norms multiplied by μ₁₀₂₄ / μ_B. Next to them the single frozen
          batch of summed loss, in which a larger batch averages more samples.
Look for  The two experiments go opposite ways. In the trial every batch size has seen the same 1024 samples, so no
          averaging sets them apart: with frozen weights all would vary alike. But a step that early samples caused
          changes the gradients of later ones. Many small steps all move to a region of small gradients, so their
          averages are similar for every draw. One large step cannot correct itself: its norm depends fully on the
          samples drawn.
Source    Shen (2018), which leaves open what function of B it is, and why.

Exercises
  1. Which learning rate of the trials makes the left curves flat? `bstudy chapter 5 --set trial_learning_rate=0.0001`.
  2. The spread of 5 trials is itself uncertain: `bstudy chapter 5 --set trials=50`. How much narrower is the interval?
  3. If contraction is the reason, what should more samples a trial do? Write down your prediction, and the experiment.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, SingleBatches, claim, linear_fit, plots, power_law_exponent

PART = "II. Gradients"


def experiments(large_batch_size=1024, early_epochs=2, late_epochs=30, trials=5, trial_learning_rate=0.01):
    trained = {
        "early": Recipe.sgd(large_batch_size, 0.01, early_epochs),
        "late": Recipe.sgd(large_batch_size, 0.01, late_epochs),
    }
    return {
        "trial": {
            when: GradientTrials(recipe, trials=trials, learning_rate=trial_learning_rate)
            for when, recipe in trained.items()
        },
        "single batch": {when: SingleBatches(recipe) for when, recipe in trained.items()},
    }


def figure(runs, fig):
    scaled, moving, single = fig.subplots(1, 3)
    for color, (when, run) in zip(("C0", "C1"), runs["trial"].items(), strict=True):
        sizes, norm = run.experiment.batch_sizes, run["norm"]
        to_equal_means = norm[:, -1:].mean(axis=2) / norm.mean(axis=2)  # (seeds, batch sizes)
        equal = norm * to_equal_means[:, :, None]
        deviation = equal.std(axis=2, ddof=1)
        plots.by_batch_size(scaled, sizes, equal.mean(axis=2), deviation, yscale="linear", color=color, label=when)
    for axes, kind in ((moving, "trial"), (single, "single batch")):
        for color, run in zip(("C0", "C1"), runs[kind].values(), strict=True):
            sizes, spread = np.array(run.experiment.batch_sizes), relative_spread(run)
            plots.by_batch_size(axes, sizes, spread, color=color)
            power, factor = linear_fit(np.log(sizes), np.log(spread))
            fitted = np.exp(factor.mean() + power.mean() * np.log(sizes))
            axes.plot(sizes, fitted, ":", color=color, label="fitted power of B")
    scaled.set(title="scaled, ± 1 s.d.", ylabel="gradient norm × μ₁₀₂₄ / μ_B")
    moving.set(title="a trial, moving", ylabel="standard deviation / mean")
    single.set(title="frozen batch, summed", ylabel="standard deviation / mean")


def relative_spread(run):
    """Return (seeds, batch sizes) the standard deviation over the mean, over trials or draws."""
    return run["norm"].std(axis=2, ddof=1) / run["norm"].mean(axis=2)


def exponent(run):
    return power_law_exponent(run.experiment.batch_sizes, relative_spread(run))


def verdicts(runs):
    for when in ("early", "late"):
        trial, single = exponent(runs["trial"][when]), exponent(runs["single batch"][when])
        yield claim(f"In the trial the relative spread grows with B, {when} (exponent).", trial, above=0)
        yield claim(f"In a single frozen batch it shrinks with B, {when} (exponent).", single, below=0)
