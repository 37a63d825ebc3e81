"""# Do larger batches end at lower test accuracy?

Shen (2018) trains one network on MNIST with three batch sizes, for 30 epochs each. Batches of 64 samples end at 98 %
test accuracy, batches of 1024 at 95 to 96 %, and the conclusion is that "higher batch sizes leads to lower asymptotic
test accuracy". *Asymptotic* means: after so much training that more of it changes nothing. A batch size of 2 is
reported to reach 99 %.

## Idea

How well a model predicts new samples depends on two things: how well it has learned the training samples, and how much
worse it is on samples that it has not seen. Accuracy splits in the same way:

    test accuracy = training accuracy − generalization gap

The gap is measured in percentage points of accuracy, or in nats of loss. A batch size can lower the test accuracy by
learning less, or by a wider gap. The remedies differ: a model that has learned too little needs more or longer steps, a
model with a wide gap needs regularization or more data.

## Experiment

All runs have the same model, initial weights, learning rate, order of samples and number of epochs. Only the batch
size differs: 2, 64, 256 and 1024. Every run sees every sample equally often. But an epoch has N / B steps, so a batch
of 1024 takes a sixteenth of the steps that a batch of 64 takes (on digits, 2 instead of 23 in an epoch).

The control is the training accuracy: if large batches only *generalized* worse, it would be the same for all of them.

**Predict.** Draw the four curves of the test accuracy. Which batch size has the widest gap at the end?

## Explanation

The large batch ends lower because it has learned less. On digits its test accuracy is 7.3 points lower, and its
training accuracy 8.7 points. So its generalization gap is narrower, not wider; there the smallest batch has the
widest gap. With B = 1024 there are far fewer steps, each about as long as those of B = 64, so the model has come less
far. In its last five epochs it still gains 1.9 points on digits: 30 epochs are not its end, and say nothing about
asymptotic accuracy. Chapters 2 and 3 test this: longer steps, or more of them, bring the accuracy back. Chapter 9
shows how far each run has come on one common clock.

A small convolutional network (cnn) on digits loses 62 points, in training and in test accuracy. Whether its gap in
accuracy is narrower stays open (−0.7 [−2.0, 0.6] points): the seeds differ by more than the effect.

On MNIST all claims hold. 1024 is 2.9 points lower in test accuracy and 4.9 in training accuracy, and gains 0.4 points
in its last five epochs. Batches of 2 end at 98.6 %, 0.6 points above 64; Shen reports 99 and 98 %. The widest gap in
accuracy is that of 64 there: 1.9 points, and 1.4 for batches of 2. Both have learned the training samples, and 2 is
the more accurate one on the test samples. In the loss, the gap of 2 is the widest.

## In practice

Compare batch sizes at equal epochs only if equal epochs are what you can afford. If you raise the batch size, raise the
learning rate too (chapter 2). Look at the training accuracy before you blame generalization.

## Exercises

1. At which learning rate does the order of the curves turn round? Begin with `bstudy chapter 1 --learning-rate 0.1`.

   > With larger steps, 1024 gets as far as 64 did, while small batches have long been at their end: the curves meet,
   > and where small batches become unstable, the order turns.

2. After how many epochs has 1024 taken as many steps as 64 in 30? Train it for as long and compare the two:
   `bstudy train --batch-size 1024 --learning-rate 0.01 --epochs 480`.

   > After 16 × 30 = 480 epochs on MNIST. It ends at the same test accuracy (chapter 9).

3. The gap in nats grows with training even while the test accuracy rises. How is that possible?

   > The loss counts how sure the model is. A few wrong test samples with a very small probability for the right class
   > cost many nats, but each only one sample of accuracy.

## Sources

- Shen (2018), [Effect of batch size on training
  dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e), "Effect of batch
  size": 98 % at 64, 95 to 96 % at 1024, 99 % at 2, and 100 % on the training set at 64.
- Shallue et al. (2019), [Measuring the effects of data parallelism on neural network
  training](https://arxiv.org/abs/1811.03600): no loss of accuracy once each batch size has its own learning rate and
  is trained to its end.

## History

The gap of the loss was at first the mean test loss of the last five epochs minus the training loss after the last
one. While the loss falls, this is too large: for 1024 on digits it was 0.05 nats. Both losses are now those of the
same epochs. With three seeds on digits, the gain in the last epochs and the gap in accuracy were undecided.
"""

