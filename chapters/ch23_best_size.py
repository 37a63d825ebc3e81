"""# Is there a best batch size between 1 and all the data?

Shen (2018) says so, of neural networks: "we know a batch size of 1 usually works quite poorly", and there is a "sweet
spot" between 1 and the whole training set, which depends on the data and the model. Smith and Le (2018) give a law: at
a fixed learning rate η the best batch size is in proportion to η N, with N the number of training samples. The article
of chapter 15 advises to start with small batches if the data are few, and with large ones if they are many.

## Idea

"Best" needs a budget. An epoch of small batches has more steps, and takes longer, so the best batch size after equal
epochs, equal steps and equal time can differ. It also needs a rule for the learning rate. Take E epochs at one rate η:

    progress:  η · steps = η E N / B    must be long enough, so B must not be too large (chapter 9)
    noise:     the variance of a step's noise ∝ η / B, so B must not be too small (chapter 24)

At one rate the best batch size is a compromise, and both limits move in proportion to η: a best batch size at one rate
may only say which batch size this rate suits. So the rate has to be tuned for each batch size. The limit of progress
is also in proportion to E N. This gives the law of Smith and Le for a fixed E, but another reason than theirs, which is
the noise η N / B. A test tells the two apart: a quarter of the data for four times the epochs has equal steps.

## Experiment

N = 256 training samples, and the test loss on all test samples. The loss is the judge, because three seeds and 360 test
images cannot resolve small differences in accuracy. Batch sizes 1 to 256 at five learning rates, from 0.005 to 1.28.

- *equal epochs*: 4 epochs, which are 1,024 steps of one sample, and 4 steps of all
- *equal steps*: 32 steps. If these need less than an epoch, it is one epoch over the first 32 B samples.
- *equal time*: the same runs, with steps × the median time of a step on this machine as the clock. They are compared at
  the longest time that all have reached. The loss between two evaluations is interpolated, on logarithms.
- *size of the data*: 64, 128 and 256 samples, for 4 epochs at the middle rate of 0.08
- *control*: 64 samples for 16 epochs; and the full batch, plain gradient descent, ends every comparison

*Tuned* means: for each batch size and budget the rate with the lowest mean loss of the seeds. The best batch size is
the minimum of a parabola through the lowest three losses, on logarithms.

**Predict.** Is the tuned batch size 1 worse than the best one? Which batch size is best after equal time? Does the
control agree with 64 samples, or with 256?

## Explanation

All numbers are of digits. At equal epochs only η / B matters, as long as no step is unstable: batches of 1 at the rate
0.005 and of 4 at 0.02 both end at 0.27 nats, and all such pairs of the two lowest rates agree within 3 %. Progress and
noise both are in proportion to η / B. So the lines of the first panel are one curve, shifted to the right by the rate.
Their minimum says which batch size a rate suits.

The middle rate suits batches of 4 to 16. Batch size 1 ends above 1 nat at this rate, and diverges at the largest. But
at 0.02 it ends at about 0.18 nats, and three seeds do not tell this from the best of the others. The large end has a
real limit: with 4 steps, all the data end above 1 nat at every rate, because longer steps are unstable.

At equal steps and small rates all batch sizes end at the same loss, because only η · steps counts. At large rates the
noise of small batches costs more, so the largest batches are the best. Equal time is in between, with the best tuned
losses at 16 and 64: there both ends are more than a tenth worse.

The best batch size grows from about 3 to about 7 when the data grow fourfold, but the interval is wide: three seeds do
not tell growth in proportion from slower growth. The control, 64 samples for 16 epochs, is at 6. This is nearer to the
7 of equally many steps than to the 3 of the same data, as the limit of progress predicts, but its interval includes
both. The law of Smith and Le is about generalization after a long training, which this does not test.

## In practice

Do not search for a best batch size at one learning rate. Take a batch that uses your machine well (chapter 15), tune
the rate for it, and do not let it grow beyond the point where the epochs have too few steps.

## Exercises

1. A run is limited by progress. The data double, the epochs stay. What happens to the best batch size, and what if the
   epochs are halved instead?

   > η E N / B must stay the same, so the best batch size doubles in the first case, and halves in the second.

2. Which batch size does a larger learning rate suit? Compare the lines of the first panel.

   > A larger one. Both limits are in proportion to the rate, so the minimum of each line is further to the right.

3. Train longer: run `bstudy chapter 23 --epochs 16`. Which way does the best batch size at one rate move?

   > Larger batches finish as well then, so the minimum moves to the right and becomes flat.

## Sources

- Shen (2018), [Effect of batch size on training
  dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e), the introduction
- Smith and Le (2018), [A Bayesian perspective on generalization and stochastic gradient
  descent](https://arxiv.org/abs/1710.06451), the abstract: the noise scale ε (N / B − 1) and B_opt ∝ ε N, with ε the
  learning rate
- "Deep learning batch size", a web article without author or date: "Optimal batch size guidelines"

## History

After the first run two things changed. The claim that only η / B matters was added, with a bound of a tenth: its result
was known. And the growth with the data, undecided then and now, is no longer part of the answer. All other settings and
bounds are as before the run.
"""

