"""The gradients of larger batches have a much heavier tail.

Claim     Of all entries of the gradients of chapter 4's trials, far more are very large with large batches than with
          small ones, while most lie in similar centres.
Compare   The entries of the same trials, counted in fixed bins for each batch size; then their kurtosis, which is about
          the shape alone and not about the size (3 for a normal distribution); then the direction of the gradient.
          Bands in the lower panels: 95 % over blocks of trials, and over trials.
Look for  How far the outer curves are apart at one large value, and whether the kurtosis tells the same story: a tail
          is long because everything is larger, or because the shape is another.
Source    Shen (2018): at one large value about 10⁵ counts for 1024 against about 10² for 2, or 3 in the logarithm. Left
          open there: the shape, the direction, and the control with frozen weights (chapter 4: no difference at all).

Exercises
  1. The gradient of one sample is h δᵀ, a layer's input times its error. Why is its kurtosis so far above 3?
  2. At which batch size has the direction turned half as far as at 1024? Compare with the bend in chapter 4.
  3. "Large batches give representative gradients." Representative of what? Use the direction and the frozen control.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, draw

PART = "II. Gradients"


def experiments(large=1024, early=2, late=30, trials=5, learning_rate=0.01):
    starts = {"early": Recipe.sgd(large, 0.01, early), "late": Recipe.sgd(large, 0.01, late)}
    return {when: GradientTrials(start, trials=trials, learning_rate=learning_rate) for when, start in starts.items()}


def figure(runs, fig):
    upper, (shape, direction) = fig.subplots(2, 2)
    for axes, (when, run) in zip(upper, runs.items(), strict=True):
        sizes, counts = run.experiment.batch_sizes, run["counts"].sum(axis=0)
        for i, size in enumerate(sizes):
            if size in (1, 8, 64, 256, 1024):
                draw.histogram(axes, run["edges"][0], counts[i], size)
        axes.set(title=when, xlabel="entry of the gradient")
        line = {"color": "C0" if when == "early" else "C1", "label": when}
        filled = slice(run.experiment.trials)  # blocks: trial i is in block i modulo 5
        blocks = kurtosis(run["power_sums"][:, :, filled], run["entries"][:, :, filled])
        for axes, values in ((shape, blocks), (direction, run["cosine_to_smallest"])):
            draw.by_batch_size(axes, sizes, np.concatenate(np.moveaxis(values, 2, 1)), yscale="linear", **line)
    shape.set_ylabel("kurtosis of the entries")
    direction.set_ylabel("cosine to that of B = 1")


def kurtosis(power_sums, entries):
    """The fourth moment of so many entries over the squared second; their mean is zero, as that of each error δ is."""
    _, second, _, fourth = np.moveaxis(power_sums, -1, 0) / entries
    return fourth / second**2


def verdicts(runs):
    for when, run in runs.items():
        counts, power_sums = run["counts"], run["power_sums"].sum(axis=2)  # over blocks
        middles = np.abs(run["edges"][0, 1:] + run["edges"][0, :-1]) / 2
        large = 4 * np.sqrt((power_sums[:, -1, 1] / counts[:, -1].sum(axis=-1)).mean())  # 4 root mean squares at 1024
        tail = counts[:, :, 1:-1][..., middles > large].sum(axis=-1) + np.where(run.diverged, np.nan, 1)[:, None]
        centre = counts[:, :, 1:-1][..., middles < large / 16].sum(axis=-1) / counts.sum(axis=-1)
        longer, unlike = np.log10(tail[:, -1] / tail[:, 0]), centre[:, 0] - centre[:, -1] + 0 * tail[:, 0]
        shape = np.log(kurtosis(power_sums, run["entries"].sum(axis=2)))
        yield claim(
            f"Very large entries are far more frequent at 1024 than at 1, {when} (log₁₀ of the ratio).",
            longer, above=1, published=3,
        )  # fmt: skip
        yield claim(f"The centres are similar, {when} (difference in small entries).", unlike, above=-0.2, below=0.2)
        yield claim(f"The shape is heavier-tailed too, {when} (log kurtosis).", shape[:, -1] - shape[:, 0], above=0)
        yield claim(f"The direction turns, {when} (cosine).", run["cosine_to_smallest"][:, -1].mean(axis=1), below=0.9)
