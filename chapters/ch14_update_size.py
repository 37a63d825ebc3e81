"""The average update of batch size 1 is at least that of batch size 2.

Claim     A step of a smaller batch is larger on average: the gradient of two samples is the mean of their gradients,
          and the norm of a mean is at most the mean of the norms, by the triangle inequality.
Compare   One epoch at each batch size from the same trained start, over the samples in the same order, so that every
          batch is the union of batches of half its size. Once with frozen weights, where the inequality is exact, and
          once with moving ones, where it promises nothing: the second half of a batch is seen from other weights.
Look for  The order of norm and mean. Chapter 4 averages the gradients of an epoch and takes the norm: it grows with B.
          Here the norm of each step is taken first: its mean falls with B, at first as 1 / √B, as noise does, then it
          reaches the norm of the full gradient. Both are true of the same steps.
Source    A collection of claims on the effect of batch size, with the triangle inequality as the reason.

Exercises
  1. The sum of the step lengths is how far the weights walk. Which batch size walks farthest, and which arrives
     farther from where it began (chapter 8)?
  2. Train the start for longer: `bstudy chapter 14 --set early=30`. Where does the curve leave 1 / √B now, and why?
  3. When is the triangle inequality an equality? What would the gradients of a data set look like?
"""

import numpy as np

from bstudy import Recipe, StepNorms, claim, draw, exponent

PART = "V. Minima"


def experiments(batch_sizes=StepNorms.batch_sizes, large=1024, learning_rate=0.01, early=2):
    start = Recipe.sgd(large, learning_rate, early)
    return {
        "frozen": StepNorms(start, batch_sizes),
        "moving": StepNorms(start, batch_sizes, update="sgd", learning_rate=learning_rate),
    }


def figure(runs, fig):
    means, course = fig.subplots(1, 2)
    for color, (role, run) in zip(("C0", "C1"), runs.items(), strict=True):
        draw.by_batch_size(means, run.experiment.batch_sizes, run["mean"], color=color, label=f"weights {role}")
    sizes = np.array(run.experiment.batch_sizes)
    means.set(ylabel="mean norm of a step's gradient", ylim=means.get_ylim())  # the guide may leave the picture
    means.plot(sizes, runs["frozen"]["mean"][:, 0].mean() / np.sqrt(sizes), ":", color="gray", label="as 1 / √B")
    for size in {sizes[0], sizes[len(sizes) // 2], sizes[-1]}:
        path = runs["moving"]["path"][:, list(sizes).index(size)].mean(axis=0)
        there = np.isfinite(path)
        middle = (np.arange(20)[there] + 0.5) / 20
        course.plot(middle, path[there], "-o", markersize=3, color=draw.colour(size), label=f"B = {size}, moving")
    course.set(xlabel="epoch", ylabel="norm of a step's gradient", ylim=(0, None))


def verdicts(runs):
    for role, run in runs.items():
        first, second = run.experiment.batch_sizes[:2]
        ratio = run["mean"][:, 0] / run["mean"][:, 1]
        yield claim(f"The mean step of {first} is at least that of {second}, weights {role} (ratio).", ratio, above=1)
    least = runs["frozen"]["slack"].min(axis=1)
    yield claim("Frozen, no batch breaks the triangle inequality (least slack, as a share).", least, above=-1e-4)
    least = runs["moving"]["slack"].min(axis=1)
    yield claim("Moving, some do: the inequality then promises nothing (least slack).", least, below=0)
    noise = exponent(np.array(run.experiment.batch_sizes[:4]), runs["frozen"]["mean"][:, :4])
    yield claim("At first the mean norm falls nearly as 1 / √B (exponent).", noise, above=-0.6, below=-0.4)
    range_ = runs["moving"]["mean"][:, 0] / runs["moving"]["mean"][:, -1]
    yield claim("The smallest batch takes steps more than twice as long as the largest.", range_, above=2)
