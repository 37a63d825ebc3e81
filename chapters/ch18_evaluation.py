"""# Does the batch size of evaluation change the accuracy?

The article of chapter 15 calls it a misconception "that the same batch size should be used for both training and
evaluation", and continues: "It is common to use a larger batch size during training and a smaller batch size during
evaluation to get a more accurate estimate of the model's performance." So it claims that evaluation has a better and a
worse batch size.

## Idea

The accuracy of a model f on n test samples, in percent, is a mean over samples, with 1[…] equal to 1 if the condition
is true and 0 if not:

    accuracy = (100 / n) · Σ 1[ f(xᵢ) is largest for the right class ]

Batches only group the terms of this sum. The result can depend on the grouping in two ways. Float32 numbers have 24
bits, so sums in another order differ by about 10⁻⁷. And f(xᵢ) itself may depend on the other samples of the batch.
Batch normalization in *training mode* makes it so: it shifts and scales each feature h by the mean m_B and the
variance s_B² over the batch, with two trained numbers γ and β,

    h ← γ · (h − m_B) / √(s_B² + 0.001) + β

In *evaluation mode* it uses averages that were stored in training instead, and f(xᵢ) depends on xᵢ only.

## Experiment

- *plain network*: trained for 30 epochs at batch size 64, and evaluated on the same test samples in batches of 1, 4,
  16, 64, 256 and 1024
- *batch normalization*: a small network (one hidden layer of 128 units, normalized before the ReLU), trained for as
  long, and evaluated in both modes. Evaluation mode is the control. The test samples are in a random order.

The time is that of the plain network on the test set, the median of five passes. Memory is measured in new processes.

**Predict.** At how many digits do the accuracies of the plain network differ? What is the accuracy of the normalized
one in training mode, with one sample at a time?

## Explanation

The accuracies of the plain network agree to the last digit and the losses to about 10⁻⁷, the rounding of float32.
There is no better and no worse batch size for an estimate: its accuracy depends on the number of test samples.

The normalized network in evaluation mode behaves alike. In training mode it does not. One sample is its own mean, so
that every feature is normalized to β, whatever the image shows: on digits the network then gives all samples the same
class, and 10 % are right. With batches of 4 it reaches 86 % (80 % on MNIST), with 64 it is within 0.5 points of
evaluation mode. The mean of B samples has a variance in proportion to 1/B, so only small batches have means that are
far off. If a program evaluates in training mode by mistake, its accuracy depends on the batch size, and *larger*
batches are better, not smaller ones.

The time depends on the batch size. Each batch costs a call with a fixed overhead, as in training (chapter 15). On
digits a pass over the 360 test samples takes 0.25 seconds in batches of 1, and 0.008 if all of them are one batch: 34
[22, 52] times as long. On MNIST a pass over the 10,000 test samples takes 8.4 seconds in batches of 1 and 0.25 in
batches of 1024: 34 [27, 43] times as long. The large batch takes more memory: 19 [15, 23] MB more on digits, 10 [9, 11]
on MNIST.

## In practice

Evaluate with the largest batch that is fast on your machine, and in evaluation mode: in Keras `model(x,
training=False)`, in PyTorch `model.eval()`. If the accuracy changes with the batch size, look for a layer in training
mode. For a more accurate estimate, use more test samples.

## Exercises

1. How accurate is a measured accuracy of 98 % on 10,000 samples?

   > Its standard error is √(0.98 · 0.02 / 10,000) = 0.0014, or 0.14 percentage points. The batch size does not enter.

2. A program averages the accuracies of all batches, and the last batch is smaller. What is wrong?

   > The samples of the last batch count more than the others. Weight each batch by its size.

3. In training mode, what would sorting the test samples by class do?

   > A batch of one class has other means than a mixed one. The normalization would remove what makes the class
   > special, and the accuracy would fall at large batch sizes too.

4. Why do the losses of the plain network differ at all? Add 1e8, 1 and −1e8 in float32, in two orders.

   > (1e8 + 1) − 1e8 is 0, because 1e8 + 1 is rounded to 1e8. (1e8 − 1e8) + 1 is 1.

## Sources

- "Deep learning batch size", a web article without author or date: "Common misconceptions"
- Ioffe (2017), [Batch renormalization](https://arxiv.org/abs/1702.03275): how the outputs of batch-normalized models
  depend on the batch

## History

Version 0.1 misquoted the article, and only asserted the exception. Equal accuracy and equal loss are now checks: only
a fault of the program could make them differ. The claims on batch normalization are new; their bounds were set before
the first result. Memory is measured at two batch sizes now, and not at four. The time was that of a pass over as many
samples as the training set has, in a new process: 30 times as long at batch size 1 as at 1024 on MNIST.
"""

