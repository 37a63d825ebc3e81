"""# Does momentum make large batches more useful?

Most trainings with SGD use momentum. Kidambi et al. (2018) prove that on some simple problems with noisy gradients it
cannot be faster than plain SGD, and conclude that its gains in practice come from the averaging in batches. Shallue et
al. (2019) and Zhang et al. (2019) find the same from the other side: no benefit at small batch sizes, but twice the
batch saves half the steps up to larger batches than with plain SGD.

## Idea

SGD with momentum µ adds up the gradients, and forgets them by a factor of µ a step:

    v ← µ v + g        w ← w − η v

A gradient counts 1 + µ + µ² + … = 1 / (1 − µ) times in the end. So momentum is compared at equal *effective rate*
α = η / (1 − µ). In one direction of a quadratic, with curvature h and gradient noise σ² / B, a few lines of algebra
(exercise 1) give the largest stable rate, and the mean square of the deviation in equilibrium:

    stable if   α h < 2 · (1 + µ) / (1 − µ)
    noise       E w² ≈ α σ² / (2 h B)    for small steps, for every µ

The noise is that of plain SGD at the rate α. Only the limit differs: at µ = 0.9 it is 19 times as large. So momentum
should help where stability limits the step, with large batches, and not where noise limits it, with small ones.

## Experiment

Plain SGD and momentum 0.9, with batch sizes 4, 32 and 256. The training set is 256 samples, so 256 is the full batch.
Counted are the steps until the loss on the training set falls to 0.05 nats. It is evaluated after each epoch, and
interpolated on logarithms. The claims are about optimization, so the training set is the judge.

- *tuned*: five effective rates, with a factor of 2 between them. They grow as √B, from 0.04 to 0.64 at B = 4. For each
  batch size and each µ the best rate is that with the fewest steps, by the mean over seeds.
- *range of good rates*: the largest over the smallest of the rates that need at most 1.5 times the fewest steps
- *control*: both at equal effective rate, the lowest of the five, at the smallest batch size

A run lasts 32 epochs at the full batch, and fewer with smaller batches: 32 · (B / 256)^0.4. These are more steps, 448
at B = 4. A target that is not reached counts as infinite. A test with another seed, without momentum, set target and
lengths, so that plain SGD reaches the target.

**Predict.** By which factor does momentum reduce the steps at B = 4, and by which at 256?

## Explanation

On digits, both need 200 to 230 steps at B = 4, with the same best effective rate of 0.08, and four times this rate is
too noisy for both. At half of it both end at the same loss, and on the way they differ by a sixth on average. This is
the closed form: the noise depends on η / (1 − µ). At the best rate the last steps are noisy, and the counts of single
seeds differ by a factor of up to 1.7. So three seeds do not decide whether the tuned numbers are equal.

With the full batch, plain SGD reaches the target at one of the five rates, 0.64, in 20 to 29 steps. Twice this rate is
unstable, and half of it is too slow for the 32 steps of a run. Momentum reaches it at rates from 0.32 to 5.12, and
needs about 13 steps at its best rate of 1.28. So stability is the limit here, and momentum raises it. Not all of the
gain is the limit: 13 steps are hardly more than the memory of 1 / (1 − µ) = 10 steps, so in most of them the velocity
is still growing. Like a warm-up, this keeps the first steps short.

## In practice

With small batches momentum is no reason to expect faster training. With large ones use it, and tune η / (1 − µ) again:
its best value is larger, and more values are stable.

## Exercises

1. Derive the limit. The deviation follows w₁ = (1 + µ − η h) w₀ − µ w₋₁. When do its solutions zᵗ shrink?

   > z² − (1 + µ − η h) z + µ = 0 has a root z = −1 if 2 (1 + µ) = η h, and all roots are smaller than 1 in size below
   > that. With η = (1 − µ) α the limit is α h = 2 (1 + µ) / (1 − µ).

2. How large is the limit of the effective rate at µ = 0.99, compared with plain SGD? What is the price?

   > 199 times as large. But the velocity remembers about 1 / (1 − µ) = 100 steps: shorter runs never reach full speed.

3. Try another momentum: `bstudy chapter 26 --momentum 0.7`. What do you expect at the full batch?

   > The limit is (1 + 0.7) / (1 − 0.7) = 5.7 times that of plain SGD, so momentum still helps, if less far.

## Sources

- Kidambi et al. (2018), [On the insufficiency of existing momentum schemes for stochastic
  optimization](https://arxiv.org/abs/1803.05591), the abstract
- Shallue et al. (2019), [Measuring the effects of data parallelism](https://arxiv.org/abs/1811.03600), on optimizers
- Zhang et al. (2019), [Which algorithmic choices matter at which batch sizes?](https://arxiv.org/abs/1907.04164), the
  noisy quadratic model and the experiments with momentum

## History

The first run had rates from 0.02 to 0.32 at B = 4. It was stopped when the runs at B = 4 and some of the full batch
were known. With momentum, the full batch and seed 0 the best rate was the largest one, so all rates were doubled. The
best rate by the mean over seeds is now inside. The known runs are part of the result. Bounds and target are as before.
"""

