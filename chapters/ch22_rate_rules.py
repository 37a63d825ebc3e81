"""# How should the learning rate change with the batch size?

Goyal et al. (2017): if the batch is k times as large, make the learning rate of SGD k times as large. Malladi et al.
(2022): with Adam make it √k times as large, and change β₁, β₂ and ε too. Both rules need a gradient in which noise
dominates. Li et al. (2024) add that Adam's best rate rises, peaks where signal and noise are equal, and then falls
(*surge*).

## Idea

For equal progress with equal samples, a batch of k times as many samples must make a step that is worth k small ones.
The mean gradient does not depend on the batch size, so with SGD the rate has to be k times as large:

    SGD:  η → k η          Adam:  η → √k η,  1 − β₁ → k (1 − β₁),  1 − β₂ → k (1 − β₂),  ε → ε / √k

Adam divides the gradient by √v, the root of its mean square. Where noise dominates, this is the noise of a batch's
gradient, which falls as 1/√B. The signal in the normalized step therefore grows as √k by itself, and only √k is left
for the learning rate. β₁ and β₂ set how many steps Adam remembers: with k (1 − β) it remembers as many *samples* as
before. ε is added to √v, so it has to shrink as √v does.

Since 1 − β₁ is at most 1, the whole rule with β₁ = 0.9 ends at k = 10. And every rule ends where a step becomes
unstable: gradient descent needs η < 2 / λ, with λ the largest curvature of the loss (chapter 13), however large the
batch.

## Experiment

Batch sizes 4, 32 and 256, so k is 1, 8 and 64. SGD starts from the rate 0.03 at batch size 4, Adam from 0.0003.
Three rules for each: *constant*, *∝ √B* and *∝ B*; for Adam up to k = 8 also *∝ √B, β, ε*, the whole rule. A rule
works as long as its curve is flat: as many epochs, so as many samples, in fewer steps.

The clock is that of chapter 16, with a target of 97.5 % on the training set. The rules speak of the progress of
training, and the 360 test samples of digits would give a coarser answer. For MNIST add `--batch-sizes 16,128,1024`.

**Predict.** Which curves are flat up to k = 8? What happens to SGD at k = 64 with a rate 64 times as large?

## Explanation

On digits from 4 to 32, so at k = 8, SGD with a rate ∝ B goes from 1.2 to 1.5 epochs in the mean, and the epochs grow as
B to the power 0.11 [−0.02, 0.23]. Adam with the whole rule goes from 0.8 to 1.1 epochs. Its power, 0.16 [−0.09, 0.40],
stays undecided, because at batch size 4 the epochs of the seeds differ by up to 2.2 times; six seeds do not decide it
either (0.13 [−0.06, 0.33]). The whole rule is better for Adam than a constant rate (0.71 [0.57, 0.88] times the epochs
at 32), and for SGD ∝ B is better than ∝ √B (0.68 [0.51, 0.90]). With a constant rate SGD needs 5.7 epochs at 32. Its
power there is 0.76 [0.59, 0.93]. The bound for level steps is 0.75, so more seeds would probably not decide it.

What do β and ε add to √B? Not decided, also with six seeds (1.06 [0.89, 1.26] times the epochs at 32). A reason may be
that a run has only about 50 steps at batch size 32, fewer than the 1000 that β₂ = 0.999 remembers. The whole rule
against ∝ B is open at 32 too (0.91 [0.68, 1.21]): the effect is smaller than the differences between seeds.

At k = 64 no rule is flat. SGD with ∝ B has the rate 1.92 there and diverges with all seeds (×). With a constant rate 12
epochs are too few (▲). Adam with √B needs 2.4 epochs, against 6.1 constant and 4.3 with ∝ B. It is the best of the
three, but noise no longer dominates.

With a small convolutional network (cnn) on digits both answers hold, but ∝ B is the best rule for Adam: at 32 it needs
3.1 epochs, against 5.6 with the whole rule, and at 256 5.6, against 10.9 with ∝ √B. At batch size 4 it is 4.6 epochs,
so probably the first rate of 0.0003 is too small for this network. SGD with ∝ B at 256 diverges with one of five seeds
there, and the others do not reach the target.

On MNIST both means are as flat as the rules say: batches of 4 and of 32 reach the target after 0.59 and 0.64 epochs
with SGD and ∝ B, and after 0.69 and 0.90 with Adam and the whole rule. But both answers, and most comparisons of two
rules, stay open, because the seeds differ about twofold. A constant rate is about as flat there: SGD needs 0.80 epochs
at 32, and Adam 0.64, fewer than with the whole rule (which needs 1.42 [1.07, 1.86] times as many). Probably the first
rates are large for batches of 4, of which an epoch has 15,000. SGD with ∝ B diverges at 256 with all seeds, with ∝ √B
it needs 0.95 epochs. With the cnn on MNIST the answer for SGD holds with three seeds (power 0.02 [−0.03, 0.08]). Adam
with the whole rule takes 0.33 epochs at 4 and at 32 there, but three seeds do not decide it.

## In practice

Multiply the learning rate of SGD by the factor of the batch size, and Adam's by its square root, for factors of about
4. For larger factors tune again, with a search that includes the old rate.

## Exercises

1. Start from half the rate: `bstudy chapter 22 --sgd-learning-rate 0.015`. How far does the proportion reach now?

   > Up to twice the batch size before it diverges, as the limit of stability is in η and not in B. Noise that no longer
   > dominates is a second limit, and that one is in B.

2. Which rule would Malladi et al. have for RMSprop, which is Adam with β₁ = 0?

   > The same without β₁: η → √k η, 1 − β₂ → k (1 − β₂), ε → ε / √k. It reaches up to k = 1000 with β₂ = 0.999.

3. Chapter 20 keeps the proportion from 64 to 1024. What is different there?

   > The factor is 16 and the first rate 0.03, so that the last rate is 0.48; here it is 1.92.

## Sources

- Goyal et al. (2017), [Accurate, large minibatch SGD](https://arxiv.org/abs/1706.02677), section 2.1
- Malladi et al. (2022), [On the SDEs and scaling rules for adaptive gradient
  algorithms](https://arxiv.org/abs/2205.10287), the square root scaling rule for Adam
- Li et al. (2024), [Surge phenomenon in optimal learning rate and batch size scaling](https://arxiv.org/abs/2405.14578)

## History

Until version 0.2 the sizes were 16, 64, 256 and 1024, the target 95 % on the test set with 16 evaluations an epoch, and
only the first part of Malladi's rule was tested. From 16 to 64 the epochs of SGD with a rate ∝ B were 0.33 and 0.31 on
MNIST, 5 ticks of that clock; at 1024 all seeds diverged. Version 0.1 had counted them as 200 epochs. The bounds of now
were chosen without a pilot. A first run with the sizes 4, 16, 32 and 256 and two thirds of the rates was stopped for
its time before it had results of two sizes. In the first complete run, training ended as hopeless after one epoch or
more. This hid that SGD with ∝ B diverges at 256, within four epochs. The minimum became five epochs.

Later the chapter had to run in a minute: evaluations became fewer (chapter 16), and training ends after 12 epochs in
place of 30. Before, the powers of B were 0.07 [−0.15, 0.28] for SGD and 0.07 [−0.29, 0.42] for Adam, and with six seeds
0.09 [0.00, 0.18] and 0.04 [−0.07, 0.15], so that both held. With three seeds three claims were undecided that hold now:
the answer on SGD, the whole rule against a constant rate, and √B against ∝ B for Adam at 256.
"""