import numpy as np

from bstudy import Evaluation, Memory, NormalizedEvaluation, Recipe, claim, plots, stats

PART = "VI. Cost"


def experiments(batch_sizes=(1, 4, 16, 64, 256, 1024), batch_size=64, learning_rate=0.01, epochs=30):
    sizes = sorted(batch_sizes)
    return {
        "plain network": Evaluation(Recipe.sgd(batch_size, learning_rate, epochs), batch_sizes),
        "batch normalization": NormalizedEvaluation(batch_sizes, batch_size, 10 * learning_rate, epochs),
        "memory": Memory((sizes[0], sizes[-1]), "evaluation"),
    }


def figure(runs, fig):
    accuracy, time, memory = fig.subplots(1, 3, width_ratios=(2.4, 1.3, 1))
    plain, normalized = runs["plain network"], runs["batch normalization"]
    for number, (label, values) in enumerate(
        {
            "plain network": plain["accuracy"],
            "batch normalization, evaluation mode": normalized["evaluation_mode"],
            "batch normalization, training mode": normalized["training_mode"],
        }.items()
    ):
        sizes, style = plain.experiment.batch_sizes, ("-", "--", "-")[number]
        plots.by_batch_size(accuracy, sizes, values, yscale="linear", color=f"C{number}", linestyle=style, label=label)
    accuracy.set(title="on the same test samples", ylabel="test accuracy (%)", ylim=(0, 105))
    plots.by_batch_size(time, plain.experiment.batch_sizes, plain["seconds"], color="C0")
    time.set(title="a pass over the test set", ylabel="seconds")
    sizes = runs["memory"].experiment.batch_sizes
    mean, half = stats.confidence_interval(runs["memory"]["memory"] / 1e6)
    places = range(len(sizes))
    memory.bar(places, mean, color=[plots.color(size) for size in sizes], width=0.6)
    interval = memory.errorbar(places, mean, half, color="gray", marker="o", markersize=4, linestyle="", elinewidth=2)
    memory.set_xticks(places, labels=[f"B = {size}\n{number:.2g}" for size, number in zip(sizes, mean, strict=True)])
    plots.note(interval.lines[2][0], plots.SEEDS_BAND)
    memory.set(title="memory (MB)", ylim=(0, None))
    memory.grid(axis="x", visible=False)


def verdicts(runs):
    plain, normalized = runs["plain network"], runs["batch normalization"]
    sizes, points = plain.experiment.batch_sizes, "percentage points of difference"
    different = stats.mask_diverged(np.ptp(plain["accuracy"], axis=1), plain.diverged)
    yield claim(
        "The accuracy is the same at every batch size.",
        different,
        below=0.01,
        unit=points,
        otherwise="The accuracy depends on the batch size of evaluation.",
        answer=True,
        check=True,
        advice=("Do not change the batch size of evaluation to improve an estimate.", ""),
    )
    text = f"With batch normalization in training mode, batches of {sizes[1]} are less accurate than batches of"
    yield claim(
        f"{text} {sizes[-1]}.",
        normalized["training_mode"][:, -1] - normalized["training_mode"][:, 1],
        above=1,
        unit=points,
        otherwise=f"{text.replace('are less', 'are not less')} {sizes[-1]}.",
        answer=True,
        advice=("Evaluate in evaluation mode.", ""),
    )
    text, same = "In evaluation mode that network has one accuracy.", np.ptp(normalized["evaluation_mode"], axis=1)
    yield claim(text, same, below=0.01, check=True, unit=points)
    rounding = np.ptp(plain["loss"], axis=1) / plain["loss"].mean(axis=1)
    text = "The loss of the plain network is the same to the rounding of float32."
    yield claim(text, rounding, below=1e-5, check=True, unit="relative difference")
    (smallest, largest), seconds = runs["memory"].experiment.batch_sizes, plain["seconds"]
    text = f"Batches of {smallest} take more than twice as long as batches of {largest}."
    ratio = seconds[:, 0] / seconds[:, -1]
    yield claim(text, ratio, above=2, scale="log", otherwise=text.replace("more than", "at most"))
    memory = runs["memory"]["memory"] / 1e6
    text = f"Batches of {largest} take more memory than batches of {smallest}."
    yield claim(text, memory[:, -1] - memory[:, 0], above=0, unit="MB", otherwise=text.replace("more", "less"))
