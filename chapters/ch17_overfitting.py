"""# Does a larger, or a smaller, batch always give better results?

The article of chapter 15 lists both as common misconceptions, and then has tables from 16 to 256 in which it matters
little: the lowest loss at 32 (table A), the highest training accuracy at 32 (C), the highest validation accuracy at
256 (E, 90.3 % against 90.2 % at 16), and the least overfitting at 256 (H, 6.1 points against 6.3 at 16 and 7.1 at 32).

## Idea

Overfitting is measured here by the gap

    gap = training accuracy − test accuracy        (percentage points)

A gap says how much better the model does on samples that it has seen. It does not say how good the model is: an
untrained model has a gap of zero. (Table H is said to be this difference of tables C and E. That is 6.0, 7.0, 6.5, 6.0
and 5.6, so it is not.)

What is held fixed decides what is compared. In equal epochs at one learning rate η, a batch of B takes N / B steps per
epoch, so that η · steps, the clock of chapter 9, runs 16 times slower at 256 than at 16. With η in proportion to B the
clock is the same for all.

## Experiment

Batch sizes 16 to 256, the article's, for 30 epochs from the same start:

- *one learning rate*: 0.01 for all
- *rate ∝ B*: 0.01 at 16, twice that at 32, and so on to 0.16 at 256
- *article*: its tables, as changes from their first row, in gray

All panels show changes from batch size 16.

**Predict.** Under which of the two rules does the batch size matter? Which batch size has the smallest gap, and is
that a virtue?

## Explanation

At one learning rate every halving of the batch raises the test accuracy, by 0.24 points on MNIST and by 1.5 on digits,
because it doubles the steps. With the rate in proportion to B nothing is left of that: all five batch sizes end
between 98.23 and 98.25 % on MNIST, and between 98.24 and 98.30 % on digits. So neither sentence is always true. What
differed was η · steps, not the quality of the batch size.

The gap of the largest batch is smaller on MNIST (1.2 points against 1.8 at 16; three seeds of digits do not decide
it). That is no virtue: both its training and its test accuracy are lower. Nor does the gap fall evenly. Up to 64 the
training accuracy is at 100 %, so the gap first grows as the test accuracy falls (1.9 points at 64), and shrinks only
when the training accuracy falls too. Table H has this shape, but tables C and E, from which it should follow, do not:
they change by less than a point, without a setting and without intervals.

This experiment cannot show that the batch size never matters. It has no label noise, no early stopping and one size of
data; chapter 23 varies the size of the data.

## In practice

Do not expect accuracy from a batch size. Choose it for speed, adapt the learning rate, and judge a model by its test
accuracy, not by its gap.

## Exercises

1. Is a gap of zero good? Train one epoch: `bstudy chapter 17 --epochs 1`.

   > No. After one epoch all gaps are near zero, and the test accuracy is lower than after thirty.

2. Give each batch size the same number of steps instead of epochs, at one learning rate. What do you expect?

   > By the clock of chapter 9, the same result for all: η · steps is equal.

3. When could a small batch give better results at equal η · steps?

   > If its noise matters, for example at a large learning rate, or if the labels are noisy and training is long.

## Sources

- "Deep learning batch size", a web article without author or date: tables A, C, E and H, and "Common misconceptions"
- Shallue et al. (2019), [Measuring the effects of data parallelism](https://arxiv.org/abs/1811.03600): no evidence that
  larger batches degrade the results, once each is tuned

## History

Version 0.1 tested the two misconceptions themselves, with a bound of 0.1 percentage points per doubling for both
rules. The claim that all sizes end alike now has the margin of a tenth of the effect. Its MNIST result was known: 0.24
points per doubling at one rate, 0.00 with the rate in proportion. The claims on the training accuracy and on table E
are new, and their MNIST results were known too.
"""

import numpy as np

