"""Larger batches always give better results, and smaller ones always do.

Claim     Four tables of one article have loss, accuracy and overfitting depend on the batch size; among the common
          misconceptions that it lists are both sentences above.
Compare   16 to 256, the article's sizes, with the same number of epochs: loss and accuracy on training and test data,
          and the gap between them. And the same with the learning rate in proportion to the batch.
Look for  Which sentence survives both columns of panels. At one learning rate a large batch takes fewer steps, learns
          less and so overfits less: its smaller gap is not a virtue. With steps in proportion, all sizes learn alike.
Source    "Deep learning batch size", tables A, C, E and H, and its misconceptions.

Exercises
  1. Is a gap of zero good? Train one epoch: `bstudy chapter 17 --set epochs=1`.
  2. Draw the gap against the training loss instead of the batch size. Do both rules fall on one curve?
  3. When would a large batch overfit more? Give each size the same number of steps instead of epochs.
"""

import numpy as np

from bstudy import Recipe, claim, linear_fit, map_leaves, plots, stack
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "VI. Cost"
COLUMNS = ("final_train_accuracy", "test_accuracy", "final_train_loss", "test_loss")


def experiments(batch_sizes=(16, 32, 64, 128, 256), learning_rate=0.01, epochs=30):
    sizes = sorted(batch_sizes)
    return {
        "one learning rate": {size: Recipe.sgd(size, learning_rate, epochs) for size in sizes},
        "a learning rate in proportion to B": {
            size: Recipe.sgd(size, learning_rate * size / sizes[0], epochs) for size in sizes
        },
    }


def table(runs):
    return map_leaves(lambda run: {name: run.final(name) for name in COLUMNS}, runs)


def figure(runs, fig):
    (accuracy, gap), (loss, loss_gap) = fig.subplots(2, 2)
    for color, (rule, by_size) in zip(("C0", "C1"), runs.items(), strict=True):
        for axes, difference, what, sign in ((accuracy, gap, "accuracy", 1), (loss, loss_gap, "loss", -1)):
            sizes, test = stack(by_size, f"test_{what}")
            _, train = stack(by_size, f"final_train_{what}")
            line = {"yscale": "linear", "color": color}
            plots.by_batch_size(axes, sizes, test, label=f"test, {rule}", **line)
            plots.by_batch_size(axes, sizes, train, label=f"training, {rule}", linestyle=":", **line)
            plots.by_batch_size(difference, sizes, sign * (train - test), **line)
    accuracy.set(ylabel="accuracy (%)")
    gap.set(ylabel="gap (percentage points)")
    loss.set(ylabel="loss (nats)")
    loss_gap.set(ylabel="gap (nats)")


def verdicts(runs):
    for rule, by_size in runs.items():
        sizes, test = stack(by_size, "test_accuracy")
        _, train = stack(by_size, "final_train_accuracy")
        gain, _ = linear_fit(np.log2(sizes), test)
        widening, _ = linear_fit(np.log2(sizes), train - test)
        bound = {"above": 0.1, "unit": "percentage points per doubling"}
        yield claim(f"A larger batch gives better results, with {rule}.", gain, **bound)
        yield claim(f"A smaller batch gives better results, with {rule}.", -gain, **bound)
        yield claim(f"A larger batch overfits more, with {rule} (the gap).", widening, **bound)