import numpy as np

from bstudy import Phase, Recipe, claim, critical_batch_size, plots

PART = "IX. Since then"
HELP = {"momentum": "momentum of SGD that is compared with none"}
TARGET = 0.05  # training loss in nats
GOOD = 1.5  # times the fewest steps


def experiments(batch_sizes=(4, 32, 256), learning_rates=(0.04, 0.08, 0.16, 0.32, 0.64), momentum=0.9, epochs=32):
    sizes = sorted(batch_sizes)

    def make(size, rate, momentum):
        length = int(np.ceil(epochs * (size / sizes[-1]) ** 0.4))
        return Recipe((Phase(size, (1 - momentum) * rate, length, momentum=momentum),), samples=sizes[-1])

    def at_each_rate(size, momentum):
        rates = [float(f"{rate * np.sqrt(size / sizes[0]):.3g}") for rate in sorted(learning_rates)]
        return {rate: make(size, rate, momentum) for rate in rates}

    return {each: {size: at_each_rate(size, each) for size in sizes} for each in (0.0, momentum)}


def steps_to_target(run):
    """Return (seeds,) the steps to the TARGET: infinite if it is not reached, NaN if the run diverged before."""
    steps, found = run.experiment.steps(run.samples), []
    for row in np.log(run["train_subset_loss"] / TARGET):
        reached = np.flatnonzero(row <= 0)
        if len(reached):
            last = max(1, reached[0])
            found.append(np.interp(0, row[[last, last - 1]], steps[[last, last - 1]]))
        else:
            found.append(np.nan if np.isnan(row).any() else np.inf)
    return np.array(found)


def steps_and_best(rows):
    """Return (sizes, rates) the effective rates; (seeds, sizes, rates) the steps; (sizes,) the index of the best."""
    rates = np.array([list(row) for row in rows.values()])
    steps = np.array([[steps_to_target(run) for run in row.values()] for row in rows.values()]).transpose(2, 0, 1)
    best = np.argmin(np.nan_to_num(np.log(steps).mean(axis=0), nan=np.inf), axis=1)
    return rates, steps, best


def at_best(values, best):
    """Return (..., sizes) the values (..., sizes, rates) at the best rate of each batch size."""
    return values[..., np.arange(len(best)), best]


def range_of_good_rates(rates, steps):
    """Return (seeds, sizes) the largest over the smallest of the rates with at most GOOD times the fewest steps."""
    known = np.nan_to_num(steps, nan=np.inf)
    is_good = known <= GOOD * known.min(axis=2, keepdims=True)
    largest = np.max(np.where(is_good, rates, 0), axis=2)
    width = largest / np.min(np.where(is_good, rates, np.inf), axis=2)
    return np.where(np.isfinite(known).any(axis=2), width, np.fmin.reduce(steps, axis=2))


def at_equal_rate(rows):
    """Return the Runs of the control: the smallest batch size at the lowest rate."""
    return next(iter(next(iter(rows.values())).values()))


def table(runs):
    """Return the results of each batch size at its best effective rate."""
    shown = {}
    for momentum, rows in runs.items():
        rates, steps, best = steps_and_best(rows)
        width, fewest = range_of_good_rates(rates, steps), at_best(steps, best)
        shown[momentum] = {
            size: {rates[i, best[i]]: {"steps to the target": fewest[:, i], "range of good rates": width[:, i]}}
            for i, size in enumerate(rows)
        }
    return shown