from bstudy import Recipe, claim, linear_fit, map_leaves, plots, stack
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "VI. Cost"
COLUMNS = ("train_subset_accuracy", "test_accuracy", "train_subset_loss", "test_loss")
ARTICLE = {  # at batch sizes 16, 32, 64, 128 and 256
    "test": [90.2, 89.5, 89.8, 90.1, 90.3],  # table E
    "training": [96.2, 96.5, 96.3, 96.1, 95.9],  # table C
    "gap": [6.3, 7.1, 6.8, 6.4, 6.1],  # table H
    "loss": [0.0432, 0.0417, 0.0421, 0.0435, 0.0449],  # table A
}


def experiments(batch_sizes=(16, 32, 64, 128, 256), learning_rate=0.01, epochs=30):
    sizes = sorted(batch_sizes)
    return {
        "one learning rate": {size: Recipe.sgd(size, learning_rate, epochs) for size in sizes},
        "rate ∝ B": {size: Recipe.sgd(size, learning_rate * size / sizes[0], epochs) for size in sizes},
    }


def table(runs):
    return map_leaves(lambda run: {name: run.final(name) for name in COLUMNS}, runs)


def measures(by_size):
    """Return the batch sizes and {name in ARTICLE: (seeds, n)}."""
    sizes, test = stack(by_size, "test_accuracy")
    training, loss = (stack(by_size, f"train_subset_{what}")[1] for what in ("accuracy", "loss"))
    return sizes, {"test": test, "training": training, "gap": training - test, "loss": loss}


def figure(runs, fig):
    labels = "test accuracy (points)", "training accuracy (points)", "gap (points)", "training loss (nats)"
    for axes, name, label in zip(fig.subplots(2, 2).flat, ARTICLE, labels, strict=True):
        for color, (rule, by_size) in zip(("C0", "C1"), runs.items(), strict=True):
            sizes, values = measures(by_size)
            change = values[name] - values[name][:, :1]
            plots.by_batch_size(axes, sizes, change, yscale="linear", color=color, label=rule)
        axes.plot(
            (16, 32, 64, 128, 256), np.array(ARTICLE[name]) - ARTICLE[name][0], "--", color="gray", label="article"
        )
        axes.set(ylabel=f"change of {label}")


def verdicts(runs):
    sizes, fixed = measures(runs["one learning rate"])
    _, scaled = measures(runs["rate ∝ B"])
    gain, scaled_gain = (-linear_fit(np.log2(sizes), values["test"])[0] for values in (fixed, scaled))
    yield claim(
        "At one learning rate a smaller batch gives better results.",
        gain,
        above=0.1,
        unit="percentage points per halving",
        otherwise="At one learning rate a smaller batch does not give better results.",
        answer=True,
    )
    yield claim(
        "With a rate in proportion to B all end alike.",
        scaled_gain / gain,
        above=-0.1,
        below=0.1,
        unit="of that effect is left",
        otherwise="With a rate in proportion to B the batch size still matters.",
        answer=True,
        advice=(
            "Choose the batch size for speed, and change the learning rate in proportion.",
            "Compare batch sizes by experiment: the learning rate does not make up for them.",
        ),
    )
    less = fixed["gap"][:, 0] - fixed["gap"][:, -1]
    text = f"At one learning rate {sizes[-1]} overfits less than {sizes[0]} (table H): its gap is smaller."
    otherwise = text.replace("less", "more").replace("smaller", "larger").replace(" (table H)", "")
    yield claim(text, less, above=0, unit="percentage points", source="the article", otherwise=otherwise)
    less = fixed["training"][:, 0] - fixed["training"][:, -1]
    text = f"At one learning rate {sizes[-1]} learns less: its training accuracy is lower too."
    yield claim(text, less, above=0, unit="percentage points")
    more = fixed["test"][:, -1] - fixed["test"][:, 0]
    text = f"The test accuracy is higher at {sizes[-1]} than at {sizes[0]} (table E)."
    otherwise = f"The test accuracy is lower at {sizes[-1]} than at {sizes[0]}, unlike in table E."
    yield claim(text, more, above=0, unit="percentage points", source="the article", otherwise=otherwise)
