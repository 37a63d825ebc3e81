"""At equal mean step, larger batches vary more.

Claim     Scale the norms of chapter 4's trials so that every batch size has the same mean, as a larger learning rate
          would: the larger the batches, the more their norms vary from trial to trial.
Compare   The trials of chapter 4, each batch size's norms multiplied by μ₁₀₂₄ / μ_B. Beside them the single frozen
          batch of summed loss, where a larger batch averages more samples.
Look for  The two experiments go opposite ways. In the trial every batch size has seen the same 1024 samples, so no
          averaging sets them apart: with frozen weights all would vary alike. But a step that early samples caused
          changes the gradients of later ones, against itself: many small steps contract towards where the gradient is
          small, whichever samples were drawn, and end with norms that hardly differ. One large step corrects nothing,
          and keeps all the luck of its draw.
Source    Shen (2018), which leaves open what function of B it is, and why.

Exercises
  1. Which learning rate of the trials makes the left curves flat? `bstudy chapter 5 --set learning_rate=0.0001`.
  2. The spread of 5 trials is itself uncertain: `bstudy chapter 5 --set trials=50`. How much narrower is the interval?
  3. If contraction is the reason, what should more samples a trial do? Write down your prediction, and the experiment.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, SingleBatches, claim, draw, exponent, linear_fit

PART = "II. Gradients"


def experiments(large=1024, early=2, late=30, trials=5, learning_rate=0.01):
    starts = {"early": Recipe.sgd(large, 0.01, early), "late": Recipe.sgd(large, 0.01, late)}
    trial = {when: GradientTrials(start, trials=trials, learning_rate=learning_rate) for when, start in starts.items()}
    return trial | {f"{when}, single batch": SingleBatches(start) for when, start in starts.items()}


def figure(runs, fig):
    scaled, moving, single = fig.subplots(1, 3)
    for role, run in runs.items():
        sizes, norm = np.array(run.experiment.batch_sizes), run["norm"]
        line = {"color": "C0" if "early" in role else "C1", "label": role.split(",")[0]}
        if "single" not in role:
            equal = norm * (norm[:, -1:].mean(axis=2) / norm.mean(axis=2))[:, :, None]
            draw.by_batch_size(scaled, sizes, equal.mean(axis=2), equal.std(axis=2, ddof=1), yscale="linear", **line)
        axes = single if "single" in role else moving
        draw.by_batch_size(axes, sizes, relative_spread(run), **line)
        power, factor = linear_fit(np.log(sizes), np.log(relative_spread(run)))
        fitted = np.exp(factor.mean() + power.mean() * np.log(sizes))
        axes.plot(sizes, fitted, ":", color=line["color"], label="fitted power of B")
    scaled.set(title="scaled to one mean, ± 1 s.d.", ylabel="gradient norm × μ₁₀₂₄ / μ_B")
    moving.set(title="a trial, weights moving", ylabel="standard deviation / mean")
    single.set(title="one frozen batch, summed", ylabel="standard deviation / mean")


def relative_spread(run):
    """(seeds, batch sizes) standard deviation over the mean, over trials or draws."""
    return run["norm"].std(axis=2, ddof=1) / run["norm"].mean(axis=2)


def verdicts(runs):
    for when in ("early", "late"):
        powers = {role: exponent(run.experiment.batch_sizes, relative_spread(run)) for role, run in runs.items()}
        yield claim(f"In the trial the relative spread grows with B, {when} (exponent).", powers[when], above=0)
        single = powers[f"{when}, single batch"]
        yield claim(f"In a single frozen batch it shrinks with B, {when} (exponent).", single, below=0)
