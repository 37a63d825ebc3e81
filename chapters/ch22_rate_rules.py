"""The learning rate goes with the batch size for SGD, and with its square root for Adam.

Claim     A batch of k times as many samples takes k times as large a step with SGD, since its gradient is as long and
          its noise smaller; with Adam, whose steps are of one length, √k times. Both end at the critical batch size.
Compare   Three rules, from one learning rate for the smallest batch: the same rate for all, a rate in proportion to √B,
          and one in proportion to B. How many epochs each takes to the same test accuracy.
Look for  A flat curve: as many samples as the smallest batch needs, in fewer steps. Where a rule's curve turns upward
          there is no more to gain, or, at the top of the figure, the target was not reached at all.
Source    Goyal et al. (2017) for SGD; Malladi et al. (2022) for Adam's square root; McCandlish et al. (2018), for where
          both end.

Exercises
  1. Half the first learning rate: `bstudy chapter 22 --set sgd=0.015`. How far does the proportion reach now? Why?
  2. Why does the noise decide where a rule ends, and not the number of samples in the training set?
  3. Chapter 20 keeps the proportion up to 1024 with a warm-up. Which of the two, size or start, is the trouble?
"""

import numpy as np

from bstudy import Phase, Target, claim, draw

PART = "VIII. Choosing"
RULES = {"constant": 0, "∝ √B": 0.5, "∝ B": 1}  # the power of B in the learning rate


def experiments(batch_sizes=(16, 64, 256, 1024), sgd=0.03, adam=0.0003, target=0.95, epochs=200):
    def phase(optimizer, first, power, size):
        return Phase(size, round(first * (size / (min(batch_sizes) or 1)) ** power, 12), epochs, optimizer)

    return {
        f"{optimizer} {rule}, {size}": Target(phase(optimizer.lower(), first, power, size), target)
        for optimizer, first in (("SGD", sgd), ("Adam", adam))
        for rule, power in RULES.items()
        for size in sorted(batch_sizes)
    }


def by_rule(runs, optimizer, rule):
    """(n,) batch sizes; (seeds, n) epochs to the target, or all that were allowed where it was not reached."""
    found = [run for role, run in runs.items() if role.startswith(f"{optimizer} {rule}, ")]
    epochs = [np.nan_to_num(run["epochs"], nan=np.inf).clip(max=run.experiment.phase.epochs) for run in found]
    return np.array([run.experiment.batch_size for run in found]), np.stack(epochs, axis=1)


def figure(runs, fig):
    for axes, optimizer in zip(fig.subplots(1, 2, sharey=True), ("SGD", "Adam"), strict=True):
        for i, rule in enumerate(RULES):
            label = f"learning rate {rule}" if optimizer == "SGD" else None
            draw.by_batch_size(axes, *by_rule(runs, optimizer, rule), color=f"C{i}", label=label)
        axes.set(title=optimizer, ylabel="epochs to the target" if optimizer == "SGD" else "")


def verdicts(runs):
    epochs = {(optimizer, rule): by_rule(runs, optimizer, rule)[1] for optimizer in ("SGD", "Adam") for rule in RULES}
    second = {key: values[:, 1] / values[:, 0] for key, values in epochs.items()}
    last = {key: np.log(values[:, -1]) for key, values in epochs.items()}
    text = "{} ∝ {}: the second batch size takes the samples of the first (ratio of epochs)."
    yield claim(text.format("SGD", "B"), second["SGD", "∝ B"], below=1.5)
    yield claim(text.format("Adam", "√B"), second["Adam", "∝ √B"], below=1.5)
    text = "{}: the largest batch takes fewer epochs with {} than with {} (logarithm of the ratio)."
    for optimizer, better, worse in (
        ("SGD", "∝ √B", "constant"), ("SGD", "∝ B", "∝ √B"), ("Adam", "∝ √B", "constant"), ("Adam", "∝ √B", "∝ B")
    ):  # fmt: skip
        less = last[optimizer, better] - last[optimizer, worse]
        yield claim(text.format(optimizer, better, worse), less, below=0)
