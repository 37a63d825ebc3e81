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

This paragraph is written before the run. If the start is the sharpest place, the limit without warm-up is some
multiple of 2 / λ there, and a warm-up raises it.

## In practice

Try a warm-up if training diverges in its first steps. If it diverges later, lower the learning rate.

## Exercises

1. λ is 7.5 at the usual start. At which learning rate does a step first increase the deviation?

   > At 2 / 7.5 = 0.27.

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

A pilot with seed 7, which is not counted, and learning rates in factors of two located the limits: between 0.8 and 1.6
at the usual start, and between 0.4 and 1.6 at the sharper one. The eight learning rates were chosen after it, and no
difference between warm-ups was seen in it. The bounds were written before the first run with the seeds 0 to 2.
"""

import numpy as np

from bstudy import Survival, claim, plots

PART = "IX. Since then"
HELP = {
    "warmup_steps": "lengths of the warm-up that are compared with none, in steps",
    "steps": "number of steps of each training",
    "kernel_scale": "factor of the initial kernels at the sharper start",
}
COLORS = "C3", "C0", "C1"  # by the length of the warm-up


def experiments(
    small_batch_size=16,
    large_batch_size=128,
    learning_rates=(0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6),
    warmup_steps=(5, 20),
    steps=40,
    trials=2,
    kernel_scale=2.0,
):
    grid = learning_rates, (0, *warmup_steps), steps, trials
    return {
        "usual start": Survival(large_batch_size, *grid),
        "sharper start": Survival(large_batch_size, *grid, kernel_scale),
        "small batch": Survival(small_batch_size, *grid),
    }


def limits(run):
    """Return (seeds, warm-ups) the limit, a geometric mean over trials; NaN if in one of them no rate survived."""
    rates = np.array(run.experiment.learning_rates)
    between = [np.nan, *np.sqrt(rates[1:] * rates[:-1]), rates[-1]]  # by the number of rates that survived
    counts = run["survived"].sum(axis=3)
    found = np.where(np.isnan(counts), np.nan, np.take(between, np.nan_to_num(counts).astype(int)))
    return np.exp(np.log(found).mean(axis=1))


def figure(runs, fig):
    panels = fig.subplots(1, len(runs), sharey=True)
    rates, warmups = (getattr(runs["usual start"].experiment, name) for name in ("learning_rates", "warmup_steps"))
    for axes, (name, run) in zip(panels, runs.items(), strict=True):
        for number, (steps, color) in enumerate(zip(warmups, COLORS, strict=False)):
            survived = 100 * run["survived"][:, :, number].mean(axis=1)
            label = f"{steps} steps of warm-up" if steps else "no warm-up"
            axes.plot(rates, survived.mean(axis=0), "o-", color=color, label=label)
            if number in (0, len(warmups) - 1):
                line = axes.axvline(np.exp(np.log(limits(run)[:, number]).mean()), color=color, linestyle=":")
                plots.note(line, "dotted: mean limits")
        axes.set(title=f"{name}, B = {run.experiment.batch_size}", xlabel="learning rate η", xscale="log")
        steepest = run["initial_eigenvalue"].mean()
        axes.text(0.03, 0.03, f"2 / λ = {2 / steepest:.2g} at the start", transform=axes.transAxes)
    panels[0].set(ylabel="trainings that survive (%)", ylim=(-3, 103))


def verdicts(runs):
    usual, small = runs["usual start"], runs["small batch"]
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
    text = f"Warm-up helps batches of {small.experiment.batch_size} less."
    yield claim(text, raised["small batch"] / raised["usual start"], below=1, scale="log", source="Goyal et al.")
    over = limits(usual)[:, 0] * usual["initial_eigenvalue"] / 2
    text, unit = "Without warm-up, rates above 2 / λ of the start survive.", "times 2 / λ"
    yield claim(text, over, above=1, scale="log", unit=unit, source="Lewkowycz et al.")
    text = "The longest warm-up lets larger rates survive than the shortest."
    longer = limits(usual)[:, -1] / limits(usual)[:, 1]
    yield claim(text, longer, otherwise=text.replace("lets", "does not let"), **ratio)
    text = "At the usual start, λ grows during the warm-up to the smallest rate."
    growth = {name: run["eigenvalue"] / run["initial_eigenvalue"] for name, run in runs.items()}
    yield claim(text, growth["usual start"], above=1, scale="log", otherwise=text.replace("grows", "falls"))
    text = "At the sharper start it falls."
    yield claim(text, growth["sharper start"], below=1, scale="log", source="Kalra and Barkeshli")
    ends = [run["survived"][..., [0, -1]].mean(axis=1) for run in runs.values()]
    outside = np.max([np.maximum(1 - end[..., 0], end[..., 1]).max(axis=1) for end in ends], axis=0)
    text = "The grid holds the limits: at its ends nearly all trainings survive, or nearly none."
    yield claim(text, outside, below=0.5, unit="is the largest fraction of exceptions")
