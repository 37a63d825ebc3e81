"""Batch size decides time and memory, and not the number of parameters.

Claim     Larger batches make an epoch faster, in proportion or nearly; memory grows with the batch, in proportion; in
          one table memory falls with it, and in another the number of parameters changes.
Compare   One epoch at each batch size, each measured in a fresh process: seconds, the median of five passes after one
          that compiles; and the peak of memory, without the memory used before. Next to it the prediction: weights, a
          gradient for each, and the outputs of all layers for every sample of a batch, with a gradient for each too.
Look for  The batch size at which the time stops falling: from there on the arithmetic is the limit, and no longer the
          weights that every step reads and writes. In memory, a constant part (weights, gradients, the compiler) and a
          part in proportion to the batch: doubling the batch doubles only the second part.
Source    "Deep learning batch size", a web article of tables without a setting; its numbers are drawn unchanged,
          relative to the first. Its table G, of falling memory, contradicts its own text.

Exercises
  1. How large would a batch be whose activations need a gigabyte?
  2. Which batch sizes would you compare on your machine? `bstudy chapter 15 --set batch_sizes=8,64,512`.
  3. The time of an epoch is a + b / B. What are a and b, in words?
"""

import numpy as np

from bstudy import Cost, claim, linear_fit, plots, stack

PART = "VI. Cost"
HOURS = {16: 4.5, 32: 3.2, 64: 2.8, 128: 2.1, 256: 1.6}  # table B of the article
MINUTES = {32: 60, 64: 45, 128: 30}  # its comparison table
GIGABYTES = {32: 8, 64: 16, 128: 32}  # the same
FALLING = {16: 6.1, 256: 5.5}  # the ends of table G, in gigabytes


def experiments(batch_sizes=(16, 32, 64, 128, 256, 512, 1024), passes=5):
    return {size: Cost(size, passes=passes) for size in sorted(batch_sizes)}


def epoch_seconds(run):
    return np.median(run["seconds"], axis=1)


def predicted_bytes(run):
    return run["weight_bytes"] + run["gradient_bytes"] + run["activation_bytes"]


def figure(runs, fig):
    (time, faster), (space, larger) = fig.subplots(2, 2)
    sizes, seconds = stack(runs, epoch_seconds)
    _, memory = stack(runs, "memory")
    _, predicted = stack(runs, predicted_bytes)
    plots.by_batch_size(time, sizes, seconds, color="C0", label="measured")
    plots.by_batch_size(space, sizes, memory / 1e6, color="C0", yscale="linear")
    space.plot(sizes, predicted.mean(axis=0) / 1e6, color="C1", label="predicted: weights, gradients, activations")
    plots.by_batch_size(faster, sizes, seconds / seconds[:, :1], color="C0")
    plots.by_batch_size(larger, sizes, memory / memory[:, :1], color="C0")
    for axes, style, label, source in (
        (faster, "--", "article, tables B and G", HOURS),
        (larger, "--", None, FALLING),
        (faster, ":", "article, comparison table", MINUTES),
        (larger, ":", None, GIGABYTES),
    ):
        relative = np.array([*source.values()]) / next(iter(source.values()))
        axes.plot(source.keys(), relative, style, color="gray", label=label)
    time.set(ylabel="seconds per epoch")
    space.set(ylabel="memory (MB)", ylim=(0, None))
    for axes in (faster, larger):
        axes.set(ylabel="relative to the first")


def verdicts(runs):
    sizes, seconds = stack(runs, epoch_seconds)
    ratio = seconds[:, -1] / seconds[:, 0]
    yield claim("An epoch is faster with the largest batch (ratio to the smallest).", ratio, below=1)
    proportion = ratio * sizes[-1] / sizes[0]
    yield claim("It is faster in proportion to the batch size (ratio).", proportion, above=0.8, below=1.25)
    slope, constant = linear_fit(sizes, stack(runs, "memory")[1])
    expected, _ = linear_fit(sizes, stack(runs, predicted_bytes)[1])
    yield claim("Memory grows with the batch (kB per sample).", slope / 1e3, above=0)
    yield claim("As the activations predict (ratio to the prediction).", slope / expected, above=0.5, below=2)
    doubled = (constant + 2 * sizes[-2] * slope) / (constant + sizes[-2] * slope)
    yield claim("Doubling the batch doubles all memory (ratio).", doubled, above=1.9, below=2.1)
    parameters = np.ptp([run["parameters"] for run in runs.values()], axis=0)
    yield claim("The number of parameters is the same at every batch size (range).", parameters, above=-0.5, below=0.5)
