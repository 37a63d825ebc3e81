"""# What do larger batches cost in time and memory?

A web article, "Deep learning batch size", gives three answers. In its comparison table, batches of 32, 64 and 128 take
60, 45 and 30 minutes, and 8, 16 and 32 GB. In table B the time falls from 4.5 hours at 16 to 1.6 at 256. In table G the
memory *falls*, from 6.1 to 5.5 GB, and in table D even the number of parameters changes. No machine is named.

## Idea

A step reads and writes all weights once, whatever the batch size, and then computes for each sample. Let t₀ + t₁ B be
its seconds. An epoch of N samples then takes

    T(B) = (N / B) · (t₀ + t₁ B) = N (t₀ / B + t₁)

The first part falls with B, the second stays. At B = t₀ / t₁ both are equal; larger batches can at most halve the time
from there. Memory has two parts as well: weights and one gradient for each, which do not depend on B, and the outputs
of all layers for each sample of the batch, with a gradient for each in training:

    M(B) = 2 · 4 bytes · (parameters + B · outputs of all layers)

## Experiment

One epoch of training at each batch size, each in a new process, on random data of the data set's shape (the values do
not matter). *Time* is the median of five epochs after one that compiles. *Memory* is the largest amount that the
process uses, minus the amount before the first step. On a GPU it is the peak of the device's allocator instead.

- *control*: the number of parameters, and the memory that the formula predicts
- *article*: its numbers, drawn unchanged, relative to the first

**Predict.** From which batch size on does the time stop falling? How much more memory does 1024 need than 16?

## Explanation

On MNIST and two processor cores an epoch takes 5.4 seconds at batch size 16 and 3.1 at 1024. Up to about 128, samples
share the overhead of a step, which reads and writes 1.9 million weights. From there on only the arithmetic is left, and
64 times the batch is less than twice as fast. A GPU computes thousands of products at once and idles at small batches,
so its t₀ / t₁ is far larger: the article's factor of 2.8 is possible there, and is not reached here.

Memory grows with the batch, by 28 kB per sample on MNIST where the formula says 23, and by 37 instead of 17 on digits.
But its larger part does not depend on the batch: about 120 MB on MNIST and 70 on digits at batch size 16, where weights
and gradients need 15 and 9. On a processor the memory is that of the whole process, with the compiled program and the
buffers of its threads, which no formula for tensors includes. On a GPU, and with larger models, the outputs dominate
sooner. Tables G and D cannot be right for one model.

## In practice

Measure both on your own machine: `bstudy advise` fits t₀ and t₁. Increase the batch size until an epoch is no longer
much faster. Whether the larger batch also learns as fast per epoch is the question of chapter 16.

## Exercises

1. The time of an epoch is N (t₀ / B + t₁). What are the two parts, in words?

   > The overhead of all steps of the epoch, and the arithmetic for all samples.

2. How large is a batch of MNIST images whose outputs and their gradients need a gigabyte?

   > One sample has 784 + 1024 + 1024 + 10 outputs (the images count too), with gradients 2 · 4 · 2842 bytes = 22.7 kB.
   > A gigabyte is a batch of about 44,000.

3. Why can the article's table G not be the memory of one model in training?

   > A larger batch has more outputs to store until the backward pass. The memory would have to stay equal or rise, as
   > the article's own text and comparison table say.

4. Which batch sizes matter on your machine? Try `bstudy chapter 15 --batch-sizes 8,64,512,4096`.

   > If the time still falls at 1024, your machine has a larger t₀ / t₁ than the two processor cores used here.

## Sources

- "Deep learning batch size", a web article without author or date: comparison table, tables B, D and G
- McCandlish et al. (2018), [An empirical model of large-batch training](https://arxiv.org/abs/1812.06162), for time and
  batch size

## History

Version 0.1 tested whether the time falls in proportion to the batch size, which nobody claims. The test against the
article's table B (a factor of 2.8; the bound is 2) replaced it when the MNIST result of version 0.1 was known: 1.6 from
16 to 256, and 1.7 from 16 to 1024.
"""

import numpy as np

from bstudy import Cost, claim, linear_fit, plots, stack

PART = "VI. Cost"
HOURS = {16: 4.5, 32: 3.2, 64: 2.8, 128: 2.1, 256: 1.6}  # table B of the article
MINUTES = {32: 60, 64: 45, 128: 30}  # its comparison table
GIGABYTES = {32: 8, 64: 16, 128: 32}  # the same
FALLING = {16: 6.1, 32: 5.8, 64: 5.7, 128: 5.6, 256: 5.5}  # table G, in gigabytes


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
    space.plot(sizes, predicted.mean(axis=0) / 1e6, color="C1", label="predicted by the formula")
    plots.by_batch_size(faster, sizes, seconds / seconds[:, :1], color="C0")
    plots.by_batch_size(larger, sizes, memory / memory[:, :1], color="C0")
    for axes, style, label, numbers in (
        (faster, "--", "article, tables B and G", HOURS),
        (larger, "--", None, FALLING),
        (faster, ":", "article, comparison table", MINUTES),
        (larger, ":", None, GIGABYTES),
    ):
        relative = np.array([*numbers.values()]) / next(iter(numbers.values()))
        axes.plot(numbers.keys(), relative, style, color="gray", linewidth=1.2, label=label)
    time.set(ylabel="seconds per epoch")
    space.set(ylabel="memory (MB)", ylim=(0, None))
    faster.set(ylabel="time, relative to the first")
    larger.set(ylabel="memory, relative to the first")


def verdicts(runs):
    sizes, seconds = stack(runs, epoch_seconds)
    text = f"An epoch at batch size {sizes[-1]} takes less time than at {sizes[0]}."
    yield claim(
        text,
        seconds[:, -1] / seconds[:, 0],
        below=1,
        scale="log",
        otherwise=text.replace("less", "more"),
        answer=True,
        advice=(
            "Increase the batch size until the time of an epoch stops falling.",
            "Larger batches save no time here.",
        ),
    )
    slope, constant = linear_fit(sizes, stack(runs, "memory")[1])
    expected, _ = linear_fit(sizes, stack(runs, predicted_bytes)[1])
    yield claim(
        "Memory grows in proportion to the batch: twice the batch, twice the memory.",
        (constant + 2 * sizes[-2] * slope) / (constant + sizes[-2] * slope),
        above=1.9,
        below=2.1,
        scale="log",
        otherwise="Memory grows less than in proportion to the batch.",
        answer=True,
        source="the article",
        advice=(
            "Expect memory in proportion to the batch size.",
            "Expect memory of a constant plus a part that grows with B.",
        ),
    )
    shared = [i for i, size in enumerate(sizes) if size in HOURS]
    if len(shared) > 1:
        first, last = shared[0], shared[-1]
        text = f"From {sizes[first]} to {sizes[last]} an epoch becomes more than twice as fast."
        faster = {"published": HOURS[sizes[first]] / HOURS[sizes[last]], "otherwise": text.replace("more", "less")}
        yield claim(text, seconds[:, first] / seconds[:, last], above=2, scale="log", source="the article", **faster)
    yield claim("Memory grows with the batch.", slope / 1e3, above=0, unit="kB per sample")
    text = "It grows as the outputs of the layers predict, within a factor of two."
    yield claim(text, slope / expected, above=0.5, below=2, unit="of the prediction")
    parameters = np.ptp([run["parameters"] for run in runs.values()], axis=0)
    text = "The number of parameters is the same at every batch size (range)."
    yield claim(text, parameters, above=-0.5, below=0.5, check=True)
