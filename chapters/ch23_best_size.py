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

N = 256 training samples, and the test loss on all test samples. The loss is the judge, because a few seeds and 360 test
images cannot resolve small differences in accuracy. Batch sizes 1 to 256 at nine learning rates, from 0.005 to 1.28.
The network is a small one, with a hidden layer of 64 units, whatever `--model` says: it can be trained with all rates
at once. Each loss is the mean of eight trials with other weights and batches.

- *equal epochs*: 4 epochs, which are 1,024 steps of one sample, and 4 steps of all
- *equal steps*: 32 steps
- *equal time*: the same runs, with steps × the median time of a step on this machine as the clock. They are compared at
  the longest time that all have reached. The loss between two evaluations is interpolated, on logarithms.
- *size of the data*: 64, 128 and 256 samples, for 4 epochs, at the middle rate of 0.08 and the two above it; the
  geometric mean of their best batch sizes. At lower rates the best batch size is 1, the end of the grid.
- *control*: 64 samples for 16 epochs; and the full batch, plain gradient descent, ends every comparison

*Tuned* means: for each batch size and budget the rate with the lowest mean loss of the seeds. The best batch size is
the minimum of a parabola through the lowest three losses, on logarithms.

**Predict.** Is the tuned batch size 1 worse than the best one? Which batch size is best after equal time? Does the
control agree with 64 samples, or with 256?

## Explanation

All numbers are of digits. At equal epochs only η / B matters, as long as no step is unstable: batches of 1 at the rate
0.005 and of 4 at 0.02 both end at 0.42 nats, and all such pairs agree within 1 %. Progress and noise both are in
proportion to η / B. So the lines of the first panel are one curve, shifted to the right by the rate. Their minimum says
which batch size a rate suits.

The middle rate suits batches of about 4, which end at 0.24 nats. Batch size 1 ends at 0.47 nats at this rate, and
learns nothing at the largest. But at 0.02 it ends at 0.24 nats too. The large end has a real limit: with 4 steps, all
the data end above 1 nat at every rate, because longer steps are unstable.

At equal steps and small rates all batch sizes end at nearly the same loss, because only η · steps counts. At large
rates the noise of small batches costs more, so the largest batches are the best.

Equal time depends on the network and the machine. In this small network a step takes 2.7, 23, 38, 131 and 383 µs with
1, 4, 16, 64 and 256 samples. A likely reason, not tested here: the compiler needs no library of matrix products for one
sample. So batch size 1 ends as low as 16 here, at 0.25 and 0.26 nats. It stays open whether a size in between is a
tenth better, because the seeds differ by more than that: batch size 1 has 0.82 to 1.08 times the lowest loss in
between. In the network of the book a step of one sample costs much more (chapter 15): in an earlier version with it,
both ends were more than a tenth worse than 16 and 64.

The best batch size grows from 4.2 to 7.7 when the data grow fourfold. This is not in proportion: the exponent is 0.44
[0.28, 0.59]. It is about the square root of the growth. That is a factor of two, which is the bound of the claim, so
more seeds would probably not settle it. The control, 64 samples for 16 epochs, is at 6.9. This is near the 7.7 of
equally many steps, and far from the 4.2 of the same data, as the limit of progress predicts. The law of Smith and Le is
about generalization after a long training, which this does not test.

On MNIST, with as many samples (`--repeats 4`), both answers are the same: 2.27 [2.14, 2.40] times the loss at the
better end, and 1.002 [0.997, 1.006] times the lowest loss with batch size 1. But at equal time 16 is the best there,
and the better end has 1.28 [1.22, 1.34] times its loss, probably because a step of one sample costs more: 16 % of a
step of 16, and 7 % on digits. The best size follows the steps (1.17 [0.90, 1.51] times); whether it is in proportion to
the rate is open (exponent 0.56 [0.28, 0.85]).

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

The first version trained the book's network, in one trial at five rates. It took two minutes and decided three of nine
claims. After it, the claim that only η / B matters was added, with a bound of a tenth: its result was known. And the
growth with the data was no longer part of the answer.

