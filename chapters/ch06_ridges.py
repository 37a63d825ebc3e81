"""# Do large batches make both very large and very small updates?

Chapter 5 compared the spread of the norms by one number. Shen (2018) draws all 1000 trials of each batch size, and
reads from the shapes: a large batch size means very large and "very small gradient updates", by the samples that
happened to be drawn; a small one means updates that are all "about the same size".

## Idea

An *update* is here the mean gradient G of a trial over 1024 samples (chapter 4). "Large" and "small" need a scale. Let
q₅ and q₉₅ be the norms ‖G‖ that 5 % and 95 % of the trials do not exceed, and μ the mean norm of the batch size:

    scaled:  1 − q₅ / μ  and  q₉₅ / μ − 1          raw:  q₅  and  q₉₅

Scaled, an end is how far from the typical trial of the same batch size the updates reach; Shen's sentence is about
these. Raw, the trials of all batch sizes are on one axis. The two readings need not agree.

## Experiment

The trials of chapter 4, each batch size as one smoothed distribution, a *ridge*. The start, the samples and the
learning rate are the same for all batch sizes. With frozen weights all ridges would be the same.

**Predict.** A batch size has a larger mean and a larger spread than another. Where is its left end, raw and scaled?

## Explanation

Scaled, the large batches reach farther: contraction (chapter 5) takes from small batches what differs between draws. On
MNIST the trials of 1024 reach from 0.81 to 1.27 of their mean early, and from 0.74 to 1.33 late; those of 2 stay within
5 % of theirs. So "about the same size" is right, but "very" is too strong. On digits the same holds on a smaller scale:
1024 reaches about 3 % from its mean early and 2 % late, and 2 about 1 %.

Raw, Shen's sentence is half wrong: the mean of the large batches is so much larger that even their small updates
exceed those of small batches. On digits the ridges of 2 and 1024 do not overlap at all.

With a small convolutional network (cnn) on digits the raw finding is reversed. The mean of large batches is not larger
there (chapter 4), and their small updates are smaller than those of 2 (0.145 and 0.193 early, 0.123 and 0.202 late).
Late, even their large updates (0.145) are. On MNIST the cnn agrees with the default network early. Late, the
updates of batches of 2 are up to 26 % [12, 40] from their mean, and so it stays open whether those of 1024 reach
farther.

## In practice

Read the scale before the shape: a figure of scaled distributions does not show who is larger. And for one step of
training, neither counts: a step is learning rate × gradient, and small batches take more of them.

## Exercises

1. "Small updates of large batches": smaller than what? State both readings, and decide each from the figure.

   > Smaller than the mean of large batches: yes, that is the scaled panel. Smaller than updates of small batches: no,
   > in the raw panel the ridge of 1024 begins to the right of that of 2 (with the cnn, to the left).

2. By how much do the *weights* move in a trial of batch size 2, and of 1024? Which has the larger updates now?

   > Multiply ‖G‖ by the learning rate and by the 512 steps or the single one: on digits about 1.2 and 0.006 early. In
   > this third reading all updates of large batches are small (chapter 4).

3. The 5 % quantile of 8 trials lies between the two smallest. How does that change the ends, and what helps?

   > They are too far inside, for all batch sizes alike, and vary from seed to seed. More trials help: `bstudy chapter
   > 6 --trials 50` continues from the 8 that are stored.

## Sources

- Shen (2018), [Effect of batch size on training
  dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e), the third finding
  on gradients: ridges for the batch sizes 2 to 1024, scaled by μ₁₀₂₄ / μ_B, and raw.

## History

Version 0.1 tested each end alone, by differences of q / μ (all held on MNIST, with 100 trials and batches of 1). Here
the answer is one test of both ends, early and late: the smallest of the four ratios. After it had come out undecided
on digits with three seeds, other statistics were tried on the same trials: geometric means of the distances from μ held
for both ends with 8 trials, and with 12 only for the upper one. The first test was put back; with five seeds it holds.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, map_leaves, plots

PART = "II. Gradients"
SIZES = (2, 8, 32, 128, 512, 1024)


def experiments(
    trials=8, batch_sizes=SIZES, large_batch_size=1024, early_epochs=2, late_epochs=30, trial_learning_rate=0.01
):
    def after(epochs):
        trained = Recipe.sgd(large_batch_size, 0.01, epochs)
        return GradientTrials(trained, batch_sizes, trials, learning_rate=trial_learning_rate)

    return {"early": after(early_epochs), "late": after(late_epochs)}


def scaled(run):
    """Return (seeds, batch sizes, trials) the norms over their mean."""
    return run["norm"] / run["norm"].mean(axis=2, keepdims=True)


def ends(norms):
    """Return the 5 % and the 95 % quantile over trials, each (seeds, batch sizes)."""
    return np.quantile(norms, (0.05, 0.95), axis=2)


def table(runs):
    def columns(run):
        sizes, parts = run.experiment.batch_sizes, {"5 %": 0, "95 %": 1}
        return {f"B = {sizes[i]}, {part}": ends(run["norm"])[parts[part]][:, i] for i in (0, -1) for part in parts}

    return map_leaves(columns, runs)


def figure(runs, fig):
    panels = [(kind, when, run) for kind in ("raw", "scaled") for when, run in runs.items()]
    for axes, (kind, when, run) in zip(fig.subplots(1, 4, sharey=True), panels, strict=True):
        norms = run["norm"] if kind == "raw" else scaled(run)
        plots.ridges(axes, run.experiment.batch_sizes, np.concatenate(list(norms), axis=1))  # trials of all seeds
        axes.set(title=f"{kind}, {when}", xlabel="‖G‖" if kind == "raw" else "‖G‖ / mean")
        axes.label_outer()


def verdicts(runs):
    small, large = (runs["late"].experiment.batch_sizes[i] for i in (0, -1))
    relative = {when: ends(scaled(run)) for when, run in runs.items()}  # (end, seeds, batch sizes)
    lower = {when: low[:, 0] / low[:, -1] for when, (low, _) in relative.items()}
    higher = {when: high[:, -1] / high[:, 0] for when, (_, high) in relative.items()}
    yield claim(
        f"Scaled, batches of {large} make both larger and smaller updates than {small}.",
        np.min([*lower.values(), *higher.values()], axis=0),
        above=1,
        scale="log",
        otherwise=f"Scaled, batches of {large} do not make both larger and smaller updates than {small}.",
        answer=True,
        source="Shen",
    )
    raw = [low[:, -1] / low[:, 0] for low, _ in (ends(run["norm"]) for run in runs.values())]
    yield claim(
        "Raw, even its small updates are larger.",
        np.min(raw, axis=0),  # of early and late
        above=1,
        scale="log",
        otherwise="Raw, its small updates are not larger.",
        answer=True,
    )
    for when in runs:
        text = f"Large updates of batches of {large} are larger, in means of their batch size, {when}."
        yield claim(text, higher[when], above=1, scale="log", source="Shen")
        text = f"Small updates of batches of {large} are smaller, in means of their batch size, {when}."
        yield claim(text, lower[when], above=1, scale="log", source="Shen")
        within = np.abs(relative[when][..., 0] - 1).max(axis=0)
        text = f"Updates of batches of {small} are about the same size, {when}: 90 % within a tenth of the mean."
        yield claim(text, within, below=0.1, source="Shen")
