"""Larger batches end at lower test accuracy.

Claim     At one learning rate, and after the same number of epochs, a model trained with larger batches classifies
          fewer test samples correctly.
Compare   The same model, start and learning rate; only the batch size differs. Every run sees every sample equally
          often, but 1024 takes a sixteenth of the steps that 64 takes.
Look for  The order of the curves at the right edge. Then the gap between training and test accuracy: is the large batch
          worse at generalizing, or has it learned less?
Source    Shen (2018), "Effect of batch size on training dynamics": about 98 % at 64, 95 to 96 % at 1024. Shallue et al.
          (2019) find no such loss once each batch size has a learning rate of its own and is trained to the end:
          chapters 2 and 16.

Exercises
  1. Batch size 2 is said to reach 99 % on MNIST. Predict its place, then test it: `bstudy chapter 1 --set
     batch_sizes=2,64`.
  2. After how many epochs has 1024 taken as many steps as 64 in 30? Train it for as long, and compare: `bstudy train
     --batch-size 1024 --learning-rate 0.01 --epochs E`.
  3. At which learning rate does the order turn round? Begin with `bstudy chapter 1 --set learning_rate=0.1`.
"""

import numpy as np

from bstudy import Recipe, claim, linear_fit, map_leaves, plots, stack
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "I. The gap"


def experiments(batch_sizes=(64, 256, 1024), learning_rate=0.01, epochs=30):
    return {size: Recipe.sgd(size, learning_rate, epochs) for size in sorted(batch_sizes)}


def table(runs):
    columns = ("final_train_accuracy", "test_accuracy", "final_train_loss", "test_loss")
    return map_leaves(lambda run: {name: run.final(name) for name in columns}, runs)


def figure(runs, fig):
    accuracy, loss, gap = fig.subplots(1, 3)
    for run in runs.values():
        for axes, what in ((accuracy, "accuracy"), (loss, "loss")):
            plots.curve(axes, run, f"train_subset_{what}", linestyle=":", label=None)
            plots.curve(axes, run, f"test_{what}", linestyle="-", label=None)
        plots.curve(gap, run, run["test_loss"] - run["train_subset_loss"], linestyle="-")
    accuracy.set(title="test ——   training ····", ylabel="accuracy (%)")
    plots.zoom_to_final_values(accuracy)
    plots.zoom_to_final_values(loss)
    loss.set(title="test ——   training ····", ylabel="loss (nats)")
    gap.set(title="generalization gap", ylabel="test − training loss (nats)")


def verdicts(runs):
    sizes, accuracy = stack(runs, "test_accuracy")
    _, train_accuracy = stack(runs, "final_train_accuracy")
    _, gap = stack(runs, lambda run: run.final("test_loss") - run.final("final_train_loss"))
    slope, _ = linear_fit(np.log2(sizes), accuracy)
    smallest, largest = f"batch size {sizes[0]}", f"batch size {sizes[-1]}"
    yield claim(
        f"Test accuracy is higher at {smallest} than at {largest}.",
        accuracy[:, 0] - accuracy[:, -1],
        above=0,
        published=2.5,
        unit="percentage points",
    )
    yield claim(
        "Each doubling of the batch size costs test accuracy.", slope, below=0, unit="percentage points per doubling"
    )
    yield claim(
        f"At {largest} the model has learned less: training accuracy is lower too.",
        train_accuracy[:, 0] - train_accuracy[:, -1],
        above=0,
        unit="percentage points",
    )
    wider = gap[:, -1] - gap[:, 0]
    yield claim(f"Generalization is not the reason: the gap is no wider at {largest}.", wider, below=0, unit="nats")
