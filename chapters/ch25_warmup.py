"""# Does warm-up let a larger learning rate survive?

Large batches need large learning rates (chapter 22), and large learning rates diverge. Goyal et al. (2017) let the
rate grow over the first five epochs: on ImageNet, with batches of 8,192, the error is 23.74 % with this *warm-up* and
24.84 % without. Why? Gilmer et al. (2021) find that it leads training out of "regions of high curvature and into
flatter regions that tolerate a higher learning rate". Kalra and Barkeshli (2024) report that its "overwhelming
benefit" is that the network tolerates a larger rate, and that this depends on whether training starts by getting
sharper or by getting flatter.

## Idea

Along the steepest direction, with curvature λ (chapter 13), a step of gradient descent multiplies the deviation by 1 −
η λ. It grows if

    η > 2 / λ

This does not have to be the end. The growing deviation throws the weights to a place where λ is smaller: a *catapult*
(Lewkowycz et al. 2020). Only if it grows faster than λ falls, training diverges. With a warm-up of W steps, step t has
the rate

    η(t) = η · min(1, t / W)

so 2 / η(t) comes down slowly, and λ can give way in many small catapults in place of one large. This helps only if the
start is the sharpest place on the way. If training at a small rate becomes *sharper* first ("progressive sharpening",
Cohen et al. 2021), the limit comes later, and a warm-up only postpones it.

## Experiment

Trainings of 60 steps at eight learning rates, each 1.26 times the one before, without warm-up and with 6 and 30 steps
of it. All start from the same weights, with the same batches. A training *survives* if its loss stays finite and ends
below half of ln 10, the loss of a model that guesses. The *limit* of a seed lies between the last rate that survives
and the first that does not: if n rates survive, it is the geometric mean of the rates n and n + 1.

- *usual start*: batches of 128; *small batch*: batches of 16
- *sharper start*: batches of 128, all initial kernels multiplied by 2. Here λ starts high, as the explanation of
  Gilmer et al. needs it.
- *control*: no warm-up, and as many steps. So all that differs is the rate of the first steps.

**Predict.** By which factor does a warm-up raise the limit: at the usual start, and at the sharper one?

## Explanation

At the usual start nothing moves: on digits 3 of 3 seeds survive up to η = 1.0, 1 of 3 at 1.25 and none at 1.6, with
and without warm-up. Single seeds change sides, so three seeds cannot exclude a small gain; they exclude a doubling.
The longer warm-up survives exactly what the shorter one does.

The reason is in the start. λ is about 7 there, so 2 / λ is 0.28. Without any warm-up, training survives four times
that: the first steps are catapults. A likely reason, not tested here: the gradient of the cross-entropy with respect
to the logits is bounded, so a deviation does not grow as on a parabola, and λ has the time to fall. After 30 steps of
warm-up λ is 3 to 11 at all rates, hardly less than at the start. So the start is not the sharpest place, and what ends
training at 1.6 is not the start. Kalra and Barkeshli describe this case too: choosing the first rate so that it
catapults can make a warm-up unnecessary.

At the sharper start λ is 150 to 210. A warm-up has something to do there: all of its ends have a λ below 50. The limit
rises from 0.66 to 0.83 in the mean, but it differs so much between seeds that three do not decide it. And even here
the catapult does most of the work: without a warm-up, training survives more than fifty times 2 / λ.

With batches of 16 the limit is lower, since single batches are sharper than their mean (chapter 13), and warm-up does
not raise it visibly. Gilmer et al. report that a warm-up stabilizes training as much as normalization layers or a
better initialization. This network of three layers needs neither, so this chapter cannot show that.

## In practice

If training diverges in its first steps, look at the initialization, and try a warm-up: it costs little. If it diverges
later, a warm-up does not help; lower the learning rate.

## Exercises

1. λ is about 7 at the usual start. At which learning rate does a step first increase the deviation?

   > At 2 / 7 = 0.28.

2. How much does multiplying all kernels by 2 change the output of a network with three layers and no biases?

   > The output is 2³ = 8 times as large, and the derivative of the output with respect to one kernel 2² = 4 times.

3. Make the warm-up as long as nine tenths of the training: `bstudy chapter 25 --warmup-steps 6,54`. What can you not
   conclude if it survives?

   > That the full rate would have survived: it was used in six steps only.

## Sources

- Goyal et al. (2017), [Accurate, large minibatch SGD](https://arxiv.org/abs/1706.02677): gradual warm-up, table 1
- Gilmer et al. (2021), [A loss curvature perspective on training instability](https://arxiv.org/abs/2110.04369)
- Kalra and Barkeshli (2024), [Why warmup the learning rate?](https://arxiv.org/abs/2406.09405)
- Lewkowycz et al. (2020), [The large learning rate phase of deep learning](https://arxiv.org/abs/2003.02218):
  catapults
- Cohen et al. (2021), [Gradient descent typically occurs at the edge of stability](https://arxiv.org/abs/2103.00065)

## History

- A pilot with seed 7, which is not counted, and learning rates in factors of two located the limits: between 0.8 and
  1.6 at the usual start, and between 0.4 and 1.6 at the sharper one. At the usual start no warm-up changed which rates
  survived batches of 128 or 256; at the sharper one only 6 steps of it survived 0.8; batches of 16 survived 0.8
  without and with 8 steps, and not with 32. The grid and all bounds were then fixed, and not changed since. After the
  run, two trials a seed were begun to decide more, and stopped for their cost before a result was read.
- Chapter 20 had a warm-up until version 0.2. At the learning rate 0.05, scaled to 0.8 for batches of 1024, 3 of 3
  seeds diverged on MNIST without warm-up, and 2 of 3 with five epochs of it (in epochs 6 and 5, when the full rate was
  reached). The rate was then lowered to 0.03, where no seed diverged and the warm-up was not needed. What is found
  here agrees with that: near the limit a warm-up postpones the divergence, and saves a seed at most. It was not
  repeated on MNIST.
"""

