"""The batch size of evaluation does not change the measured accuracy.

Claim     An article lists as a misconception that the batch size matters in training alone, and not in evaluation.
          What is evaluated is a function of each sample; the batch decides how many are computed at a time.
Compare   The same trained weights on the same test set, in batches of each size; and the time and memory of evaluating
          as many samples as the training set has, each in a fresh process.
Look for  Accuracies that are equal, and losses that differ in the last bits of float32 alone: a sum in another order.
          The time falls with the batch size, the memory rises. (A network with batch normalisation keeps this property
          only where it is evaluated with its moving averages.)
Source    "Deep learning batch size", its misconceptions.

Exercises
  1. Which batch size would you evaluate with on this machine, and why not a larger one?
  2. Why do the losses differ at all? Add 1e8, 1 and -1e8 in float32 in two orders.
  3. Drop the last, smaller batch, as some programs do: what would the accuracy then depend on?
"""

import numpy as np

from bstudy import Cost, Evaluation, Recipe, claim, draw

PART = "VI. Cost"


def experiments(batch_sizes=(1, 16, 256, 1024), batch_size=64, learning_rate=0.01, epochs=30):
    evaluation = Evaluation(Recipe.sgd(batch_size, learning_rate, epochs), batch_sizes)
    return {"results": evaluation} | {f"{size}": Cost(size, "evaluation", 5) for size in evaluation.batch_sizes}


def costs(runs):
    """(seeds, batch sizes) the median seconds, and the bytes."""
    some = [run for role, run in runs.items() if role != "results"]
    return np.stack([np.median(run["seconds"], axis=1) for run in some], 1), np.stack(
        [run["memory"] for run in some], 1
    )


def figure(runs, fig):
    accuracy, loss, time, memory = fig.subplots(2, 2).ravel()
    results, (seconds, space) = runs["results"], costs(runs)
    sizes = results.experiment.batch_sizes
    draw.by_batch_size(accuracy, sizes, 100 * results["accuracy"], yscale="linear", color="C0")
    away = 1e9 * (results["loss"] / results["loss"][:, -1:] - 1)
    draw.by_batch_size(loss, sizes, away, yscale="linear", color="C0")
    draw.by_batch_size(time, sizes, seconds, color="C1")
    draw.by_batch_size(memory, sizes, space / 1e6, yscale="linear", color="C1")
    middle = 100 * results["accuracy"].mean()
    accuracy.set(ylabel="test accuracy (%)", ylim=(middle - 3, middle + 3))
    loss.set(ylabel="loss, relative (10⁻⁹)")
    time.set(ylabel="seconds a pass")
    memory.set(ylabel="memory (MB)")


def verdicts(runs):
    results, (seconds, space) = runs["results"], costs(runs)
    wrong = 100 * np.ptp(results["accuracy"], axis=1)
    yield claim("The accuracy is the same at every batch size (range).", wrong, below=0.01, unit="points")
    rounding = np.ptp(results["loss"], axis=1) / results["loss"].mean(axis=1)
    yield claim("The loss is the same to the rounding of float32 (relative range).", rounding, below=1e-5)
    yield claim("The smallest batch takes more than twice as long (ratio).", seconds[:, 0] / seconds[:, -1], above=2)
    more = (space[:, -1] - space[:, 0]) / 1e6
    yield claim("The largest batch takes more memory.", more, above=0, unit="MB")