The small network takes a third of the time for 26 times the trainings. Before its settings were final, three others
were run: 16 epochs, batch sizes with a factor of 2 between them, and one trial. They decided fewer claims. The middle
rate and both next to it were averaged first; at 0.04 the best batch size is 1 for all sizes of the data, so the two
above it were taken. All bounds are as before. Seeds 3 to 5 leave two claims undecided that hold here: batch size 1 with
the rate tuned, at 1.06 [0.90, 1.26] times, and the exponent of the learning rate, at 1.01 [0.58, 1.44]. And they refute
the proportion to the size of the data, with an exponent of 0.36 [0.15, 0.56]. With three seeds (0 to 2) this proportion
was undecided, and batch size 1 was the best after equal time, at 0.78 [0.68, 0.89] times.
"""

import numpy as np

from bstudy import RateGrid, StepTime, claim, plots, power_law_exponent

PART = "IX. Since then"
HELP = {
    "sample_counts": "numbers of training samples that are used; the largest one for the comparison of batch sizes",
    "repeats": "trainings of each kind and seed, with other weights and batches",
    "steps": "number of steps of the comparison at equal steps: a multiple of 4, as the epochs are",
}
CLOCKS = ("epochs", "steps", "time")
RATES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
POINTS = 4  # of evaluation


def experiments(
    batch_sizes=(1, 4, 16, 64, 256), learning_rates=RATES, sample_counts=(64, 128, 256), epochs=4, steps=32, repeats=8
):
    rates, counts = tuple(sorted(learning_rates)), sorted(sample_counts)
    few, samples, shared = counts[0], counts[-1], {"points": POINTS, "trials": repeats}

    def at_each_size(count, length):
        sizes = sorted({min(size, count) for size in batch_sizes})
        return {size: RateGrid(size, rates, samples=length(size), train_samples=count, **shared) for size in sizes}

    def at_equal_epochs(count, epochs=epochs):
        return at_each_size(count, lambda size: epochs * count)

    found = {
        "epochs": at_equal_epochs(samples),
        "steps": at_each_size(samples, lambda size: steps * size),
        "data": {count: at_equal_epochs(count) for count in counts},
        "control": at_equal_epochs(few, epochs * samples // few),
    }
    return found | {"time": StepTime(tuple(found["epochs"]), network="small")}


def rates_of(runs):
    return next(iter(runs["epochs"].values())).experiment.learning_rates


def final_losses(by_size):
    """Return (seeds, rates, batch sizes) the test loss at the end; NaN if a run diverged."""
    return np.stack([run["test_loss"][..., -1] for run in by_size.values()], axis=2)


def losses(runs, clock):
    """Return (seeds, rates, batch sizes) the test loss at the end of a budget; NaN if a run diverged."""
    if clock != "time":
        return final_losses(runs[clock])
    seconds, paths = np.median(runs["time"]["step_seconds"], axis=0), []
    for size, second in zip(runs["epochs"], seconds, strict=True):
        pair = runs["epochs"][size], runs["steps"][size]
        points = np.arange(1, POINTS + 1) / POINTS
        steps = np.concatenate([points * run.experiment.samples / size for run in pair])
        values = np.concatenate([run["test_loss"] for run in pair], axis=2)
        order = np.argsort(steps, kind="stable")
        paths.append((steps[order] * second, np.log(values[:, :, order])))
    end = min(time[-1] for time, _ in paths)
    found = [np.apply_along_axis(lambda row, time=time: np.interp(end, time, row), 2, rows) for time, rows in paths]
    return np.exp(np.stack(found, axis=2))


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


def middle_rates(count):
    """Return the slice of the middle rate and the two above it: at lower ones the smallest batch size is the best."""
    return slice(count // 2, count // 2 + 3)


def best_by_rate(by_size):
    """Return (seeds, rates) the best batch size at equal epochs, at the middle rates."""
    values = final_losses(by_size)
    values = values[:, middle_rates(values.shape[1])]
    return np.stack([best_batch_size(list(by_size), values[:, i]) for i in range(values.shape[1])], axis=1)


def best_of(by_size):
    """Return (seeds,) the best batch size: the geometric mean over the middle rates."""
    return np.exp(np.log(best_by_rate(by_size)).mean(axis=1))


def table(runs):
    """Return the final loss and accuracy of each batch size at its best rate."""
    shown, rates = {}, np.array(rates_of(runs))
    for clock in ("epochs", "steps"):
        best, values = tuned(losses(runs, clock))
        for i, (size, run) in enumerate(runs[clock].items()):
            accuracy = run["test_accuracy"][:, best[i], -1]
            columns = {"best rate": np.full(len(values), rates[best[i]]), "test_loss": values[:, i]}
            shown.setdefault(clock, {})[size] = columns | {"test_accuracy": accuracy}
    return shown


def figure(runs, fig):
    by_rate, by_clock, data = fig.subplots(1, 3)
    sizes, values = list(runs["epochs"]), losses(runs, "epochs")
    middle = values.shape[1] // 2
    for number, i in enumerate(range(max(0, middle - 2), min(middle + 3, values.shape[1]), 2)):
        text = f"learning rate {rates_of(runs)[i]:g}"
        plots.by_batch_size(by_rate, sizes, values[:, i], color=f"C{number}", label=text)
    _, best = tuned(values)
    by_rate.plot(sizes, np.exp(np.log(best).mean(axis=0)), "--", color="gray", linewidth=2, label="tuned")
    by_rate.set(title="equal epochs", ylabel="test loss (nats)")
    if best.mean() > 0:  # NaN if all runs of a batch size diverged
        by_rate.set_ylim(0.8 * best.min(), 4)  # guessing among ten classes costs 2.3
    for clock, color in zip(CLOCKS, ("gray", "C3", "C4"), strict=True):
        ratio = tuned(losses(runs, clock))[1]
        ratio = ratio / np.min(ratio, axis=1, keepdims=True)
        line = "--" if clock == "epochs" else "-"
        plots.by_batch_size(by_clock, sizes, ratio, color=color, linestyle=line, label=f"tuned, equal {clock}")
    by_clock.set(title="tuned", ylabel="times the lowest loss")
    counts, best = np.array(list(runs["data"])), np.stack([best_of(row) for row in runs["data"].values()], axis=1)
    plots.by_batch_size(data, counts, best, color="gray", label="best batch size")
    if best[:, -1].mean() > 0:  # NaN if the runs diverged
        data.plot(counts, np.exp(np.log(best[:, -1]).mean()) * counts / counts[-1], ":", color="gray", label="∝ N")
        data.plot(counts[:1], np.exp(np.log(best_of(runs["control"])).mean()), "s", color="C4", label="control")
    data.set(title="size of the data", xlabel="training samples N", ylabel="best batch size")


def inside(values):
    """Return (seeds,) the lower loss of batch size 1 and all the data over the lowest one in between."""
    return np.fmin(values[:, 0], values[:, -1]) / np.fmin.reduce(values[:, 1:-1], axis=1, initial=np.inf)


def verdicts(runs):
    rates, sizes = rates_of(runs), list(runs["epochs"])
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
    pairs = [
        (grid[:, 0, j], grid[:, i, k])
        for i in range(1, min(3, len(rates)))
        for j, b in enumerate(sizes)
        for k, c in enumerate(sizes)
        if np.isclose(c * rates[0], b * rates[i])
    ]
    if pairs:
        differences = [np.abs(np.log(one / other)) for one, other in pairs]
        text = "At equal epochs and the smallest rates, the loss depends on η / B only."
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
    text = "At equal epochs, the best batch size is in proportion to the learning rate."
    exponent = power_law_exponent(rates[middle_rates(len(rates))], best_by_rate(runs["epochs"]))
    yield claim(text, exponent, above=0.7, below=1.3, unit="as exponent", source="Smith and Le")
