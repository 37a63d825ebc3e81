"""# How should the learning rate change with the batch size?

Goyal et al. (2017): if the batch is k times as large, make the learning rate of SGD k times as large. Malladi et al.
(2022): with Adam make it √k times as large, and change its other parameters too. McCandlish et al. (2018): both rules
end at the critical batch size. Li et al. (2024): Adam's best rate even falls beyond it.

## Idea

For equal progress with equal samples, a batch of k times as many samples must make a step that is worth k small ones.
The mean gradient does not depend on the batch size, so with SGD the rate has to be k times as large:

    SGD:  η ∝ B          Adam:  η ∝ √B

Adam divides the gradient by √v, the root of its mean square. Where noise dominates, this is the noise of a batch's
gradient, which falls as 1/√B. The signal in the normalized step therefore grows as √B by itself, and only √B is left
for the learning rate. Both rules need noise that dominates, and both end earlier if the step becomes unstable: gradient
descent needs η < 2 / λ, with λ the largest curvature of the loss (chapter 13), however large the batch.

## Experiment

The epochs to 95 % test accuracy at batch sizes 16, 64, 256 and 1024, for SGD from the rate 0.03 at batch size 16 and
for Adam from 0.0003. Three rules: *constant*, ∝ √B and ∝ B. A rule works as long as its curve is flat: as many epochs,
and so as many samples, in fewer steps.

The test set is evaluated sixteen times an epoch, so an epoch and a half are 24 ticks of this clock, and a third of an
epoch is 5. Malladi's whole rule also multiplies 1 − β₁ and 1 − β₂ by k and divides ε by √k. Only its first part is
tested.

**Predict.** Which curve of SGD is flat up to 256? What happens at 1024 with a rate 64 times as large?

## Explanation

With SGD and a rate ∝ B, batch sizes 16 and 64 need the same epochs: 0.33 and 0.31 on MNIST, 1.35 and 1.50 on digits. At
256 the curve turns up (0.48 and 3.2). At 1024 the rate is 1.92, and all seeds of both data sets diverged. That is not
the critical batch size but the limit of stability: η < 2 / λ asks for λ < 1.04, and every run of chapter 13 has a
larger λ. With a constant rate on digits the *steps* are level (109 to 124), so the epochs grow in proportion to B.

With Adam the rules are hard to tell apart at 64. On MNIST they differ by at most three ticks of the clock; on digits a
constant rate is behind, but √B and B cannot be separated. At 1024 all can: √B needs 0.65 epochs on MNIST, against 1.10
constant and 4.7 with ∝ B, and 4.2 on digits against 11.8 and 6.8. It is the best of the three rules, but its curve is
not flat either, because noise no longer dominates there.

All rules start from one rate that was not tuned. A larger first rate reaches every limit at smaller batch sizes.

## In practice

Multiply the learning rate of SGD by the factor of the batch size, and Adam's by its square root, for factors of about
4. For larger factors tune again, with a search that includes the old rate.

## Exercises

1. Start from half the rate: `bstudy chapter 22 --sgd-learning-rate 0.015`. How far does the proportion reach now?

   > Twice as far in batch size, as the limit is in η and not in B.

2. Why can Malladi's whole rule not be applied from 16 to 1024 with β₁ = 0.9?

   > 1 − β₁ = 0.1 would become 64 · 0.1 = 6.4, but it must not exceed 1. With k = 8 it is 0.8.

3. Chapter 20 keeps the proportion from 64 to 1024. What is different there?

   > The factor is 16 and the first rate 0.03, so that the last rate is 0.48; here it is 1.92.

## Sources

- Goyal et al. (2017), [Accurate, large minibatch SGD](https://arxiv.org/abs/1706.02677), section 2.1
- Malladi et al. (2022), [On the SDEs and scaling rules for adaptive gradient
  algorithms](https://arxiv.org/abs/2205.10287), the square root scaling rule
- McCandlish et al. (2018), [An empirical model of large-batch training](https://arxiv.org/abs/1812.06162)
- Li et al. (2024), [Surge phenomenon in optimal learning rate and batch size scaling](https://arxiv.org/abs/2405.14578)

## History

Version 0.1 counted a diverged run as 200 epochs, the longest possible, and computed a ratio from it. Divergence and
missed targets are outcomes of their own now. The bounds are unchanged, as ratios in place of logarithms; the two claims
on Adam at the largest batch size are one.
"""

