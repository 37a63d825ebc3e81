"""The learning rate goes with the batch size for SGD, and with its square root for Adam.

Claim     A batch of k times as many samples takes k times as large a step with SGD, since its gradient is as long and
          its noise smaller; with Adam, whose steps are of one length, √k times. Both end at the critical batch size.
Compare   Three rules, from one learning rate for the smallest batch: the same rate for all, a rate in proportion to √B,
          and one in proportion to B. How many epochs each takes to the same test accuracy.
Look for  A flat curve: as many samples as the smallest batch needs, in fewer steps. When a rule's curve turns upward,
          there is no more to gain; if it has no point at a batch size, a run did not reach the target there.
Source    Goyal et al. (2017) for SGD; Malladi et al. (2022) for Adam's square root; McCandlish et al. (2018) for the
          end of both.

Exercises
  1. Half the first learning rate: `bstudy chapter 22 --set sgd_learning_rate=0.015`. How far does the proportion reach
     now? Why?
  2. Why does the noise decide at which batch size a rule ends, and not the number of samples in the training set?
  3. Chapter 20 keeps the proportion up to 1024 with a warm-up. Which of the two, size or start, is the trouble?
"""

import numpy as np

from bstudy import Phase, TimeToTarget, claim, plots, stack

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


def epochs_to_target(run):
    """Return (seeds,) the epochs to the target; NaN if it was not reached, because no ratio is known then."""
    return np.where(np.isfinite(run["epochs"]), run["epochs"], np.nan)


def figure(runs, fig):
    for axes, (optimizer, rules) in zip(fig.subplots(1, 2, sharey=True), runs.items(), strict=True):
        for i, (rule, by_size) in enumerate(rules.items()):
            label = f"learning rate {rule}" if optimizer == "SGD" else None
            plots.by_batch_size(axes, *stack(by_size, epochs_to_target), color=f"C{i}", label=label)
        axes.set(title=optimizer, ylabel="epochs to the target" if optimizer == "SGD" else "")


def verdicts(runs):
    for optimizer, rule in (("SGD", "∝ B"), ("Adam", "∝ √B")):
        _, epochs = stack(runs[optimizer][rule], epochs_to_target)
        text = f"With learning rate {rule}, {optimizer} needs as many epochs at the second batch size as at the first"
        yield claim(f"{text} (ratio).", epochs[:, 1] / epochs[:, 0], below=1.5)
    for optimizer, better, worse in (
        ("SGD", "∝ √B", "constant"),
        ("SGD", "∝ B", "∝ √B"),
        ("Adam", "∝ √B", "constant"),
        ("Adam", "∝ √B", "∝ B"),
    ):
        last = {rule: stack(runs[optimizer][rule], epochs_to_target)[1][:, -1] for rule in (better, worse)}
        text = f"{optimizer}: the largest batch takes fewer epochs with a learning rate {better} than {worse}"
        yield claim(f"{text} (logarithm of the ratio).", np.log(last[better]) - np.log(last[worse]), below=0)
