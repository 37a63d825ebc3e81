"""# Do larger batches need more steps or more epochs to a target?

The article of chapter 15 says both: from batch size 16 to 256, table F has the iterations rise from 250 to 400, and
table I the epochs from 12 to 19. Shallue et al. (2019) measured many tasks with all settings tuned: the steps *fall*,
at first in proportion to the batch size, and then ever less.

## Idea

A run that takes S steps sees S · B samples, which is S · B / N epochs. So the two tables of the article exclude each
other: 250 steps of 16 in 12 epochs are a training set of 333 samples, and 400 steps of 256 in 19 epochs one of 5,389.

Why can S fall at all? The gradient of a batch is the mean gradient plus noise with a variance in proportion to 1/B.
McCandlish et al. (2018) show that the best step then gains 1 / (1 + B_crit / B) of what a noiseless step gains, so
that

    S(B) = S_min · (1 + B_crit / B)
    E(B) = S · B = E_min · (1 + B / B_crit)

with S the steps and E the samples to the target, and E_min = S_min · B_crit. Far below the critical batch size B_crit,
twice the batch needs half the steps (*perfect scaling*). Far above it, the steps stay at S_min and samples are wasted.

## Experiment

Train until the test accuracy first reaches the target of 95 %, at batch sizes from 16 to 1024.

- *one learning rate*: 0.03 at every batch size
- *tuned*: for each batch size and each seed the best of four learning rates, from 0.03 to 1

The best rate is chosen by the steps that are compared, on the test set: it is the choice of an oracle, and shows what
is possible. The test set is evaluated sixteen times an epoch, so small numbers of epochs are coarse. Seconds are the
steps times the median time of a step at that batch size.

**Predict.** From 16 to 1024, do steps and epochs rise or fall? Which batch size is the fastest in seconds?

## Explanation

Tuned, both statements about speed are true, each for its own unit. From batch size 16 to 1024 the steps fall to 0.07
times on MNIST and to 0.4 times on digits, while the epochs rise 4-fold and 18-fold. Table F has the wrong direction,
and table I the right one.

The steps fall because a step with less noise can be longer: on MNIST the best rate grows from 0.1 at 16 to 0.3. At
*one* rate the step cannot grow. On digits the steps are then level, so that the epochs rise in proportion to the
batch; on MNIST they fall to 0.4 times, because 0.03 is large enough for noise to matter at 16.

The limit of the longer step is stability, and here also the grid: on MNIST 0.3 is the best rate for all sizes from 128
on, and the next one, 1, always diverges. The fitted B_crit (267 on MNIST, about 30 on digits) depends on that. In
seconds the middle wins on MNIST: 64 to 128 take about one second, 1024 about four.

## In practice

Count samples if computing is what you pay for, and steps if many devices can share a batch. Tune the learning rate for
each batch size before you compare batch sizes.

## Exercises

1. At B_crit, how many times the minimum number of steps does training take, and how many times the minimum of samples?

   > Twice, in both: 1 + B_crit / B = 1 + B / B_crit = 2.

2. A harder target: `bstudy chapter 16 --target-accuracy 96`. Which way does B_crit go, and why?

   > Up, as a rule. Later in training the mean gradient is smaller compared with its noise (chapter 21), so averaging
   > over larger batches pays longer.

3. Why can the best learning rate not grow with the batch size for ever?

   > A step of gradient descent is stable only for η < 2 / λ, with λ the largest curvature, and no averaging changes λ.
   > In this grid the rate 1 diverges at every batch size on MNIST.

## Sources

- "Deep learning batch size", a web article without author or date: tables F and I
- Shallue et al. (2019), [Measuring the effects of data parallelism](https://arxiv.org/abs/1811.03600). Their public
  data hold this very network and optimizer at 17 batch sizes (`mnist/fc_1024_1024/sgd`)
- McCandlish et al. (2018), [An empirical model of large-batch training](https://arxiv.org/abs/1812.06162), section 2

## History

Version 0.1 fitted exponents to curves that bend; the claims now compare the smallest and the largest batch size. So
"at one rate the epochs rise in proportion" (exponent above 0.8; 0.78 and undecided on MNIST) became "the epochs rise".
"B_crit is inside the range" was dropped, because such a fit cannot fail it. The claim on the last doubling replaced it
when the MNIST result was known (tuned, 98 steps at 512 and 77 at 1024). Seconds were those of single runs. In version
0.1 seed 0 was partly measured with another clock, so its MNIST numbers are to be measured again.
"""

