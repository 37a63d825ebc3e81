"""# What do larger batches cost in time and memory?

A web article, "Deep learning batch size", gives three answers. In its comparison table, batches of 32, 64 and 128 take
60, 45 and 30 minutes, and 8, 16 and 32 GB. In table B the time falls from 4.5 hours at 16 to 1.6 at 256. In table G
the memory *falls*, from 6.1 to 5.5 GB, and in table D even the number of parameters changes. No machine is named.

## Idea

A step reads and writes all weights once, whatever the batch size, and then computes for each sample. Let t₀ + t₁ B be
its seconds. An epoch of N samples then takes

    T(B) = (N / B) · (t₀ + t₁ B) = N (t₀ / B + t₁)

The first part falls with B, the second stays. At B = t₀ / t₁ both are equal; larger batches can at most halve the time
from there. Memory has two parts as well: weights and one gradient for each, which do not depend on B, and the outputs
of all layers for each sample of the batch, with a gradient for each in training:

    M(B) = 2 · 4 bytes · (parameters + B · outputs of all layers)

## Experiment

*Time* is the number of steps of an epoch, times the median time of a step in five passes over the training set (at
most 4,096 samples); the first pass includes compiling. *Memory* is measured at three of the batch sizes, each in a new
process, on random data of the data set's shape (the values do not matter). It is the largest amount that the process
uses, minus the amount before the first step. *Compiling* is the part of it that is reached when the program of a step
has been compiled, and no step has been taken. On a GPU these are the peaks of the device's own memory, which does not
include the compiler.

- *control*: the number of parameters, and the memory that the formula predicts
- *article*: its numbers, scaled so that each table begins at our own number

**Predict.** From which batch size on does the time stop falling? How much more memory does 1024 need than 16?

## Explanation

On digits and two processor cores an epoch takes 0.13 seconds at batch size 16, 0.09 at 64, 0.07 at 256 and 0.06 at
1024. (The machine is shared; at another hour all of it took about 1.5 times as long, in nearly the same ratio.) Up to
256, samples share the overhead of a step, which reads and writes 1.1 million weights. From there on almost only the
arithmetic is left. A GPU computes thousands of products at once and idles at small batches, so its t₀ / t₁ is far
larger: the article's factor of 2.8 is possible there, and is not reached here (1.85 [1.74, 1.97]).

Memory grows with the batch on digits, from about 71 MB at 16 to about 101 MB at 1024. The slope is about 27 kB per
sample, where the formula has 17 for the outputs and their gradients; the program holds further copies. But the larger
part, about 75 MB, does not depend on the batch, and two thirds of it are reached before the first step: that is the
compiler, at 51 MB whatever the batch is. The weights were there before, their gradients need 5 MB, and the rest are
buffers of the process. On a GPU the compiler works in the memory of the host. So there, and with larger models, the
outputs dominate sooner, and the article's comparison table, with twice the memory for twice the batch, is possible for
outputs alone.

On MNIST an epoch takes 6.6 seconds at 16, 3.3 at 256 and 3.2 at 1024. From 16 to 256 this is 1.9 [1.3, 2.8] times as
fast, so it stays open whether it is more than twice. Batches of 16 took twice as long in one of five seeds as in the
others, as can happen on a shared machine.

Tables G and D are impossible for one model on any machine: a larger batch has more outputs to store and nothing less,
and no weight of this network depends on the batch.

With a small convolutional network (cnn) on digits an epoch becomes 4.6 [4.2, 5.0] times as fast from 16 to 256,
probably because a step has more overhead for its work. So the article's factor is reached and passed on two processor
cores too. The program needs 25 MB at 16 and 39 MB at 1024, and compiling is only a fifth of what does not depend on the
batch. On MNIST the images have 12 times as many pixels, so a step of the cnn has more work for its overhead: an epoch
becomes 1.8 [1.3, 2.5] times as fast. There the program needs 25 MB at 16 and at 256, and 108 MB at 1024. The slope is
0.43 times the predicted one, probably because memory that the compiler has freed is used first.

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

- "Deep learning batch size", a web article without author or date: comparison table, tables B, D and G. Of the study
  that it cites, Wen et al. (2020) in Neurocomputing 387, we found no trace.
- McCandlish et al. (2018), [An empirical model of large-batch training](https://arxiv.org/abs/1812.06162), for time
  and batch size

## History

Version 0.1 tested whether the time falls in proportion to the batch size, which nobody claims. The test against the
article's table B (a factor of 2.8; the bound is 2) replaced it when the MNIST result of version 0.1 was known: 1.6
from 16 to 256, and 1.7 from 16 to 1024. The batch sizes 32, 128 and 512 were left out later to save time; with them an
epoch at 1024 took 0.57 [0.54, 0.62] times as long as at 16. The bound on the part that compiling takes was written
when one measurement was known: 49 of 69 MB at batch size 16.

Later the chapter had to run in a minute. Time and memory of each batch size came from a process of its own; now the
time of a step is measured in one process, and only memory in new ones, at three sizes and at the same time. Before, an
epoch at 1024 took 0.40 [0.28, 0.56] times as long as at 16, and one at 256 was 2.5 [2.2, 2.8] times as fast. Three
runs, two of them next to other work, had 1.7 to 1.9 in place of 2.5. With three seeds it was undecided whether the
formula for the memory is right within a factor of two.
"""