def figure(runs, fig):
    tuned, rate, curves = fig.subplots(1, 3)
    for color, (momentum, rows) in zip(("C0", "C1"), runs.items(), strict=True):
        sizes, (rates, steps, best) = list(rows), steps_and_best(rows)
        plots.by_batch_size(tuned, sizes, at_best(steps, best), color=color, label=f"momentum {momentum:g}")
        for i, line in ((0, "-"), (-1, "--")):
            mean, *_ = plots.mean_and_band(steps[:, i], "log")
            rate.plot(rates[i], mean, line, marker="o", markersize=3, color=color, label=f"_B = {sizes[i]}")
            if (missing := ~np.isfinite(mean)).any():
                plots.mark_at_top(rate, rates[i][missing], "^", "▲ target not reached or diverged", color)
        plots.curve(
            curves,
            at_equal_rate(rows),
            "train_subset_loss",
            x="step",
            yscale="log",
            color=color,
            label=f"_momentum {momentum:g}",
        )
    perfect = at_best(steps, best)[:, 0].mean() * sizes[0] / np.array(sizes)
    tuned.plot(sizes, perfect, ":", color="gray", label="perfect scaling")
    tuned.set(title="tuned", ylabel="steps to the target")
    rate.set_title(f"B = {sizes[0]} (lines), {sizes[-1]} (dashes)", pad=14)  # above the marks
    rate.set(xscale="log", yscale="log")
    rate.set(xlabel="effective learning rate η / (1 − µ)", ylabel="steps to the target")
    curves.set(title=f"B = {sizes[0]}, equal rates")


def verdicts(runs):
    plain, momentum = (steps_and_best(rows) for rows in runs.values())
    sizes = list(runs[0.0])
    plain_steps, steps = (at_best(each[1], each[2]) for each in (plain, momentum))
    ratio = steps / plain_steps
    small, full = f"batches of {sizes[0]}", f"all {sizes[-1]} samples"
    yield claim(
        f"With {small}, momentum saves no steps.",
        ratio[:, 0],
        above=0.8,
        below=1.25,
        scale="log",
        unit="times the steps",
        otherwise=f"With {small}, momentum changes the number of steps.",
        answer=True,
        source="Kidambi et al.",
        advice=("With small batches, use plain SGD: momentum gains nothing.", ""),
    )
    yield claim(
        f"With {full}, it saves many.",
        ratio[:, -1],
        below=0.7,
        scale="log",
        unit="times the steps",
        otherwise=f"With {full}, it does not save many.",
        answer=True,
        source="Shallue et al.",
        advice=("With large batches, use momentum, and tune the rate again.", ""),
    )
    critical = critical_batch_size(sizes, steps)[1] / critical_batch_size(sizes, plain_steps)[1]
    text, otherwise = "It makes the critical batch size larger.", "It does not make the critical batch size larger."
    yield claim(text, critical, above=1, scale="log", otherwise=otherwise, answer=True, source="Zhang et al.")
    paths = [np.log(at_equal_rate(rows)["train_subset_loss"][:, 1:]).mean(axis=1) for rows in runs.values()]
    text = f"At equal effective rate and {small}, the training loss falls along the same curve."
    otherwise = text.replace("the same curve", "different curves")
    yield claim(text, np.exp(paths[1] - paths[0]), above=0.8, below=1.25, scale="log", otherwise=otherwise)
    best = [each[0][-1][np.argmin(np.nan_to_num(each[1][:, -1], nan=np.inf), axis=1)] for each in (plain, momentum)]
    reached = np.where(np.isfinite(ratio[:, -1]), best[1] / best[0], ratio[:, -1])
    text = f"With {full}, the best effective rate is larger with momentum."
    yield claim(text, reached, above=1.5, scale="log")
    width = [range_of_good_rates(*each[:2])[:, -1] for each in (plain, momentum)]
    text = f"With {full}, the range of good rates is wider with momentum."
    yield claim(text, width[1] / width[0], above=1, scale="log", otherwise=text.replace("wider", "no wider"))