import numpy as np

from bstudy import Recipe, claim, map_leaves, plots, stack
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "I. The gap"
HELP = {"tiny_batch_size": "very small batch size that is trained beside the others"}


def experiments(batch_sizes=(64, 256, 1024), tiny_batch_size=2, learning_rate=0.01, epochs=30):
    return {size: Recipe.sgd(size, learning_rate, epochs) for size in (tiny_batch_size, *sorted(batch_sizes))}


def table(runs):
    columns = ("train_subset_accuracy", "test_accuracy", "train_subset_loss", "test_loss")
    return map_leaves(lambda run: {name: run.final(name) for name in columns}, runs)


def figure(runs, fig):
    accuracy, points, nats = fig.subplots(1, 3)
    for size, run in runs.items():
        line = {"linestyle": "-", "label": f"B = {size}"}
        plots.curve(accuracy, run, "test_accuracy", **line)
        plots.curve(accuracy, run, "train_subset_accuracy", linestyle=":", label=None)
        plots.curve(points, run, run["train_subset_accuracy"] - run["test_accuracy"], **line | {"label": None})
        plots.curve(nats, run, run["test_loss"] - run["train_subset_loss"], **line | {"label": None})
    plots.zoom_to_final_values(accuracy)
    accuracy.set(title="test ——   training ····", ylabel="accuracy (%)")
    points.set(title="generalization gap", ylabel="training − test accuracy (points)")
    nats.set(title="generalization gap", ylabel="test − training loss (nats)")


def verdicts(runs):
    sizes, accuracy = stack(runs, "test_accuracy")
    _, trained = stack(runs, "train_subset_accuracy")
    _, gap = stack(runs, lambda run: run.final("test_loss") - run.final("train_subset_loss"))
    tiny, small, large = sizes[0], sizes[1], sizes[-1]
    epochs, unit = runs[large].experiment.epochs, "percentage points"
    yield claim(
        f"After {epochs} epochs a batch size of {large} ends below {small}.",
        accuracy[:, 1] - accuracy[:, -1],
        above=0,
        otherwise=f"After {epochs} epochs a batch size of {large} does not end below {small}.",
        answer=True,
        unit=unit,
        published=2.5,
        source="Shen",
        advice=(
            "In a fixed number of epochs, and at a fixed learning rate, use a small batch.",
            "In a fixed number of epochs this batch size is not too large at this learning rate.",
        ),
    )
    history, last = runs[large]["test_accuracy"], max(1, min(5, epochs // 2))
    yield claim(
        "It is still improving when training stops.",
        history[:, -last:].mean(axis=1) - history[:, -2 * last : -last].mean(axis=1),
        above=0,
        otherwise="It has reached its end by then.",
        answer=True,
        unit=f"{unit} in {last} epochs",
    )
    text = "It has learned less: its training accuracy is lower too."
    yield claim(text, trained[:, 1] - trained[:, -1], above=0, unit=unit)
    wider = (trained - accuracy)[:, -1] - (trained - accuracy)[:, 1]
    yield claim("Its generalization gap in accuracy is narrower.", wider, below=0, unit=unit)
    yield claim("Its generalization gap in loss is narrower.", gap[:, -1] - gap[:, 1], below=0, unit="nats")
    steepest = np.diff(accuracy[:, 1:], axis=1).max(axis=1)
    yield claim("Every larger batch size ends lower (smallest loss, as a change).", steepest, below=0, unit=unit)
    text = f"A batch size of {tiny} ends above {small}."
    yield claim(text, accuracy[:, 0] - accuracy[:, 1], above=0, unit=unit, published=1, source="Shen")
    text = f"A batch size of {small} learns all training samples (to half a percent)."
    yield claim(text, trained[:, 1], above=99.5, unit="%", published=100, source="Shen")
