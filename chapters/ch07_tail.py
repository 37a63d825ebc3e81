"""The gradients of larger batches have a much heavier tail.

Claim     Of all entries of the gradients of chapter 4's trials, far more are very large with large batches than with
          small ones, while most lie in similar centers.
Compare   The entries of the same trials, counted in fixed bins for each batch size; then their kurtosis, which
          describes only the shape and not the size (3 for a normal distribution); then the direction of the gradient.
          Bands in the lower panels: 95 % over blocks of trials, and over trials.
Look for  How far the outer curves are apart at one large value, and whether the kurtosis agrees: a tail is long because
          everything is larger, or because the shape is another.
Source    Shen (2018): at one large value about 10⁵ counts for 1024 against about 10² for 2, or 3 in the logarithm. Left
          open there: the shape, the direction, and the control with frozen weights (chapter 4: no difference at all).

Exercises
  1. The gradient of one sample is h δᵀ, a layer's input times its error. Why is its kurtosis so far above 3?
  2. At which batch size has the direction turned half as far as at 1024? Compare with the bend in chapter 4.
  3. "Large batches give representative gradients." Representative of what? Use the direction and the frozen control.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, plots, stats

PART = "II. Gradients"


def experiments(large_batch_size=1024, early_epochs=2, late_epochs=30, trials=5, trial_learning_rate=0.01):
    return {
        when: GradientTrials(
            Recipe.sgd(large_batch_size, 0.01, epochs), trials=trials, learning_rate=trial_learning_rate
        )
        for when, epochs in (("early", early_epochs), ("late", late_epochs))
    }


def figure(runs, fig):
    upper, (shape, direction) = fig.subplots(2, 2)
    for axes, color, (when, run) in zip(upper, ("C0", "C1"), runs.items(), strict=True):
        sizes, counts = run.experiment.batch_sizes, run["counts"].sum(axis=0)  # of all seeds
        for size, of_size in zip(sizes, counts, strict=True):
            if size in (1, 8, 64, 256, 1024):
                plots.histogram(axes, run["edges"][0], of_size, size)
        axes.set(title=when, xlabel="entry of the gradient")
        filled = slice(run.experiment.trials)  # of the blocks: trial i is in block i modulo 5
        blocks = kurtosis(run["power_sums"], run["entries"])[:, :, filled]
        for axes_below, values in ((shape, blocks), (direction, run["cosine_to_smallest"])):
            pooled = np.concatenate(np.moveaxis(values, 2, 1))  # (seeds × blocks or trials, batch sizes)
            plots.by_batch_size(axes_below, sizes, pooled, yscale="linear", color=color, label=when)
    shape.set_ylabel("kurtosis of the entries")
    direction.set_ylabel("cosine to batch size 1")


def kurtosis(power_sums, entries):
    """Return the fourth moment over the squared second; the mean is zero, because that of each error δ is."""
    second, fourth = power_sums[..., 1] / entries, power_sums[..., 3] / entries
    return fourth / second**2


def verdicts(runs):
    for when, run in runs.items():
        counts, power_sums = run["counts"], run["power_sums"].sum(axis=2)  # over blocks
        entries = counts.sum(axis=-1)  # (seeds, batch sizes)
        very_large = 4 * np.sqrt((power_sums[:, -1, 1] / entries[:, -1]).mean())  # 4 root mean squares at 1024
        centers = np.abs(run["edges"][0, 1:] + run["edges"][0, :-1]) / 2
        inner = counts[:, :, 1:-1]
        tail = 1 + inner[..., centers > very_large].sum(axis=-1)
        small = inner[..., centers < very_large / 16].sum(axis=-1) / entries
        longer = stats.mask_diverged(np.log10(tail[:, -1] / tail[:, 0]), run.diverged)
        text = f"Very large entries are far more frequent at 1024 than at 1, {when} (log₁₀ of the ratio)."
        yield claim(text, longer, above=1, published=3)
        unlike = stats.mask_diverged(small[:, 0] - small[:, -1], run.diverged)
        yield claim(f"Small entries are about as frequent, {when} (difference).", unlike, above=-0.2, below=0.2)
        shape = np.log(kurtosis(power_sums, entries))
        heavier = shape[:, -1] - shape[:, 0]
        yield claim(f"The shape is heavier-tailed too, {when} (difference of log kurtosis).", heavier, above=0)
        turned = run["cosine_to_smallest"][:, -1].mean(axis=1)
        yield claim(f"The direction turns, {when} (cosine).", turned, below=0.9)
