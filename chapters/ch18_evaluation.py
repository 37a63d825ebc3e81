"""The batch size of evaluation does not change the measured accuracy.

Claim     An article lists as a misconception that the batch size matters only in training, and not in evaluation.
          Evaluation computes a function of each sample; the batch size is how many are computed at a time.
Compare   The same trained weights on the same test set, in batches of each size; and the time and memory of evaluating
          as many samples as the training set has, each in a fresh process.
Look for  Accuracies that are equal, and losses that differ only in the last bits of float32: a sum in another order.
          The time falls with the batch size, the memory rises. (A network with batch normalisation keeps this property
          only if it is evaluated with its moving averages.)
Source    "Deep learning batch size", its misconceptions.

Exercises
  1. Which batch size would you evaluate with on this machine, and why not a larger one?
  2. Why do the losses differ at all? Add 1e8, 1 and -1e8 in float32 in two orders.
  3. Drop the last, smaller batch, as some programs do: what would the accuracy then depend on?
"""

import numpy as np

from bstudy import Cost, Evaluation, Recipe, claim, plots, stack, stats

PART = "VI. Cost"


def experiments(batch_sizes=(1, 16, 256, 1024), batch_size=64, learning_rate=0.01, epochs=30):
    return {
        "results": Evaluation(Recipe.sgd(batch_size, learning_rate, epochs), batch_sizes),
        "cost": {size: Cost(size, "evaluation", 5) for size in sorted(batch_sizes)},
    }


def pass_seconds(run):
    return np.median(run["seconds"], axis=1)


def figure(runs, fig):
    (accuracy, loss), (time, memory) = fig.subplots(2, 2)
    results = runs["results"]
    sizes, mean = results.experiment.batch_sizes, results["accuracy"].mean()
    difference = 1e9 * (results["loss"] / results["loss"][:, -1:] - 1)
    plots.by_batch_size(accuracy, sizes, results["accuracy"], yscale="linear", color="C0")
    plots.by_batch_size(loss, sizes, difference, yscale="linear", color="C0")
    plots.by_batch_size(time, *stack(runs["cost"], pass_seconds), color="C1")
    plots.by_batch_size(memory, *stack(runs["cost"], lambda run: run["memory"] / 1e6), yscale="linear", color="C1")
    accuracy.set(ylabel="test accuracy (%)", ylim=(mean - 3, mean + 3))
    loss.set(ylabel="loss, relative (10⁻⁹)")
    time.set(ylabel="seconds per pass")
    memory.set(ylabel="memory (MB)")


def verdicts(runs):
    results = runs["results"]
    different = stats.mask_diverged(np.ptp(results["accuracy"], axis=1), results.diverged)
    unit = "percentage points"
    yield claim("The accuracy is the same at every batch size (range).", different, below=0.01, unit=unit)
    rounding = np.ptp(results["loss"], axis=1) / results["loss"].mean(axis=1)
    yield claim("The loss is the same to the rounding of float32 (relative range).", rounding, below=1e-5)
    _, seconds = stack(runs["cost"], pass_seconds)
    yield claim("The smallest batch takes more than twice as long (ratio).", seconds[:, 0] / seconds[:, -1], above=2)
    _, memory = stack(runs["cost"], "memory")
    more = (memory[:, -1] - memory[:, 0]) / 1e6
    yield claim("The largest batch takes more memory.", more, above=0, unit="MB")