import numpy as np

from bstudy import Survival, claim, plots

PART = "IX. Since then"
HELP = {
    "warmup_steps": "lengths of the warm-up that are compared with none, in steps",
    "steps": "number of steps of each training",
    "kernel_scale": "factor of the initial kernels at the sharper start",
}
COLORS = {"usual start": "C0", "sharper start": "C1"}


def experiments(
    small_batch_size=16,
    large_batch_size=128,
    learning_rates=(0.32, 0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6),
    warmup_steps=(6, 30),
    steps=60,
    kernel_scale=2.0,
):
    grid = learning_rates, (0, *warmup_steps), steps
    return {
        "usual start": Survival(large_batch_size, *grid),
        "sharper start": Survival(large_batch_size, *grid, kernel_scale),
        "small batch": Survival(small_batch_size, *grid),
    }


def limits(run):
    """Return (seeds, warm-ups) the limit: NaN if no learning rate survived, the largest one if all did."""
    rates = np.array(run.experiment.learning_rates)
    between = [np.nan, *np.sqrt(rates[1:] * rates[:-1]), rates[-1]]  # by the number of rates that survived
    counts = run["survived"].sum(axis=2)
    return np.where(np.isnan(counts), np.nan, np.take(between, np.nan_to_num(counts).astype(int)))


def sharpness_after_warmup(run):
    """Return (seeds, learning rates) λ at the end of the longest warm-up; NaN if the training did not survive."""
    return np.where(run["survived"][:, -1] == 1, run["eigenvalue"], np.nan)


def exponent(run):
    """Return (seeds,) the exponent of λ after the warm-up as a power of η, over the rates that survived."""
    rates, exponents = np.log(run.experiment.learning_rates), []
    for row in np.log(sharpness_after_warmup(run)):
        usable = np.isfinite(row)
        exponents.append(np.polyfit(rates[usable], row[usable], 1)[0] if usable.sum() > 1 else np.nan)
    return np.array(exponents)