import numpy as np

from bstudy import TimeToTarget, claim, plots, stats, steps_and_best

PART = "VI. Cost"


def experiments(
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024),
    learning_rates=(0.03, 0.1, 0.3, 1.0),
    target_accuracy=95.0,
    epochs=200,
):
    return {
        size: {rate: TimeToTarget.sgd(size, rate, epochs, target_accuracy) for rate in sorted(learning_rates)}
        for size in sorted(batch_sizes)
    }


def to_target(runs, what):
    """Return the batch sizes, and steps, epochs or seconds (seeds, n) at the first and at the best learning rate."""
    sizes, *columns = steps_and_best(runs, "steps" if what == "seconds" else what)
    return sizes, *(values * (step_seconds(runs) if what == "seconds" else 1) for values in columns)


def step_seconds(runs):
    """Return (n,) the median time of a step at each batch size, over learning rates and seeds."""
    with np.errstate(invalid="ignore"):
        times = [np.ravel([run["seconds"] / run["steps"] for run in rates.values()]) for rates in runs.values()]
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in times])


def figure(runs, fig):
    first_rate = min(runs[min(runs)])
    for axes, what in zip(fig.subplots(1, 3), ("steps", "epochs", "seconds"), strict=True):
        sizes, fixed, tuned = to_target(runs, what)
        plots.by_batch_size(axes, sizes, fixed, color="C0", label=f"learning rate {first_rate:g}")
        plots.by_batch_size(axes, sizes, tuned, color="C1", label="tuned")
        axes.set(ylabel=f"{what} to the target", ylim=axes.get_ylim())
        if what == "steps":
            minimum, critical = stats.critical_batch_size(sizes, tuned)
            law = minimum[:, None] * (1 + critical[:, None] / sizes)
            if critical.mean() > 0:  # NaN if a run did not reach the target
                axes.plot(sizes, law.mean(axis=0), "--", color="gray", label=f"fit, B_crit = {critical.mean():.0f}")
            axes.plot(sizes, tuned[:, 0].mean() * sizes[0] / sizes, ":", color="gray", label="perfect scaling")


def verdicts(runs):
    sizes, steps, tuned_steps = to_target(runs, "steps")
    _, epochs, tuned_epochs = to_target(runs, "epochs")
    smallest, largest = sizes[0], sizes[-1]

    def compare(text, values, **options):
        return claim(text, stats.ratio(values[:, -1], values[:, 0]), scale="log", **options)

    yield compare(
        f"Tuned, batch size {largest} needs fewer steps than {smallest}.",
        tuned_steps,
        below=1,
        otherwise=f"Tuned, batch size {largest} needs no fewer steps than {smallest}.",
        answer=True,
        advice=("Use larger batches if more devices can share them.", "Larger batches save no steps: use small ones."),
    )
    yield compare(
        "It needs more epochs.",
        tuned_epochs,
        above=1,
        otherwise="It needs no more epochs.",
        answer=True,
        advice=("Use smaller batches if each sample costs.", ""),
    )
    texts = (
        "At one learning rate the {} rise with the batch size.",
        "At one learning rate the {} fall with the batch size.",
    )
    for what, values in (("steps", steps), ("epochs", epochs)):
        text, otherwise = (text.format(what) for text in texts)
        yield compare(text, values, above=1, source="the article", otherwise=otherwise)
    yield claim(
        f"Returns diminish: tuned, from {sizes[-2]} to {largest} the steps fall less than in proportion.",
        stats.ratio(tuned_steps[:, -1] * largest, tuned_steps[:, -2] * sizes[-2]),
        above=1.1,
        scale="log",
        unit="times the steps of perfect scaling",
        otherwise=f"Tuned, the steps still fall in proportion from {sizes[-2]} to {largest}.",
    )
    relative = stats.ratio_to_minimum(to_target(runs, "seconds")[2])
    for size, values in ((smallest, relative[:, 0]), (largest, relative[:, -1])):
        text = f"Tuned, batch size {size} takes longer than the fastest batch size."
        yield claim(
            text, values, above=1.1, scale="log", otherwise=f"Tuned, batch size {size} is about as fast as any."
        )