import numpy as np

from bstudy import Phase, TimeToTarget, claim, plots, stack, stats

PART = "VIII. Choosing"
RULES = {"constant": 0, "∝ √B": 0.5, "∝ B": 1}  # the power of B in the learning rate


def experiments(
    batch_sizes=(16, 64, 256, 1024), sgd_learning_rate=0.03, adam_learning_rate=0.0003, target_accuracy=95.0, epochs=200
):
    sizes = sorted(batch_sizes)

    def by_rule(optimizer, first_rate):
        return {
            rule: {
                size: TimeToTarget(
                    Phase(size, first_rate * (size / sizes[0]) ** power, epochs, optimizer), target_accuracy
                )
                for size in sizes
            }
            for rule, power in RULES.items()
        }

    return {"SGD": by_rule("sgd", sgd_learning_rate), "Adam": by_rule("adam", adam_learning_rate)}


def figure(runs, fig):
    for axes, (optimizer, rules) in zip(fig.subplots(1, 2, sharey=True), runs.items(), strict=True):
        for i, (rule, by_size) in enumerate(rules.items()):
            label = f"learning rate {rule}" if optimizer == "SGD" else None
            plots.by_batch_size(axes, *stack(by_size, "epochs"), color=f"C{i}", label=label)
        axes.set(title=optimizer, ylabel="epochs to the target" if optimizer == "SGD" else "")


def verdicts(runs):
    epochs = {
        optimizer: {rule: stack(by_size, "epochs")[1] for rule, by_size in rules.items()}
        for optimizer, rules in runs.items()
    }  # (seeds, batch sizes); NaN if the run diverged, infinite if the target was not reached
    first, second, last = (list(runs["SGD"]["constant"])[i] for i in (0, 1, -1))

    def second_to_first(optimizer, rule, **options):
        ratio = stats.ratio(epochs[optimizer][rule][:, 1], epochs[optimizer][rule][:, 0])
        text = f"{optimizer} with a rate {rule} needs as many epochs at batch size {second} as at {first}."
        otherwise = text.replace("as many", "more").replace("as at", "than at")
        return claim(text, ratio, below=1.5, scale="log", otherwise=otherwise, **options)

    def at_last(optimizer, rule, others, **options):
        least = np.fmin.reduce([epochs[optimizer][other][:, -1] for other in others])
        text = f"At {last} {optimizer} needs fewer epochs with {rule} than with {' or '.join(others)}."
        otherwise = f"At {last} {optimizer} needs no fewer epochs with {rule} than with {' or '.join(others)}."
        ratio = stats.ratio(epochs[optimizer][rule][:, -1], least)
        return claim(text, ratio, below=1, scale="log", otherwise=otherwise, **options)

    times = f"{second / first:g} times the batch size"
    advice = (
        f"With SGD, {times} takes {second / first:g} times the rate.",
        f"With SGD, tune the rate again for {times}.",
    )
    yield second_to_first("SGD", "∝ B", answer=True, source="Goyal et al.", advice=advice)
    advice = ("With Adam, raise the rate with the square root of the batch size.", "With Adam, tune the rate again.")
    yield at_last("Adam", "∝ √B", ("constant", "∝ B"), answer=True, source="Malladi et al.", advice=advice)
    yield second_to_first("Adam", "∝ √B", source="Malladi et al.")
    yield at_last("SGD", "∝ √B", ("constant",))
    yield at_last("SGD", "∝ B", ("∝ √B",), source="Goyal et al.")
