"""The average update of batch size 1 is at least that of batch size 2.

Claim     A step of a smaller batch is larger on average: the gradient of two samples is the mean of their gradients,
          and the norm of a mean is at most the mean of the norms, by the triangle inequality.
Compare   One epoch at each batch size from the same trained start, over the samples in the same order, so that every
          batch is the union of batches of half its size. Once with frozen weights, for which the inequality is exact,
          and once with moving ones, for which it promises nothing: the second half of a batch is seen from other
          weights.
Look for  The order of norm and mean. Chapter 4 averages the gradients of an epoch and takes the norm: it grows with B.
          Here the norm of each step is taken first: its mean falls with B, at first as 1 / √B, as noise does, then it
          reaches the norm of the full gradient. Both are true of the same steps.
Source    A collection of claims on the effect of batch size, with the triangle inequality as the reason.

Exercises
  1. The sum of the step lengths is how far the weights walk. Which batch size walks farthest, and which ends farther
     from its start (chapter 8)?
  2. Train the start for longer: `bstudy chapter 14 --set early_epochs=30`. Where does the curve leave 1 / √B now, and
     why?
  3. When is the triangle inequality an equality? What would the gradients of a data set look like?
"""

import numpy as np

from bstudy import Recipe, StepNorms, claim, plots, power_law_exponent

PART = "V. Minima"


def experiments(batch_sizes=StepNorms.batch_sizes, large_batch_size=1024, learning_rate=0.01, early_epochs=2):
    trained = Recipe.sgd(large_batch_size, learning_rate, early_epochs)
    return {
        "frozen": StepNorms(trained, batch_sizes),
        "moving": StepNorms(trained, batch_sizes, frozen=False, learning_rate=learning_rate),
    }


def figure(runs, fig):
    means, course = fig.subplots(1, 2)
    frozen, moving = runs["frozen"], runs["moving"]
    sizes = np.array(moving.experiment.batch_sizes)
    for color, (role, run) in zip(("C0", "C1"), runs.items(), strict=True):
        plots.by_batch_size(means, sizes, run["mean_norm"], color=color, label=f"weights {role}")
    means.set(ylabel="mean norm of a step's gradient", ylim=means.get_ylim())  # the guide may leave the picture
    means.plot(sizes, frozen["mean_norm"][:, 0].mean() / np.sqrt(sizes), ":", color="gray", label="as 1 / √B")
    for i in sorted({0, len(sizes) // 2, len(sizes) - 1}):
        norms = moving["mean_norm_over_time"][:, i].mean(axis=0)  # NaN in a twentieth without a step
        has_step = np.isfinite(norms)
        middle = (np.arange(20)[has_step] + 0.5) / 20
        style = {"color": plots.color(sizes[i]), "label": f"B = {sizes[i]}, moving"}
        course.plot(middle, norms[has_step], "-o", markersize=3, **style)
    course.set(xlabel="epoch", ylabel="norm of a step's gradient", ylim=(0, None))


def verdicts(runs):
    sizes = np.array(runs["frozen"].experiment.batch_sizes)
    mean = {role: run["mean_norm"] for role, run in runs.items()}  # (seeds, batch sizes)
    for role in runs:
        ratio = mean[role][:, 0] / mean[role][:, 1]
        text = f"The mean step of {sizes[0]} is at least that of {sizes[1]}, weights {role} (ratio)."
        yield claim(text, ratio, above=1)
    smallest = {role: run["triangle_slack"].min(axis=1) for role, run in runs.items()}
    text = "Frozen, no batch breaks the triangle inequality (smallest relative slack)."
    yield claim(text, smallest["frozen"], above=-1e-4)
    text = "Moving, some do: the inequality then promises nothing (smallest relative slack)."
    yield claim(text, smallest["moving"], below=0)
    noise = power_law_exponent(sizes[:4], mean["frozen"][:, :4])
    yield claim("At first the mean norm falls nearly as 1 / √B (exponent).", noise, above=-0.6, below=-0.4)
    ratio = mean["moving"][:, 0] / mean["moving"][:, -1]
    yield claim("The smallest batch takes steps more than twice as long as the largest.", ratio, above=2)