import numpy as np

from bstudy import Phase, TimeToTarget, claim, plots, stack, stats

PART = "VIII. Choosing"
POWERS = {"constant": 0, "∝ √B": 0.5, "∝ B": 1}  # of B in the learning rate
LINE_STYLES = (":", "--", "-", "-.")
WHOLE = "∝ √B, β, ε"  # the rule of Malladi et al.
MAX_FACTOR = 8  # of the batch size in it: k (1 − β₁) must be below 1


def experiments(
    batch_sizes=(4, 32, 256), sgd_learning_rate=0.03, adam_learning_rate=0.0003, target_accuracy=97.5, epochs=12
):
    sizes = sorted(batch_sizes)
    factors = {size: size / sizes[0] for size in sizes}

    def by_rule(optimizer, first_rate):
        return {
            rule: {
                size: TimeToTarget(Phase(size, first_rate * k**power, epochs, optimizer), target_accuracy, "train")
                for size, k in factors.items()
            }
            for rule, power in POWERS.items()
        }

    def whole_rule(size, k):
        betas = {"beta_1": round(1 - 0.1 * k, 9), "beta_2": round(1 - 0.001 * k, 9)}
        phase = Phase(size, adam_learning_rate * k**0.5, epochs, "adam", epsilon=1e-7 / k**0.5, **betas)
        return TimeToTarget(phase, target_accuracy, "train")

    whole = {size: whole_rule(size, k) for size, k in factors.items() if k <= MAX_FACTOR}
    return {"SGD": by_rule("sgd", sgd_learning_rate), "Adam": by_rule("adam", adam_learning_rate) | {WHOLE: whole}}