def figure(runs, fig):
    *grids, sharp = fig.subplots(2, 2).flat
    for axes, (name, run) in zip(grids, runs.items(), strict=True):
        survived, cells = run["survived"], {}
        for i, steps in enumerate(run.experiment.warmup_steps):
            for j, rate in enumerate(run.experiment.learning_rates):
                count = survived[:, i, j].sum()
                cells[str(steps), f"{rate:g}"] = count, f"{count:.0f}"
        plots.heatmap(axes, cells, f"survive, of {len(survived)}")
        axes.set(title=f"{name}, B = {run.experiment.batch_size}")
        axes.set(xlabel="learning rate η", ylabel="warm-up W (steps)")
    for name, color in COLORS.items():
        run = runs[name]
        curves, rates = sharpness_after_warmup(run), np.array(run.experiment.learning_rates)
        first, *_ = sharp.plot(rates, curves.T, "o-", color=color, linewidth=1, markersize=3)
        first.set_label(name)
        for start in run["initial_eigenvalue"]:
            plots.note(sharp.axhline(start, color=color, linestyle=":", linewidth=1), "dotted: λ at the start")
    sharp.plot(rates, 2 / rates, "--", color="gray", label="2 / η")
    steps = run.experiment.warmup_steps[-1]
    sharp.set(title=f"λ after {steps} warm-up steps")
    sharp.set(xlabel="learning rate η", ylabel="sharpness λ", xscale="log", yscale="log")


def verdicts(runs):
    usual, sharper, small = (runs[name] for name in ("usual start", "sharper start", "small batch"))
    raised = {name: limits(run)[:, -1] / limits(run)[:, 0] for name, run in runs.items()}
    size, ratio = usual.experiment.batch_size, {"above": 1.1, "scale": "log"}
    text = f"Warm-up lets batches of {size} survive larger learning rates."
    yield claim(
        text,
        raised["usual start"],
        otherwise=f"Warm-up does not let batches of {size} survive larger learning rates.",
        answer=True,
        source="Goyal et al.",
        advice=(
            "If training diverges at the learning rate of a large batch, try a warm-up.",
            "If training diverges at the learning rate of a large batch, lower the rate.",
        ),
        **ratio,
    )
    text = "It does so from a sharper start, with larger initial kernels."
    otherwise = "From a sharper start, with larger initial kernels, it does not."
    source = "Gilmer et al."
    yield claim(text, raised["sharper start"], otherwise=otherwise, answer=True, source=source, **ratio)
    first, last = limits(usual)[:, 1:][:, [0, -1]].T
    text = "The longest warm-up lets larger rates survive than the shortest."
    yield claim(text, last / first, otherwise=text.replace("lets", "does not let"), **ratio)
    text = f"Warm-up helps batches of {small.experiment.batch_size} less."
    yield claim(text, raised["small batch"] / raised["usual start"], below=1, scale="log", source="Goyal et al.")
    over = limits(usual)[:, 0] * usual["initial_eigenvalue"] / 2
    text, unit = "Without warm-up, rates above 2 / λ of the start survive.", "times 2 / λ"
    yield claim(text, over, above=1, scale="log", unit=unit, source="Lewkowycz et al.")
    after, start = sharpness_after_warmup(usual)[:, 0], usual["initial_eigenvalue"]
    text = "At the usual start and the smallest rate, the loss gets sharper during the warm-up."
    yield claim(text, after / start, above=1, scale="log", otherwise=text.replace("sharper", "flatter"))
    after, start = sharpness_after_warmup(sharper)[:, 0], sharper["initial_eigenvalue"]
    text, source = "At the sharper start it gets flatter, even at the smallest rate.", "Kalra and Barkeshli"
    yield claim(text, after / start, below=1, scale="log", source=source)
    text = "The larger the rate, the flatter is the end of the warm-up."
    yield claim(text, exponent(usual), below=0, unit="as exponent of η", source=source)
    ends = [run["survived"][:, :, [0, -1]] for run in runs.values()]
    outside = np.max([np.maximum(1 - end[:, :, 0], end[:, :, 1]).max(axis=1) for end in ends], axis=0)
    text = "All limits lie between the smallest and the largest learning rate."
    yield claim(text, outside, below=0.5, unit="1 if one does not", otherwise="Some limits lie outside of the grid.")