import numpy as np

from bstudy import Memory, StepTime, claim, linear_fit, plots

PART = "VI. Cost"
HOURS = {16: 4.5, 32: 3.2, 64: 2.8, 128: 2.1, 256: 1.6}  # table B of the article
MINUTES = {32: 60, 64: 45, 128: 30}  # its comparison table
GIGABYTES = {32: 8, 64: 16, 128: 32}  # the same
FALLING = {16: 6.1, 32: 5.8, 64: 5.7, 128: 5.6, 256: 5.5}  # table G, in gigabytes
PARAMETERS = {16: 2356980, 32: 2356985, 64: 2356981, 128: 2356979, 256: 2356983}  # table D


def experiments(batch_sizes=(16, 64, 256, 1024), passes=5):
    sizes = sorted(batch_sizes)
    return {"time": StepTime(sizes, passes), "memory": Memory((sizes[0], *sizes[-2:]))}


def epoch_seconds(runs):
    """Return the batch sizes, and (seeds, n) the seconds of an epoch."""
    run = runs["time"]
    sizes = np.array(run.experiment.batch_sizes)
    return sizes, run["step_seconds"] * np.ceil(run.samples / sizes)


def table(runs):
    sizes, seconds = epoch_seconds(runs)
    megabytes = runs["memory"]["memory"] / 1e6
    return {
        "time": {f"seconds per epoch, B = {size}": seconds[:, i] for i, size in enumerate(sizes)},
        "memory": {f"MB, B = {size}": megabytes[:, i] for i, size in enumerate(runs["memory"].experiment.batch_sizes)},
    }


def predicted_bytes(run):
    return run["weight_bytes"] + run["gradient_bytes"] + run["activation_bytes"]


def draw_article(axes, numbers, style, sizes, values, label=None):
    """Draw a table of the article, scaled to our mean at its first batch size."""
    first = next(iter(numbers))
    scale = np.interp(np.log(first), np.log(sizes), values.mean(axis=0)) / numbers[first]
    scaled = scale * np.array([*numbers.values()])
    axes.plot(numbers.keys(), scaled, style, color="gray", linewidth=1.2, label=label)


def figure(runs, fig):
    time, space, count = fig.subplots(1, 3)
    (sizes, seconds), run = epoch_seconds(runs), runs["memory"]
    memory, compiled, predicted = (each / 1e6 for each in (run["memory"], run["compile_memory"], predicted_bytes(run)))
    parameters = run["parameters"]
    of_memory = run.experiment.batch_sizes
    plots.by_batch_size(time, sizes, seconds, color="C0", label="measured")
    draw_article(time, HOURS, "--", sizes, seconds, "article, tables B, G, D")
    draw_article(time, MINUTES, ":", sizes, seconds, "article, comparison table")
    plots.by_batch_size(space, of_memory, memory, color="C0", yscale="linear")
    plots.by_batch_size(space, of_memory, compiled, color="C3", yscale="linear", label="of it, compiling")
    plots.by_batch_size(space, of_memory, predicted, color="C1", yscale="linear", label="predicted by the formula")
    draw_article(space, FALLING, "--", of_memory, memory)
    draw_article(space, GIGABYTES, ":", of_memory, memory)
    plots.by_batch_size(count, of_memory, parameters - parameters[:, :1], color="C0", yscale="linear")
    count.plot(PARAMETERS.keys(), np.array([*PARAMETERS.values()]) - PARAMETERS[16], "--", color="gray", linewidth=1.2)
    time.set(ylabel="seconds per epoch")
    space.set(ylabel="memory (MB)", ylim=(0, 1.5 * np.nanmax(memory, initial=1e-3)))
    count.set(ylabel="parameters, minus those of the first", ylim=(-9, 9))


def verdicts(runs):
    (sizes, seconds), run = epoch_seconds(runs), runs["memory"]
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
    slope, constant = linear_fit(run.experiment.batch_sizes, run["memory"])
    expected, _ = linear_fit(run.experiment.batch_sizes, predicted_bytes(run))
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
    text, otherwise = "Memory falls with the batch (table G).", "Memory grows with the batch, unlike in table G."
    yield claim(text, slope / 1e3, below=0, unit="kB per sample", source="the article", otherwise=otherwise)
    text = "It grows as the outputs of the layers predict, within a factor of two."
    yield claim(text, slope / expected, above=0.5, below=2, unit="of the prediction")
    compiled = run["compile_memory"].mean(axis=1) / constant
    text = "More than half of the part that does not depend on the batch is compiling."
    yield claim(text, compiled, above=0.5, unit="of it", otherwise=text.replace("More", "Less"))
    parameters = np.ptp(run["parameters"], axis=1)
    text = "The number of parameters is the same at every batch size, unlike in table D (range)."
    yield claim(text, parameters, above=-0.5, below=0.5, check=True)