import numpy as np

from bstudy import Recipe, claim, plots, power_law_exponent

PART = "IX. Since then"
HELP = {
    "sample_counts": "numbers of training samples that are used; the largest one for the comparison of batch sizes",
    "steps": "number of steps of the comparison at equal steps",
}
CLOCKS = ("epochs", "steps", "time")


def experiments(
    batch_sizes=(1, 4, 16, 64, 256),
    learning_rates=(0.005, 0.02, 0.08, 0.32, 1.28),
    sample_counts=(64, 128, 256),
    epochs=4,
    steps=32,
):
    rates, counts = sorted(learning_rates), sorted(sample_counts)
    few, samples, middle = counts[0], counts[-1], rates[len(rates) // 2]

    def each_size(limit, make):
        return {size: make(size) for size in sorted({min(size, limit) for size in batch_sizes})}

    def at_equal_epochs(rate, count, epochs=epochs):
        return each_size(count, lambda size: Recipe.sgd(size, rate, epochs, samples=count))

    def at_equal_steps(rate):
        def make(size):
            return Recipe.sgd(size, rate, max(1, steps * size // samples), samples=min(steps * size, samples))

        return each_size(samples, make)

    return {
        "epochs": {rate: at_equal_epochs(rate, samples) for rate in rates},
        "steps": {rate: at_equal_steps(rate) for rate in rates},
        "data": {count: at_equal_epochs(middle, count) for count in counts},
        "control": at_equal_epochs(middle, few, epochs * samples // few),
    }


def step_seconds(runs):
    """Return {batch size: the median time of a step over rates, seeds and epochs}."""
    times = {}
    for row in [*runs["epochs"].values(), *runs["steps"].values()]:
        for size, run in row.items():
            each = run["seconds"] / np.diff(run.experiment.steps(run.samples))
            times.setdefault(size, []).append(each.ravel())
    return {size: np.nanmedian(np.concatenate(values)) for size, values in times.items()}


def losses(runs, clock):
    """Return (seeds, rates, batch sizes) the test loss at the end of a budget; NaN if a run diverged."""
    if clock != "time":
        final = [[run["test_loss"][:, -1] for run in row.values()] for row in runs[clock].values()]
        return np.transpose(final, (2, 0, 1))
    seconds, paths = step_seconds(runs), []
    for rate, row in runs["epochs"].items():
        for size, run in row.items():
            pair = run, runs["steps"][rate][size]
            steps = np.concatenate([each.experiment.steps(each.samples) for each in pair])
            values = np.concatenate([each["test_loss"] for each in pair], axis=1)
            order = np.argsort(steps, kind="stable")
            paths.append((steps[order] * seconds[size], np.log(values[:, order])))
    end = min(time[-1] for time, _ in paths)
    found = np.array([[np.interp(end, time, row) for row in values] for time, values in paths])
    return np.exp(found).T.reshape(found.shape[1], len(runs["epochs"]), -1)


def tuned(values):
    """Return (sizes,) the index of the best rate, by the mean over seeds, and (seeds, sizes) the losses there."""
    best = np.argmin(np.nan_to_num(np.log(values).mean(axis=0), nan=np.inf), axis=0)
    return best, np.take_along_axis(values, best[None, None], axis=1)[:, 0]


def best_batch_size(sizes, values):
    """Return (seeds,) the minimum of a parabola through the lowest three losses, on logarithms."""
    x, found = np.log(sizes), []
    for row in np.nan_to_num(np.log(values), nan=np.inf):
        i = np.argmin(row)
        near = slice(max(0, i - 1), i + 2)
        a, b, _ = np.polyfit(x[near] - x[i], row[near], 2) if np.isfinite(row[near]).sum() == 3 else (1, 0, 0)
        found.append(np.exp(x[i] - b / (2 * a)) if np.isfinite(row[i]) else np.nan)
    return np.array(found)


def best_of(row):
    """Return (seeds,) the best batch size of {batch size: Runs} at equal epochs."""
    return best_batch_size(list(row), np.stack([run["test_loss"][:, -1] for run in row.values()], axis=1))


def table(runs):
    """Return the final loss and accuracy of each batch size at its best rate."""
    shown = {}
    for clock in ("epochs", "steps"):
        best, _ = tuned(losses(runs, clock))
        rates, sizes = list(runs[clock]), list(next(iter(runs[clock].values())))
        for size, rate in zip(sizes, (rates[i] for i in best), strict=True):
            run = runs[clock][rate][size]
            columns = {name: run[name][:, -1] for name in ("test_loss", "test_accuracy")}
            shown.setdefault(clock, {}).setdefault(rate, {})[size] = columns
    return shown


def figure(runs, fig):
    *panels, data = fig.subplots(2, 2).ravel()
    sizes = list(next(iter(runs["epochs"].values())))
    for axes, clock in zip(panels, CLOCKS, strict=True):
        values = losses(runs, clock)
        for i, rate in enumerate(runs["epochs"]):
            plots.by_batch_size(axes, sizes, values[:, i], color=f"C{i}", label=f"learning rate {rate:g}")
        _, best = tuned(values)
        axes.plot(sizes, np.exp(np.log(best).mean(axis=0)), "--", color="gray", linewidth=2, label="tuned")
        axes.set_title(f"equal {clock}", pad=14)  # above the marks
        axes.set(ylabel="test loss (nats)")
        if best.mean() > 0:  # NaN if all runs of a batch size diverged
            axes.set_ylim(0.7 * best.min(), 4)  # guessing among ten classes costs 2.3
    counts, best = np.array(list(runs["data"])), np.stack([best_of(row) for row in runs["data"].values()], axis=1)
    plots.by_batch_size(data, counts, best, color="C2", label="best batch size")
    if best[:, -1].mean() > 0:  # NaN if the runs diverged
        data.plot(counts, np.exp(np.log(best[:, -1]).mean()) * counts / counts[-1], ":", color="gray", label="∝ N")
        data.plot(counts[:1], np.exp(np.log(best_of(runs["control"])).mean()), "s", color="C3", label="control")
    data.set(title="size of the data", xlabel="training samples N", ylabel="best batch size")


def inside(values):
    """Return (seeds,) the lower loss of batch size 1 and all the data over the lowest one in between."""
    return np.fmin(values[:, 0], values[:, -1]) / np.fmin.reduce(values[:, 1:-1], axis=1, initial=np.inf)


def verdicts(runs):
    rates = list(runs["epochs"])
    sizes = list(next(iter(runs["epochs"].values())))
    grid = losses(runs, "epochs")
    _, tuned_epochs = tuned(grid)
    yield claim(
        "At one learning rate the best batch size lies between 1 and all the data.",
        inside(grid[:, len(rates) // 2]),
        above=1.1,
        scale="log",
        unit="times its loss at the better end",
        otherwise="At one learning rate the best batch size is 1 or all the data.",
        answer=True,
        source="Shen",
    )
    yield claim(
        f"With the rate tuned, batch size {sizes[0]} is as good as any.",
        tuned_epochs[:, 0] / np.min(tuned_epochs, axis=1),
        below=1.1,
        scale="log",
        unit="times the lowest loss",
        otherwise=f"Also with the rate tuned, batch size {sizes[0]} ends worse.",
        answer=True,
        advice=(
            "Tune the learning rate before you call a batch size too small.",
            "Avoid batches of one sample, also with a tuned learning rate.",
        ),
    )
    yield from verdicts_of_law(runs, sizes, rates, grid)
    _, values = tuned(losses(runs, "steps"))
    text = "Tuned and at equal steps, all the data are as good as any batch."
    otherwise = "Tuned and at equal steps, a smaller batch is better than all the data."
    ratio = values[:, -1] / np.min(values, axis=1)
    yield claim(text, ratio, below=1.1, scale="log", unit="times the lowest loss", otherwise=otherwise)
    _, values = tuned(losses(runs, "time"))
    text = "Tuned and at equal time, the best batch size lies between 1 and all the data."
    otherwise = "Tuned and at equal time, batch size 1 or all the data are as good as any in between."
    unit = "times its loss at the better end"
    yield claim(text, inside(values), above=1.1, scale="log", unit=unit, otherwise=otherwise)


def verdicts_of_law(runs, sizes, rates, grid):
    """Yield the claims on how the best batch size depends on the learning rate, the data and the steps."""
    counts = list(runs["data"])
    pairs = [(j, k) for j, b in enumerate(sizes) for k, c in enumerate(sizes) if np.isclose(c * rates[0], b * rates[1])]
    if pairs:
        differences = [np.abs(np.log(grid[:, 0, j] / grid[:, 1, k])) for j, k in pairs]
        text = "At equal epochs and the two lowest rates, the loss depends on η / B only."
        yield claim(text, np.exp(np.max(differences, axis=0)), below=1.1, scale="log", unit="times at most")
    best = {count: best_of(row) for count, row in runs["data"].items()}
    growth = best[counts[-1]] / best[counts[0]]
    text, otherwise = "The best batch size grows with the data.", "The best batch size does not grow with the data."
    yield claim(text, growth, above=2, scale="log", otherwise=otherwise, source="Smith and Le")
    exponent = np.log(growth) / np.log(counts[-1] / counts[0])
    text = "At equal epochs and one rate, the best batch size is in proportion to the size of the data."
    yield claim(text, exponent, above=0.7, below=1.3, unit="as exponent", source="Smith and Le")
    text = "It follows the steps, not the data: few data for as many steps have the best batch size of all."
    otherwise = "It follows the data, not the steps: few data for as many steps have another best batch size."
    ratio = best_of(runs["control"]) / best[counts[-1]]
    yield claim(text, ratio, above=0.5, below=2, scale="log", otherwise=otherwise)
    by_rate = np.stack([best_batch_size(sizes, grid[:, i]) for i in range(1, len(rates) - 1)], axis=1)
    text = "At equal epochs, the best batch size is in proportion to the learning rate."
    exponent = power_law_exponent(rates[1:-1], by_rate)
    yield claim(text, exponent, above=0.7, below=1.3, unit="as exponent", source="Smith and Le")
