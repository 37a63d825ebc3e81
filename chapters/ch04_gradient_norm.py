"""# Do larger batches take larger steps?

Shen (2018) cuts the same 1024 samples into batches, steps through them once, and averages the gradients of the steps.
The finding: "larger batch sizes make larger gradient steps than smaller batch sizes for the same number of samples
seen", with a norm that grows as √B. The study had expected the opposite. By its hypothesis of *gradient competition*,
samples in one batch "interfere (compete) with each others' gradients", which cancel.

## Idea

A trial takes n = 1024 / B steps with learning rate η. G is the gradient of the last layer's kernel (1024 × 10
weights), averaged over the samples; ‖G‖ is its norm, in nats per unit of weight. Near its start a loss is about
quadratic, with Hessian H. If all batches have the mean gradient ḡ at the start, every step multiplies the gradient by
I − ηH:

    G = (1/n) Σ (I − ηH)ᵗ ḡ = H⁻¹ (I − (I − ηH)ⁿ) ḡ / (ηn)

The sum is over the steps t = 0, …, n − 1. In a direction of curvature h, the part (1 − (1 − ηh)ⁿ) / (ηhn) of ḡ is
left: all of it if ηhn is far below 1, only 1 / (ηhn) if it is far above (right panel). This predicts the *mean*: more
steps leave less, so ‖G‖ grows with B. It predicts the *spread* too: the samples differ most in steep directions, and
these shrink most (chapter 5).

The distance that the kernel travels in a trial is another quantity: η · n · ‖G‖, with fewer steps n for a larger B.

## Experiment

All trials start from the same trained weights: after 2 epochs (early) or 30 epochs (late) with batches of 1024. A
trial draws 1024 samples, and all batch sizes see the same ones in the same order. The control freezes the weights:
then G cannot depend on how the samples are cut.

**Predict.** Sketch ‖G‖ and the distance against the batch size. At which height lie the dashed lines of the control?

## Explanation

The control is flat, at the height of 1024, whose trial is a single step. So all growth comes from weights that move:
small batches descend as they go, and meet smaller gradients. The growth is slow: from batches of 2 to 1024 about
twofold on MNIST and 2.5-fold on digits, where √B would be 23-fold.

Shen too rejects gradient competition: "the mean gradient norm increases with batch size!" With frozen weights,
gradients cancel exactly as much in one large batch as over many small ones. With moving weights, the G of small
batches is shorter and turned (the cosines of chapter 7): it lacks the steep directions, which the first steps have
already descended.

Shen takes the norm for the distance, and concludes that large batches move farther "away from the starting weights"
for the same samples. They move less far: ‖G‖ doubles, but there are 512 times fewer steps. Chapter 8 has whole runs.

The formula has no minimum inside, but late on MNIST there is one: ‖G‖ falls from 0.131 at B = 2 to 0.116 at 8 before
it rises. The formula leaves out that small batches differ from each other: each step adds noise to the next gradients,
most at B = 1 and 2. On digits the default network has no such dip.

A small convolutional network (cnn) on digits contradicts the first finding: late, ‖G‖ at 1024 is smaller than at 2
(0.134 and 0.207). After its 30 epochs, ηn = 0.6, the loss is still 2.19; that of a guess is 2.30. The trial at B = 2
has ηn = 5.1: probably it leaves this flat start and meets larger gradients, which positive curvatures h cannot give.
On MNIST the cnn has left that start after 30 epochs (97 % accuracy), and the first finding holds: ‖G‖ at 1024 is
2.1 [1.1, 4.0] times that at 2.

Two claims stay open with the cnn, because the seeds differ by more than the effect: whether ‖G‖ is larger early than
late (1.00 [0.88, 1.15] times on digits, 0.91 [0.60, 1.37] on MNIST), and on MNIST whether it has its minimum above 2.

## In practice

Fewer steps are a shorter way, whatever the norm of a gradient. To let a large batch travel as far as a small one,
raise its learning rate or the number of epochs (chapters 2 and 9).

## Exercises

1. Halve the learning rate of the trials: `bstudy chapter 4 --trial-learning-rate 0.005`. What happens to the curves?

   > In the formula only ηn counts, so half the rate does what twice the batch size does: the left panel moves to the
   > left by one doubling. The point at 1024 and the control stay: a single step does not depend on its own length.

2. At which batch size is half of the gradient left in a direction of curvature h = 10, with η = 0.01?

   > (1 − 0.9ⁿ) / (0.1 n) is 0.51 at n = 16, so at B = 64. See the line ηh = 0.1 in the right panel.

3. ‖G‖ grows as B to the power 0.12. What is the exponent of the distance, and which values can it have in the formula?

   > η · (1024 / B) · ‖G‖ has the exponent 0.12 − 1 = −0.88. In the formula that of ‖G‖ lies between 0 (flat
   > directions) and 1 (steep ones), so that of the distance lies between −1 and 0: it cannot grow with B.

## Sources

- Shen (2018), [Effect of batch size on training dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e),
  "Hypothesis: gradient competition" and the first finding under it: 1000 trials of each batch size.

## History

Version 0.1 knew the distances, without a verdict on them. It fitted 15 batch sizes, eight of them from 1 to 8 (MNIST:
exponents of ‖G‖ 0.120 early, 0.095 late); the six sizes now are spread evenly (of the same data: 0.119 and 0.108).
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, map_leaves, plots, power_law_exponent

PART = "II. Gradients"
SIZES = (2, 8, 32, 128, 512, 1024)


def experiments(
    trials=8, batch_sizes=SIZES, large_batch_size=1024, early_epochs=2, late_epochs=30, trial_learning_rate=0.01
):
    def after(epochs):
        trained, ends = Recipe.sgd(large_batch_size, 0.01, epochs), (min(batch_sizes), max(batch_sizes))
        return {
            "moving": GradientTrials(trained, batch_sizes, trials, learning_rate=trial_learning_rate),
            "frozen": GradientTrials(trained, ends, trials, frozen=True),
        }

    return {"early": after(early_epochs), "late": after(late_epochs)}


def norm(run):
    """Return (seeds, batch sizes) the mean of ‖G‖ over the trials."""
    return run["norm"].mean(axis=2, dtype=float)


def distance(run):
    """Return (seeds, batch sizes) how far the last kernel moves in a trial: η · steps · ‖G‖."""
    return run.experiment.learning_rate * run.experiment.samples / np.array(run.experiment.batch_sizes) * norm(run)


def table(runs):
    def columns(run):
        return {f"B = {size}": norm(run)[:, i] for i, size in enumerate(run.experiment.batch_sizes)}

    return map_leaves(columns, runs)


def figure(runs, fig):
    gradient, travel, formula = fig.subplots(1, 3, sharex=True)
    for color, (when, kinds) in zip(("C0", "C1"), runs.items(), strict=True):
        run, frozen = kinds["moving"], kinds["frozen"]
        sizes, relative = run.experiment.batch_sizes, run["norm"].std(axis=2) / norm(run)
        for axes, values, yscale in ((gradient, norm(run), "linear"), (travel, distance(run), "log")):
            band = {"± 1 s.d. over trials": relative * values}
            plots.by_batch_size(axes, sizes, values, band, yscale=yscale, color=color, label=when)
        ends = frozen.experiment.batch_sizes
        gradient.plot(ends, norm(frozen).mean(axis=0), "--", color=color, label=f"{when}, weights frozen")
    size = np.geomspace(*ends)
    for rate, height in ((0.01, 0.35), (0.1, 0.22), (1, 0.1)):  # ηh, and where its label is
        steps = run.experiment.samples / size
        left = (1 - (1 - rate) ** steps) / (rate * steps)
        formula.plot(size, left, color="C2")
        formula.text(1.2 * np.interp(height, left, size), height, f"ηh = {rate:g}", va="top", fontsize="small")
    gradient.set(title="mean gradient", ylabel="‖G‖")
    gradient.set_ylim(bottom=0)
    travel.set(title="distance of the last kernel", ylabel="learning rate × steps × ‖G‖")
    formula.set(title="formula", ylabel="part of the gradient that is left", xlabel="batch size B")


def verdicts(runs):
    sizes = np.array(runs["late"]["moving"].experiment.batch_sizes)
    small, large = sizes[[0, -1]]
    norms = {when: norm(kinds["moving"]) for when, kinds in runs.items()}
    yield claim(
        f"Over the same samples, batches of {large} have a larger mean gradient than batches of {small}.",
        np.min([each[:, -1] / each[:, 0] for each in norms.values()], axis=0),  # of early and late
        above=1,
        scale="log",
        otherwise=f"Over the same samples, batches of {large} have no larger mean gradient than batches of {small}.",
        answer=True,
        source="Shen",
    )
    yield claim(
        "They move the weights farther.",
        np.max([power_law_exponent(sizes, distance(kinds["moving"])) for kinds in runs.values()], axis=0),
        above=0,
        otherwise="They move the weights less far.",
        answer=True,
        unit="as exponent of B",
        published=0.5,
        source="Shen",
        advice=("", "For the same distance a larger batch needs a larger learning rate, or more epochs."),
    )
    for when, each in norms.items():
        text, exponent = f"The mean gradient grows as √B, {when} (exponent).", power_law_exponent(sizes, each)
        yield claim(text, exponent, above=0.45, below=0.55, published=0.5, source="Shen")
    ratio = np.exp(np.log(norms["early"] / norms["late"]).mean(axis=1))
    yield claim("The mean gradient is larger early than late.", ratio, above=1, scale="log", source="Shen")
    dip = norms["late"][:, 1:].min(axis=1) / norms["late"][:, 0]
    text = f"Late, the mean gradient has its minimum above B = {small} (minimum / value at {small})."
    yield claim(text, dip, below=1, scale="log", otherwise=f"Late, the mean gradient is smallest at B = {small}.")
    for when, kinds in runs.items():
        frozen = norm(kinds["frozen"])
        text = f"With frozen weights all batch sizes have one mean gradient, {when} (range / mean)."
        yield claim(text, np.ptp(frozen, axis=1) / frozen.mean(axis=1), below=1e-4, check=True)
