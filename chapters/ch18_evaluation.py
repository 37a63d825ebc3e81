"""# Does the batch size of evaluation change the accuracy?

The article of chapter 15 calls it a misconception "that the same batch size should be used for both training and
evaluation", and continues: "It is common to use a larger batch size during training and a smaller batch size during
evaluation to get a more accurate estimate". So it claims that evaluation has a better and a worse batch size.

## Idea

The accuracy of a model f on n test samples, in percent, is a mean over samples, with 1[…] equal to 1 if the condition
is true and 0 if not:

    accuracy = (100 / n) · Σ 1[ f(xᵢ) is largest for the right class ]

Batches only group the terms of this sum. The result can depend on the grouping in two ways. Float32 numbers have 24
bits, so sums in another order differ by about 10⁻⁷. And f(xᵢ) itself may depend on the other samples of the batch:
batch normalization in training mode subtracts their mean. In evaluation mode it uses stored averages, and f(xᵢ)
depends on xᵢ only.

## Experiment

One model, trained for 30 epochs at batch size 64, is evaluated on the same test samples in batches of 1, 16, 256 and
1024. Time and memory are measured in new processes, for as many samples as the training set has.

This network has no batch normalization, so the exception is *not* tested here.

**Predict.** At how many digits do the accuracies differ, and at how many the losses? What do 1024 samples at a time
save?

## Explanation

The accuracies agree to the last digit and the losses to about 10⁻⁷, the rounding of float32. There is no better and no
worse batch size for an estimate: how accurate it is depends on the number of test samples (exercise 1).

The time does depend on it. Each batch costs a call with a fixed overhead, as in training (chapter 15): on MNIST a pass
over 60,000 samples takes 40 seconds in batches of 1 and 1.3 in batches of 1024, and on digits the ratio is above 100.
The memory grows on digits, from 22 to 39 MB. On MNIST (81, 74, 89 and 87 MB) the growth is not decided with three
seeds: the memory of the whole process varies by about as much as the outputs of a batch take.

## In practice

Evaluate with the largest batch that is fast on your machine, and in evaluation mode. For a more accurate estimate, use
more test samples, not smaller batches.

## Exercises

1. How accurate is a measured accuracy of 98 % on 10,000 samples?

   > Its standard error is √(0.98 · 0.02 / 10,000) = 0.0014, or 0.14 percentage points. The batch size does not enter.

2. A program averages the accuracies of all batches, and the last batch is smaller. What is wrong?

   > The samples of the last batch count more than the others. Weight each batch by its size.

3. Why do the losses differ at all? Add 1e8, 1 and −1e8 in float32, in two orders.

   > (1e8 + 1) − 1e8 is 0, because 1e8 + 1 is rounded to 1e8. (1e8 − 1e8) + 1 is 1.

4. Evaluate a network with batch normalization in *training* mode with two batch sizes. What happens?

   > The outputs change with the batch size, and at batch size 1 each feature of a dense layer is normalized to zero.

## Sources

- "Deep learning batch size", a web article without author or date: "Common misconceptions"
- Ioffe (2017), [Batch renormalization](https://arxiv.org/abs/1702.03275): how the outputs of batch-normalized models
  depend on the batch

## History

Version 0.1 misquoted the article. The claims and bounds are unchanged. Equal accuracy and equal loss are now checks:
only a fault of the program could make them differ.
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
    difference = 1e7 * (results["loss"] / results["loss"][:, -1:] - 1)
    plots.by_batch_size(accuracy, sizes, results["accuracy"], yscale="linear", color="C0")
    plots.by_batch_size(loss, sizes, difference, yscale="linear", color="C0")
    plots.by_batch_size(time, *stack(runs["cost"], pass_seconds), color="C1")
    plots.by_batch_size(memory, *stack(runs["cost"], lambda run: run["memory"] / 1e6), yscale="linear", color="C1")
    accuracy.set(ylabel="test accuracy (%)", ylim=(mean - 3, mean + 3) if np.isfinite(mean) else None)
    loss.set(ylabel="loss, relative difference (10⁻⁷)")
    time.set(ylabel="seconds per pass")
    memory.set(ylabel="memory (MB)", ylim=(0, None))


def verdicts(runs):
    results = runs["results"]
    different = stats.mask_diverged(np.ptp(results["accuracy"], axis=1), results.diverged)
    yield claim(
        "The accuracy is the same at every batch size.",
        different,
        below=0.01,
        unit="percentage points of difference",
        otherwise="The accuracy depends on the batch size of evaluation.",
        answer=True,
        check=True,
        advice=("Do not change the batch size of evaluation to improve an estimate.", ""),
    )
    _, seconds = stack(runs["cost"], pass_seconds)
    smallest, *_, largest = runs["cost"]
    yield claim(
        f"Batches of {smallest} take more than twice as long as batches of {largest}.",
        seconds[:, 0] / seconds[:, -1],
        above=2,
        scale="log",
        otherwise=f"Batches of {smallest} take at most twice as long as batches of {largest}.",
        answer=True,
        advice=("Evaluate in large batches.", ""),
    )
    rounding = np.ptp(results["loss"], axis=1) / results["loss"].mean(axis=1)
    text = "The loss is the same to the rounding of float32."
    yield claim(text, rounding, below=1e-5, check=True, unit="relative difference")
    _, memory = stack(runs["cost"], "memory")
    text = f"Batches of {largest} take more memory than batches of {smallest}."
    yield claim(text, (memory[:, -1] - memory[:, 0]) / 1e6, above=0, unit="MB", otherwise=text.replace("more", "less"))
