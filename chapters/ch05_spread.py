"""# Do the norms of larger batches vary more?

Small batches are known to be noisy. Yet in the trials of chapter 4 Shen (2018) finds the opposite: "For the same
average Euclidean norm distance from the initial weights of the model, larger batch sizes have larger variance in the
distance." Shen leaves open which function of the batch size this is, and why.

## Idea

G is the mean gradient of a trial. The relative spread is its standard deviation over trials, compared with its mean:

    s(B) = s.d.(‖G‖) / mean(‖G‖)

Shen scales the norms of every batch size to the mean at 1024, which leaves s unchanged. If s were a power of B, its
*local exponent* between neighboring batch sizes, ln(s₂ / s₁) / ln(B₂ / B₁), would be the same everywhere.

A reason why follows from the formula of chapter 4. Draws of 1024 samples differ most in steep directions. Many steps
shrink these, so that G is similar for all draws; one step shrinks nothing. This is called contraction. In the formula,
only the product of learning rate η and number of steps n counts. So contraction makes two predictions: equal η · n
gives equal spread, and if η goes to 0, all batch sizes vary alike.

## Experiment

The trials of chapter 4: the same start, and the same samples for all batch sizes. Each trial draws other samples;
nothing else is random. In addition, batches of 32 with 1/4 and 1/256 of the learning rate: with 1/4, their η · n is
that of batches of 128. The *difference* is ln s(1024) − ln s(32) at the full learning rate, as a mean over seeds. A
tenth of it is the margin.

**Predict.** Which batch sizes vary less, and does the learning rate of the trial matter?

## Explanation

With frozen weights all batch sizes vary alike, because each has the same 1024 samples to average. What sets them apart
is the way. On MNIST, s grows from 1.9 % at 2 to 14.3 % at 1024 early, and from 3.1 % to 19.6 % late; on digits from
0.6 % to 2.1 %, and from 0.9 % to 1.4 %. With 1/256 of the learning rate the difference disappears, and with 1/4 batches
of 32 vary like those of 128 (diamonds in the right panel): on digits, from 32 on, contraction is the reason.

On MNIST the curve is no power of B: the local exponent lies between 0.10 and 0.52 early, with its maximum from 128 to
512, and falls from 0.40 to 0.09 late. On digits it is none late: s falls from 0.9 % at 2 to 0.6 % at 8 before it grows.
Early this stays open (0.1 [−1.3, 1.5] of the whole exponent): the seeds differ by more than the whole exponent. The
formula leaves out that small batches differ from each other; the noise of their steps adds spread. So "small batches
are noisy" and "large batches vary more" are both true. The first is about one batch (chapter 14), the second about all
steps over the same samples.

Shen guesses that the samples cause the spread, and not the random seed. At 1024 this is certain: the order of the
samples does not change a single step.

With a small convolutional network (cnn) on digits the curve is no power either, early and late, but it has no dip: it
is steep up to 32 (early from 1.9 % to 6.9 %) and almost flat above (8.6 % at 1024).

With the cnn on MNIST early trials are as the others: s grows from 3.9 % at 2 to 16 % at 1024. Late ones are not: s is
15 % at 2, largest at 128 (88 % in the mean of three seeds, which differ widely) and 20 % at 1024, as with a small
learning rate. With a quarter of the rate, 32 varies by 13 % and not by 45 %. So some steps between are too long there,
probably for the curvature. The claims on s stay open in this setting: three seeds differ too much.

## In practice

To compare runs of different batch sizes, use the same samples and several draws. One large step depends on its draw
more than many small ones.

## Exercises

1. If the learning rate of the trials is four times smaller, which batch size has the spread that 32 has now?

   > Contraction says 8: four times the steps, at a quarter of the rate. Any other result is due to the noise of single
   > steps. The test: `bstudy chapter 5 --trial-learning-rate 0.0025`.

2. s is estimated from 8 trials. How uncertain is it, and what changes with 50 (`bstudy chapter 5 --trials 50`)?

   > For n normal numbers the standard deviation has a relative error of about 1 / √(2n − 2): 27 % for 8, 10 % for 50.
   > The same samples for all batch sizes make ratios of spreads more certain than that.

3. Can the contraction be undone by more samples in a trial?

   > No. More samples average the draw away for all batch sizes, as 1 / √samples, but they also are more steps for each
   > batch size, so that small batches contract even more.

## Sources

- Shen (2018), [Effect of batch size on training dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e),
  the second finding on gradients: 1000 trials, scaled by μ₁₀₂₄ / μ_B.

## History

Version 0.1 fitted one power to 15 batch sizes (MNIST: exponents 0.30 early, 0.31 late) although the curve bends, and
did not test contraction. Its comparison with a single frozen batch is now in chapter 14. The margin here was first a
tenth of each seed's own difference (digits, early: −0.16 [−0.66, 0.34], undecided); as one seed has almost no
difference, their mean counts now. The claim on very small rates first averaged a quarter and a sixteenth of the rate,
and the test of one power was another one; both were changed after a run on digits. With three seeds on digits one power
was undecided late too.
"""

import numpy as np

from bstudy import GradientTrials, Recipe, claim, map_leaves, plots

PART = "II. Gradients"
SIZES = (2, 8, 32, 128, 512, 1024)


