"""# Is the average update of batch size 1 at least that of batch size 2?

Chang (2020) answers yes, by the triangle inequality. Shen (2018) reports that the norm of a gradient grows as √B, and
chapter 4 finds far less in the same experiment. Both statements are right somewhere. This chapter shows where.

## Idea

An update of SGD is as long as the learning rate times the norm of the batch's mean gradient, so it is enough to compare
norms. Let g₁ and g₂ be the gradients of two samples at the same weights. For a batch of both,

    ‖(g₁ + g₂) / 2‖ ≤ (‖g₁‖ + ‖g₂‖) / 2

At fixed weights the average norm therefore cannot grow when batches are joined. How fast does it fall? Let g be the
mean gradient over all samples, and tr Σ the variance of a single sample's gradient, summed over all weights. The mean
of B independent samples has the variance tr Σ / B, so the root mean square of its norm is

    √(E ‖g_B‖²) = √(tr Σ / B + ‖g‖²)

This falls as 1/√B far below the noise scale tr Σ / ‖g‖², and is constant far above it. If the loss of a batch is summed
and not averaged, the same law reads √(B tr Σ + B² ‖g‖²): it grows as √B at first. The *mean* of the norms is another
number. It is never above their root mean square, and equal only if all norms are equal. The more the norms of single
samples differ, the farther below it starts, and the more slowly it falls while batches even them out.

In training the second of two small steps starts from other weights than the first. Then the inequality does not apply.

## Experiment

The start is a model trained for two epochs at batch size 1024. From there, one epoch at each batch size, all over the
samples in one order: each batch is the union of two batches of half its size.

- *moving*: the weights move with each step, as in training
- *frozen*: the control, in which the weights stay as they are
- *single batch*: the summed gradient of the last layer for 300 separate batches of each size, at the start's weights;
  both the root mean square and the mean of its norm

**Predict.** Is batch size 1 or 2 ahead while the weights move? Does the mean norm fall as 1/√B, as the root mean square
does?

## Explanation

At fixed weights the order is a theorem, and the measurement checks the program. In training a second effect works
against it: the smallest batch takes the most steps, so it moves fastest to weights with smaller gradients (middle
panel). On MNIST the mean norm at batch size 1 is 13.4 with frozen weights and 3.2 with moving weights, less than at
batch size 2. On digits batch sizes 1 and 2 are about equal (1.015 [0.997, 1.033] times). That stays open, since the
effect is nearly zero.

The root mean square follows the law exactly, so Shen's √B is right for single batches with a summed loss. The *mean* of
the norms need not follow it. On MNIST the gradients of single samples differ much in norm, so that their mean lies well
below their root mean square, and falls more slowly at first (exponent −0.37). On digits they differ little this early.

Chapter 4 averages the gradients of an epoch and then takes the norm; here the norm of each step comes first. That is
why one curve grows with B and the other falls. With a small convolutional network (cnn) on digits the weights move to
larger gradients this early (5.1 with frozen weights, 6.6 with moving ones, at batch size 1). So in training batch size
1 is ahead there, 1.09 [1.06, 1.12] times.

## In practice

At given weights a smaller batch makes longer, noisier steps, as long as noise dominates: far below the noise scale. Far
above it, the length of a step no longer depends on the batch size. Do not carry this over to whole epochs: the smaller
batch has moved to other weights by then.

## Exercises

1. The sum of all step lengths is how far the weights walk. Which batch size walks farthest in an epoch?

   > The smallest. It takes N steps; a batch of 1024 takes a thousandth of that, with steps about a third as long on
   > digits (with the cnn an eleventh) and a fifth on MNIST. How far from the start they end is another question
   > (chapter 8).

2. When is the triangle inequality an equality for all batches?

   > When all samples have gradients in the same direction. Then there is no noise that could average out.

3. Train the start for longer: `bstudy chapter 14 --early-epochs 30`. Where does the curve of frozen weights leave 1/√B?

   > Later. The mean gradient shrinks faster in training than the noise does, so the noise scale grows.

## Sources

- Chang (2020), [Effect of batch size on neural net training](https://medium.com/deep-learning-experiments/effect-of-batch-size-on-neural-net-training-c5ae8516e57):
  the triangle inequality
- Shen (2018), [Effect of batch size on training dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e):
  the growth as √B
- McCandlish et al. (2018), [An empirical model of large-batch training](https://arxiv.org/abs/1812.06162), section 2.2:
  the variance of a batch's gradient

## History

Version 0.1 wrote that the *mean* norm falls "at first as 1 / √B". Its own test on MNIST refuted that (exponent −0.37).
The claim and its bounds are unchanged; the text now tells mean and root mean square apart. The single batch was in
chapter 4.
"""

import numpy as np

from bstudy import Recipe, SingleBatches, StepNorms, claim, plots, power_law_exponent

PART = "V. Minima"


def experiments(batch_sizes=StepNorms.batch_sizes, large_batch_size=1024, learning_rate=0.01, early_epochs=2):
    trained = Recipe.sgd(large_batch_size, learning_rate, early_epochs)
    return {
        "frozen": StepNorms(trained, batch_sizes),
        "moving": StepNorms(trained, batch_sizes, frozen=False, learning_rate=learning_rate),
        "single batch": SingleBatches(trained),
    }