def figure(runs, fig):
    for axes, (optimizer, rules) in zip(fig.subplots(1, 2, sharey=True), runs.items(), strict=True):
        for i, (rule, by_size) in enumerate(rules.items()):
            label = f"learning rate {rule}" if optimizer == "Adam" else None
            plots.by_batch_size(axes, *stack(by_size, "epochs"), color=f"C{i}", label=label, linestyle=LINE_STYLES[i])
        axes.set(title=optimizer, ylabel="epochs to the target" if optimizer == "SGD" else "")


def verdicts(runs):
    sizes = list(runs["Adam"][WHOLE])  # up to the largest factor of the whole rule
    last, factor = max(runs["SGD"]["constant"]), sizes[-1] / sizes[0]

    def epochs(optimizer, rule):
        """Return (seeds, n) the epochs at the sizes up to this factor; NaN if diverged, infinite if not reached."""
        return stack({size: runs[optimizer][rule][size] for size in sizes}, "epochs")[1]

    def exponent(optimizer, rule):
        values = epochs(optimizer, rule)
        total = values.sum(axis=1)
        return np.where(np.isfinite(total), stats.power_law_exponent(sizes, values), total)

    def is_flat(optimizer, rule, **options):
        text = f"Up to {factor:g} times the batch, {optimizer} with a rate {rule} needs about the same epochs."
        otherwise = text.replace("about the same", "more")
        bounds = {"above": -0.25, "below": 0.25, "unit": "as power of B"}
        return claim(text, exponent(optimizer, rule), **bounds, otherwise=otherwise, **options)

    def compare(optimizer, rule, other, size=sizes[-1], **options):
        each = (runs[optimizer][name][size]["epochs"] for name in (rule, other))
        text = f"At {size} {optimizer} needs fewer epochs with {rule} than with {other}."
        otherwise = text.replace("fewer", "no fewer")
        return claim(text, stats.ratio(*each), below=1, scale="log", otherwise=otherwise, **options)

    advice = (f"Up to {factor:g} times the batch, multiply the learning rate of SGD by the same factor.", "")
    yield is_flat("SGD", "∝ B", answer=True, source="Goyal et al.", advice=advice)
    advice = ("With Adam, multiply the rate by the root of the factor, and change β₁, β₂ and ε too.", "")
    yield is_flat("Adam", WHOLE, answer=True, source="Malladi et al.", advice=advice)
    text, otherwise = "With a constant rate the steps of SGD are level.", "Also with a constant rate SGD saves steps."
    yield claim(text, exponent("SGD", "constant"), above=0.75, unit="as power of B, epochs", otherwise=otherwise)
    yield compare("SGD", "∝ B", "∝ √B", source="Goyal et al.")
    yield compare("Adam", WHOLE, "∝ √B", source="Malladi et al.")
    yield compare("Adam", WHOLE, "constant", source="Malladi et al.")
    yield compare("Adam", WHOLE, "∝ B", source="Malladi et al.")
    yield compare("Adam", "∝ √B", "constant", size=last)
    yield compare("Adam", "∝ √B", "∝ B", size=last)
    run = runs["SGD"]["∝ B"][last]
    text, otherwise = f"At {last} SGD with a rate ∝ B diverges.", f"At {last} SGD with a rate ∝ B does not diverge."
    outcome = np.where(np.isinf(run["epochs"]), np.inf, run.diverged)
    yield claim(text, outcome, above=0.5, unit="of the seeds", otherwise=otherwise)