def experiments(
    trials=8, batch_sizes=SIZES, large_batch_size=1024, early_epochs=2, late_epochs=30, trial_learning_rate=0.01
):
    middle = sorted(batch_sizes)[(len(batch_sizes) - 1) // 2]

    def after(epochs):
        def measured(divisor, sizes):
            trained = Recipe.sgd(large_batch_size, 0.01, epochs)
            return GradientTrials(trained, sizes, trials, learning_rate=trial_learning_rate / divisor)

        slower = {f"learning rate / {divisor}": measured(divisor, (middle,)) for divisor in (4, 256)}
        return {"trials": measured(1, batch_sizes)} | slower

    return {"early": after(early_epochs), "late": after(late_epochs)}


def spread(run):
    """Return (seeds, batch sizes) the standard deviation of ‖G‖ over its mean."""
    return run["norm"].std(axis=2, ddof=1, dtype=float) / run["norm"].mean(axis=2, dtype=float)


def clock(run):
    """Return (batch sizes,) learning rate × steps of a trial."""
    return run.experiment.learning_rate * run.experiment.samples / np.array(run.experiment.batch_sizes)


def deviation(run, curve):
    """Return (seeds,) the distance of ln s from the curve at equal learning rate × steps, as a part of the difference.

    Beyond the end of the curve, its last point counts.
    """
    at, x, y = -np.log(clock(run)), -np.log(clock(curve)), np.log(spread(curve))
    expected = [np.interp(at, x, of_seed)[0] for of_seed in y]
    middle = curve.experiment.batch_sizes.index(*run.experiment.batch_sizes)
    return (np.log(spread(run)[:, 0]) - expected) / (y[:, -1] - y[:, middle]).mean()


def table(runs):
    def columns(run):
        return {f"B = {size}, %": 100 * spread(run)[:, i] for i, size in enumerate(run.experiment.batch_sizes)}

    return map_leaves(columns, runs)


def figure(runs, fig):
    by_size, local, by_clock = fig.subplots(1, 3)
    local.sharex(by_size)
    for color, (when, rates) in zip(("C0", "C1"), runs.items(), strict=True):
        curve, *slower = rates.values()
        sizes, percent = np.array(curve.experiment.batch_sizes), 100 * spread(curve)
        plots.by_batch_size(by_size, sizes, percent, color=color, label=when)
        exponents = np.diff(np.log(percent)) / np.diff(np.log(sizes))
        local.stairs(exponents.mean(axis=0), sizes, baseline=None, color=color, linewidth=2)
        by_clock.semilogx(clock(curve), percent.mean(axis=0), color=color)
        points = [(clock(run), 100 * spread(run).mean()) for run in slower]
        (drawn,) = by_clock.plot(*zip(*points, strict=True), "D", color=color)
        plots.note(drawn, f"diamonds: B = {slower[0].experiment.batch_sizes[0]}, smaller learning rates")
        plots.note(by_clock.axhline(percent[:, -1].mean(), color=color, linestyle=":"), "dotted: a single step")
    by_size.set(title="spread s", ylabel="s (%)")
    local.set(title="local exponent", ylabel="slope of ln s against ln B", xlabel="batch size B")
    by_clock.set(title="one clock", ylabel="s (%)", xlabel=plots.CLOCK)
    by_clock.set_ylim(bottom=0)


def verdicts(runs):
    rates = {when: list(by_rate.values()) for when, by_rate in runs.items()}  # the curve, then smaller learning rates
    spreads = {when: spread(curve) for when, (curve, *_) in rates.items()}
    sizes, (middle,) = (run.experiment.batch_sizes for run in rates["late"][:2])
    small, large, at = sizes[0], sizes[-1], sizes.index(middle)
    yield claim(
        f"Relative to their mean, the norms of batches of {large} vary more than those of {small}.",
        np.min([each[:, -1] / each[:, 0] for each in spreads.values()], axis=0),  # of early and late
        above=1,
        scale="log",
        otherwise=f"Relative to their mean, the norms of batches of {large} vary no more than those of {small}.",
        answer=True,
        source="Shen",
    )
    yield claim(
        "With a very small learning rate, all vary alike.",
        np.max([-deviation(smallest, curve) for curve, _, smallest in rates.values()], axis=0),
        below=0.1,
        otherwise="With a very small learning rate, a difference remains.",
        answer=True,
        unit="of the difference is left",
    )
    for when, (curve, slower, _) in rates.items():
        text = f"At equal learning rate × steps, B = {middle} varies like the larger batch sizes, {when} (deviation)."
        yield claim(text, deviation(slower, curve), above=-0.1, below=0.1, unit="of the difference")
    for when, each in spreads.items():
        below = np.log(each[:, at] / each[:, 0]) / np.log(middle / small)
        above = np.log(each[:, -1] / each[:, at]) / np.log(large / middle)
        whole = np.log(each[:, -1] / each[:, 0]) / np.log(large / small)
        text = f"One power of B describes it, {when} (exponent above B = {middle} − exponent below)."
        yield claim(text, (above - below) / whole.mean(), above=-0.1, below=0.1, unit="of the whole exponent")
    raw = [curve["norm"].std(axis=2, ddof=1, dtype=float) for curve, *_ in rates.values()]
    ratio = np.min([each[:, -1] / each[:, 0] for each in raw], axis=0)
    yield claim("Not divided by their mean, they vary more too.", ratio, above=1, scale="log", source="Shen")
