"""# Do the gradients of larger batches have heavier tails?

Shen (2018) looks at the single entries of the gradients of chapter 4's trials: "the distribution of gradients for
larger batch sizes has a much heavier tail". At one large value there are about 10⁵ entries for batches of 1024 and
about 10² for 2; with smaller batches their number "decreases monotonically"; the centers are "quite similar". Shen
concludes that the norm is larger because of the tail.

## Idea

G is the mean gradient of a trial, with 10,240 entries. A tail is the fraction of entries beyond a threshold T, on both
sides. What "heavier" means depends on T. With ρ(B) the root mean square of the entries at batch size B:

    fixed:  T = 4 ρ(2)          own scale:  T = 4 ρ(B)

The fixed T is the same for all batch sizes, and all reach it. Beyond it there are more entries if all of them are
larger, too; the center shows whether they are: the median of their absolute values. On its own scale, a tail is
heavier only if its shape is another. A normal distribution has 0.006 % beyond 4 ρ.

## Experiment

The entries of the trials of chapter 4, in the same bins for every batch size. The start and the samples of a trial are
the same for all batch sizes; frozen weights would make all histograms equal. Then the direction: the cosine of G to
that of batch size 2, and to that of 1024, in the same trial.

**Predict.** If all entries are twice as large, which tail changes?

## Explanation

Both tails are heavier at 1024, but less so than at Shen's one value, where small batches have almost no entries: a
ratio of counts grows without limit as its value moves outwards. On MNIST, batches of 1024 have 25 times the entries of
batches of 2 beyond the fixed threshold and 3 times on the own scale; on digits 62 and 1.8 times. So most of the fixed
ratio is size. The typical entry grows as well (by 62 % early and 22 % late on MNIST, more than twofold on digits): the
center is not the same, and the tail is not the only reason for the larger norm. Late on MNIST the growth is not
monotone either: between 2 and 8 the tail shrinks, with the norm (chapter 4).

The tail lies between the weights of a trial: a few trials have the kurtosis of all. Each entry is a sum of products of
a unit's output and an error of a class. Some units are active often and some classes are hard, so the entries are a
mixture of distributions of unlike variances. That is not the tail of Şimşekli et al. (2019), whose tail index is of
gradient *noise*, over batches; Xie et al. (2023) find heavy tails over weights, and not over batches.

G turns, too: its angle between 2 and 1024 is 42° early and 28° late on digits, and 59° and 77° on MNIST. The first
steps take the steep directions, which the later ones then lack (chapter 4).

A small convolutional network (cnn) on digits contradicts the fixed tail. Late, 1024 has fewer large entries than 2 in
every seed; early, the seeds disagree. The smaller of the two ratios is 0.10 [0.02, 0.44]. The median entry halves,
because the mean gradient is smaller (chapter 4); only on its own scale is the tail heavier (2.4 times). After 30 epochs
of 1024 at 0.01 this network has 33 % accuracy. Probably it is still on a plateau, and small batches move from there to
steeper places. On MNIST, where it has 97 %, the fixed tail is heavier at 1024 again: 10.6 [1.9, 60] times, the smaller
of early and late. The bound of ten is open there, and so is the own scale (1.3 [0.9, 1.8] times): three seeds differ
too much.

## In practice

A threshold for gradient clipping, or a number format of small range, that fits one batch size may not fit another:
check it again after the batch size has changed.

## Exercises

1. The gradient of one sample is h δᵀ: outputs h of the last hidden layer, errors δ of the classes. Why are its tails
   heavy even if h and δ are normal?

   > For independent factors the kurtosis of a product is the product of the kurtoses: 3 · 3 = 9, where a normal
   > distribution has 3. Many entries of h are 0 (ReLU), which makes it larger still.

2. Version 0.1 counted entries at a value that batches of one sample never reached, as (1 + count) / (1 + 0). What did
   this ratio measure?

   > The number of trials: twice the trials have twice the count at 1024, and still 0 at 1. A threshold that all batch
   > sizes reach has a ratio that does not depend on it.

3. "Large batches give representative gradients." Representative of what?

   > Of the place where the trial starts: at 1024, G is the mean gradient there. That of small batches belongs to the
   > way that they take, and has turned from it.

## Sources

- Shen (2018), [Effect of batch size on training dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e),
  the fourth finding on gradients.
- Şimşekli, Sagun, Gürbüzbalaban (2019),
  [A tail-index analysis of stochastic gradient noise in deep neural networks](https://arxiv.org/abs/1901.06053).
- Xie, Tang, Sun, Li (2023),
  [On the overlooked structure of stochastic gradients](https://openreview.net/forum?id=H4GsteoL0M), section 1.

## History

Version 0.1 compared with batches of 1, at a value that depended on 1024 (MNIST: a ratio of 10 to the power 3.6, from
no count at all at 1). The center counted as similar if the fraction of small entries differed by less than 0.2 (MNIST:
0.17 early); the direction had turned below a cosine of 0.9 (MNIST: 0.40 and 0.15 to batches of 1).
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, map_leaves, plots, stats

PART = "II. Gradients"
SIZES = (2, 8, 32, 128, 512, 1024)
FAR = 4  # root mean squares to the threshold


def experiments(
    trials=8, batch_sizes=SIZES, large_batch_size=1024, early_epochs=2, late_epochs=30, trial_learning_rate=0.01
):
    def after(epochs):
        trained = Recipe.sgd(large_batch_size, 0.01, epochs)
        return GradientTrials(trained, batch_sizes, trials, learning_rate=trial_learning_rate)

    return {"early": after(early_epochs), "late": after(late_epochs)}


def root_mean_square(run):
    """Return (seeds, batch sizes) ρ, of the entries of all trials."""
    return np.sqrt(run["power_sums"][..., 1].sum(axis=2) / run["entries"].sum(axis=2))


def tails(run):
    """Return the fractions (seeds, batch sizes) of entries beyond FAR · ρ of the smallest size, and of each its own."""
    own, least = FAR * root_mean_square(run), 0.5 / run["entries"].sum(axis=2)  # no entry counts as half a one
    found = (stats.fraction_beyond(run["edges"][0], run["counts"], threshold) for threshold in (own[:, :1], own))
    return [np.maximum(fractions, least) for fractions in found]


def table(runs):
    def columns(run):
        sizes, parts = run.experiment.batch_sizes, dict(zip(("fixed", "own scale"), tails(run), strict=True))
        return {f"{part}, B = {sizes[i]}, ‰": 1000 * parts[part][:, i] for part in parts for i in (0, -1)}

    return map_leaves(columns, runs)


def figure(runs, fig):
    upper, (tail, direction) = fig.subplots(2, 2)
    upper[1].sharex(upper[0])
    for axes, color, (when, run) in zip(upper, ("C0", "C1"), runs.items(), strict=True):
        sizes, counts = run.experiment.batch_sizes, run["counts"].sum(axis=0)  # of all seeds
        for i in (0, 1, -1):
            plots.histogram(axes, run["edges"][0], counts[i], sizes[i])
        for side in (-1, 1):
            line = axes.axvline(side * FAR * root_mean_square(run)[:, 0].mean(), color="gray", linestyle=":")
            plots.note(line, "dotted: the fixed threshold")
        axes.set(title=f"entries, {when}", xlabel="entry of G")
        fixed, own = tails(run)
        plots.by_batch_size(tail, sizes, 100 * fixed, color=color, label=when)
        plots.by_batch_size(tail, sizes, 100 * own, color=color, linestyle="--")
        for other, linestyle in (("largest", "-"), ("smallest", "--")):
            cosine = run[f"cosine_to_{other}"].mean(axis=2)
            plots.by_batch_size(direction, sizes, cosine, yscale="linear", color=color, linestyle=linestyle)
    tail.set(title="tail (dashed: own scale)", ylabel="entries beyond (%)")
    direction.set(title=f"direction (dashed: to B = {sizes[0]})", ylabel=f"cosine to B = {sizes[-1]}")


def kurtosis(power_sums, entries):
    """Return the mean fourth power over the squared mean square. The mean entry is 0, because that of each δ is."""
    return power_sums[..., 3] * entries / power_sums[..., 1] ** 2


def verdicts(runs):
    small, large = (runs["late"].experiment.batch_sizes[i] for i in (0, -1))
    fixed, own = zip(*map(tails, runs.values()), strict=True)
    yield claim(
        f"Batches of {large} have more than ten times the large entries of batches of {small}.",
        np.min([each[:, -1] / each[:, 0] for each in fixed], axis=0),  # of early and late
        above=10,
        scale="log",
        otherwise=f"Batches of {large} have less than ten times the large entries of batches of {small}.",
        answer=True,
        source="Shen",
    )
    yield claim(
        "On its own scale the tail is heavier too.",
        np.min([each[:, -1] / each[:, 0] for each in own], axis=0),
        above=1,
        scale="log",
        otherwise="On its own scale the tail is not heavier.",
        answer=True,
    )
    for (when, run), tail in zip(runs.items(), fixed, strict=True):
        text = f"Every larger batch size has more large entries, {when} (smallest ratio of neighbors)."
        yield claim(text, (tail[:, 1:] / tail[:, :-1]).min(axis=1), above=1, scale="log", source="Shen")
        median = stats.mask_diverged(stats.median_size(run["edges"][0], run["counts"]), np.isnan(tail))
        text = f"The center stays: the median entry at {large}, compared with {small}, {when}."
        yield claim(text, median[:, -1] / median[:, 0], above=0.9, below=1.1, scale="log", source="Shen")
        sums, entries = run["power_sums"][:, -1], run["entries"][:, -1]
        few = kurtosis(sums, entries)[:, : run.experiment.trials]  # of the blocks: trial i is in block i modulo 5
        text = f"The tail of {large} lies within each trial, {when} (kurtosis of a few trials / of all)."
        yield claim(text, few.mean(axis=1) / kurtosis(sums.sum(axis=1), entries.sum(axis=1)), above=0.9)
        turned = np.degrees(np.arccos(run["cosine_to_smallest"][:, -1].mean(axis=1)))
        text = f"From {small} to {large} the direction turns by more than 45°, {when}."
        yield claim(text, turned, above=45, unit="degrees")