def root_mean_square(run):
    return np.sqrt(np.square(run["norm"], dtype=float).mean(axis=2))


def exact_law(run):
    """Return √(B tr Σ + B² ‖g‖²), of shape (seeds, batch sizes)."""
    sizes = np.array(run.experiment.batch_sizes)
    return np.sqrt(sizes * run["noise_trace"][:, None] + sizes**2 * run["squared_gradient_norm"][:, None])


def figure(runs, fig):
    means, course, summed = fig.subplots(1, 3)
    moving, single = runs["moving"], runs["single batch"]
    sizes = np.array(moving.experiment.batch_sizes)
    for color, role in (("C0", "frozen"), ("C1", "moving")):
        plots.by_batch_size(means, sizes, runs[role]["mean_norm"], color=color, label=f"weights {role}")
    means.set(title="mean over an epoch", ylabel="norm of a step's gradient", ylim=means.get_ylim())
    means.plot(sizes, runs["frozen"]["mean_norm"][:, 0].mean() / np.sqrt(sizes), ":", color="gray", label="as 1/√B")
    for i in sorted({0, len(sizes) // 2, len(sizes) - 1}):
        norms = moving["mean_norm_over_time"][:, i].mean(axis=0)  # NaN in a twentieth without a step
        has_step = np.isfinite(norms)
        style = {"color": plots.color(sizes[i]), "label": f"B = {sizes[i]}, moving"}
        course.plot((np.arange(20)[has_step] + 0.5) / 20, norms[has_step], "-o", markersize=3, **style)
    course.set(title="along the epoch", xlabel="epoch", ylabel="norm of a step's gradient", ylim=(0, None))
    batches = np.array(single.experiment.batch_sizes)
    for color, label, norms in (
        ("C2", "root mean square", root_mean_square(single)),
        ("C4", "mean", single["norm"].mean(axis=2)),
    ):
        plots.by_batch_size(summed, batches, norms / np.sqrt(batches), color=color, label=f"single batch, {label}")
    law = exact_law(single).mean(axis=0) / np.sqrt(batches)
    summed.plot(batches, law, "--", color="gray", zorder=3, label="√(B tr Σ + B² ‖g‖²)")
    summed.set(title="one batch, loss summed", ylabel="norm / √B (flat: grows as √B)")


def verdicts(runs):
    sizes, single = np.array(runs["frozen"].experiment.batch_sizes), runs["single batch"]
    mean = {role: runs[role]["mean_norm"] for role in ("frozen", "moving")}  # (seeds, batch sizes)
    ratio = {role: norms[:, 0] / norms[:, 1] for role, norms in mean.items()}
    text = f"At fixed weights the average update of batch size {sizes[0]} is"
    longer, not_longer = f"{text} longer than that of {sizes[1]}.", f"{text} no longer than that of {sizes[1]}."
    yield claim(longer, ratio["frozen"], above=1, scale="log", otherwise=not_longer, answer=True, check=True)
    yield claim(
        "In training it is longer too.",
        ratio["moving"],
        above=1,
        scale="log",
        otherwise="In training it is shorter.",
        answer=True,
        source="Chang",
        advice=(
            "Expect the longest steps from the smallest batches.",
            "Do not transfer inequalities between gradients at fixed weights to training.",
        ),
    )
    slack = runs["frozen"]["triangle_slack"].min(axis=1)
    text = "At fixed weights every batch satisfies the triangle inequality (smallest slack)."
    yield claim(text, slack, above=-1e-4, check=True, unit="of the norm")
    exponent = power_law_exponent(sizes[:4], mean["frozen"][:, :4])
    text = f"At fixed weights the mean norm falls as 1/√B from {sizes[0]} to {sizes[:4][-1]} (exponent −½)."
    slower = "At fixed weights the mean norm falls more slowly than 1/√B at first."
    yield claim(text, exponent, above=-0.6, below=-0.4, otherwise=slower)
    ratio = mean["moving"][:, 0] / mean["moving"][:, -1]
    text = f"In training the steps of batch size {sizes[0]} are more than twice as long as those of {sizes[-1]}."
    yield claim(text, ratio, above=2, scale="log", otherwise=text.replace("more than", "at most"))
    batches = np.array(single.experiment.batch_sizes)
    noisy = batches <= max(2, np.mean(single["noise_trace"] / single["squared_gradient_norm"]) / 8)
    exponent = power_law_exponent(batches[noisy], root_mean_square(single)[:, noisy])
    text = "The root mean square of a single summed gradient grows as √B, far below the noise scale (exponent ½)."
    yield claim(text, exponent, above=0.45, below=0.55)
    deviation = np.abs(root_mean_square(single) / exact_law(single) - 1).max(axis=1)
    text = "At every batch size it is √(B tr Σ + B² ‖g‖²), to a tenth."
    yield claim(text, deviation, below=0.1, check=True, unit="relative deviation")
