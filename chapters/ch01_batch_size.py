"""Larger batches end at lower test accuracy.

Claim     At one learning rate, and after the same number of epochs, a model trained with larger batches classifies
          fewer test samples rightly.
Compare   The same model, start and learning rate; only the batch size differs. Every run sees every sample equally
          often, but 1024 takes a sixteenth of the steps that 64 takes.
Look for  The order of the curves at the right edge. Then the gap between training and test accuracy: is the large
          batch worse at generalizing, or has it learned less?
Source    Shen (2018), "Effect of batch size on training dynamics": about 98 % at 64, 95 to 96 % at 1024. Shallue et al.
          (2019) find no such loss once each batch size has a learning rate of its own and is trained to the end:
          chapters 2 and 16.

Exercises
  1. Batch size 2 is said to reach 99 % on MNIST. Predict its place, then test it:
     `bstudy chapter 1 --set batch_sizes=2,64`.
  2. After how many epochs has 1024 taken as many steps as 64 in 30? Train it for as long, and compare:
     `bstudy train --batch-size 1024 --learning-rate 0.01 --epochs E`.
  3. At which learning rate does the order turn round? Begin with `bstudy chapter 1 --set learning_rate=0.1`.
"""

import numpy as np

from bstudy import Recipe, claim, draw

PART = "I. The gap"


def experiments(batch_sizes=(64, 256, 1024), learning_rate=0.01, epochs=30):
    return {f"batch size {size}": Recipe.sgd(size, learning_rate, epochs) for size in sorted(batch_sizes)}


def figure(runs, fig):
    accuracy, loss, gap = fig.subplots(1, 3)
    for run in runs.values():
        for part, line in (("train", ":"), ("test", "-")):
            draw.curve(accuracy, run, f"{part}_accuracy", linestyle=line, label=None)
            draw.curve(loss, run, f"{part}_loss", linestyle=line, label=None)
        draw.curve(gap, run, run["test_loss"] - run["train_loss"], linestyle="-")
    accuracy.set(title="test ——   training ····", ylabel="accuracy (%)")
    draw.focus(accuracy)
    draw.focus(loss)
    loss.set(title="test ——   training ····", ylabel="loss (nats)")
    gap.set(title="generalization gap", ylabel="test − training loss (nats)")


def verdicts(runs):
    smallest, *_, largest = runs
    accuracy, training = (
        {role: 100 * run.final(f"{part}_accuracy") for role, run in runs.items()} for part in ("test", "train")
    )
    gap = {role: run.final("test_loss") - run.final("train_loss") for role, run in runs.items()}
    doublings = [np.log2(run.experiment.batch_size) for run in runs.values()]
    slope, _ = np.polyfit(doublings, list(accuracy.values()), 1)
    lost, untrained = accuracy[smallest] - accuracy[largest], training[smallest] - training[largest]
    wider = gap[largest] - gap[smallest]
    yield claim(
        f"Test accuracy is higher at {smallest} than at {largest}.", lost, above=0, published=2.5, unit="points"
    )
    yield claim("Each doubling of the batch size costs test accuracy.", slope, below=0, unit="points a doubling")
    yield claim(f"At {largest} less was learned: training accuracy is lower too.", untrained, above=0, unit="points")
    yield claim(f"Generalization is not the reason: the gap is no wider at {largest}.", wider, below=0, unit="nats")
