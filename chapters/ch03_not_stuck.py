"""# Does a large batch get the model stuck?

With batches of 1024 samples the model ends below the accuracy that batches of 64 reach (chapter 1). Is it trapped in a
bad region? Shen (2018) reports that it is not: "starting with a large batch size doesn't 'get the model stuck'".
Lowering the batch size, or raising the learning rate, brings the test accuracy back to 98 %.

## Idea

One step of SGD moves the weights w against the mean gradient of a batch of B samples, scaled by the learning rate η:

    w ← w − η · (1/B) Σ ∇ℓ(w, xᵢ)

An epoch over N samples has N / B steps. At B = 1024 these are 16 times fewer than at B = 64, each of similar length, so
the model may only be *late*. After 30 epochs, late and trapped look alike. They differ in what happens next: a late
model improves as soon as it takes more or longer steps; a trapped one does not.

## Experiment

All runs start from the same weights and see the samples in the same order.

- *reference*: batch size 64 for 30 epochs
- *control*: batch size 1024 for 60 epochs, nothing changes
- *smaller batch*: 1024 for 30 epochs, then 64 for 30
- *larger steps*: 1024 for 30 epochs, then ten times the learning rate for 30
- *one large epoch*: 1024 for one epoch, then 64 for 30

What a change gains over the control, as a part of what the control lacks to the reference, is the recovered part. More
than 0.9 counts as recovered: the margin is a tenth of the loss.

**Predict.** Which of the last three reach the reference, and how soon after the change?

## Explanation

After epoch 30 both changes raise the accuracy at once, and end at the reference or just below it; the control keeps
climbing at its old pace. So the large batch had not led the model to a place that it could not leave. What the two
changes have in common is the product of learning rate and number of steps. Chapter 9 shows that this product predicts
how far any of these runs has come.

The loss does not jump when the batch size changes (right panel): after the switch the same gradient is estimated from
fewer samples, and the step stays as long as before. Chapter 19 has a setting in which such a change does disrupt.

With a small convolutional network (cnn) on digits the smaller batch recovers all too. The larger learning rate recovers
0.823 [0.731, 0.915], which is undecided because the seeds differ widely: its accuracy falls again for some epochs, so
steps of 0.1 are probably too long (chapter 2). But it is not stuck: it ends at 87 %, the control at 54 %.

On MNIST the smaller batch recovers all too. The larger learning rate recovers 0.919 [0.892, 0.946] of the 1.70 points
that the control lacks, and ends 0.14 points below the reference. Whether this is more than the bound of 0.9 stays open,
with five seeds as with three, because it is about as large as the bound. A reason may be that ten times the rate is
less than the sixteen times as many steps of the small batch (exercise 2).

## In practice

Training that began with too large a batch is not lost. Continue with a smaller batch or a larger learning rate; there
is no need to start again.

## Exercises

1. Is 512 enough to cause the delay? Predict, then run `bstudy chapter 3 --large-batch-size 512`.

   > The delay halves: 512 takes twice as many steps as 1024 (on digits 3 instead of 2 in an epoch), so it ends higher,
   > and what is left to recover is smaller.

2. Ten times the learning rate recovers a little less than the smaller batch does. How much larger would it have to be?

   > A batch of 64 takes 16 times as many steps (on digits 11.5 times). Sixteen times the learning rate has the same
   > product of learning rate and steps:
   > `bstudy train --batch-size 1024 --learning-rate 0.01 --epochs 30 --then learning_rate=0.16`.

3. The control has twice as many epochs as the reference. Why is it not the control that reaches it?

   > 60 epochs at 1024 have 60 N / 1024 steps, 30 epochs at 64 have eight times as many (on digits 120 and 690).

## Sources

- Shen (2018), [Effect of batch size on training
  dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e), "Can you recover
  good asymptotic behavior by lowering the batch size?"
"""

from bstudy import Recipe, claim, map_leaves, plots, stats
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "I. The gap"


def experiments(small_batch_size=64, large_batch_size=1024, learning_rate=0.01, epochs=30):
    large = Recipe.sgd(large_batch_size, learning_rate, epochs)
    return {
        "reference": Recipe.sgd(small_batch_size, learning_rate, epochs),
        "control": large.then(),
        "smaller batch": large.then(batch_size=small_batch_size),
        "larger steps": large.then(learning_rate=10 * learning_rate),
        "one large epoch": large.first(1).then(batch_size=small_batch_size, epochs=epochs),
    }


def table(runs):
    return map_leaves(lambda run: {"test_accuracy": run.final("test_accuracy")}, runs)


def figure(runs, fig):
    accuracy, loss = fig.subplots(1, 2)
    last = runs["reference"].experiment.epochs
    for number, (role, run) in enumerate(runs.items()):
        line = {"color": f"C{number}", "linestyle": "-", "label": role}
        plots.curve(accuracy, run, "test_accuracy", last_epochs=last, **line)
        if role not in ("reference", "one large epoch"):
            plots.curve(loss, run, "train_subset_loss", last_epochs=last + 5, yscale="log", **line | {"label": None})
    plots.zoom_to_final_values(accuracy)
    loss.axvline(5, color="gray", linestyle=":", linewidth=1)
    loss.set_title("loss across the change (dotted)")


def verdicts(runs):
    accuracy = {role: run.final("test_accuracy") for role, run in runs.items()}  # percent, one number a seed
    lost = accuracy["reference"] - accuracy["control"]
    of_loss = {"unit": "of the loss", "if_infinite": "lost nothing"}
    for change, action in (("smaller batch", "A smaller batch"), ("larger steps", "A larger learning rate")):
        recovered = stats.share(accuracy[change] - accuracy["control"], lost)
        yield claim(
            f"{action} recovers the lost accuracy.",
            recovered,
            above=0.9,
            otherwise=f"{action} does not recover the lost accuracy.",
            answer=True,
            published=1,
            source="Shen",
            **of_loss,
            advice=(
                f"{action} later in training makes up for too large a batch at the start.",
                f"{action} later in training does not fully make up for too large a batch at the start.",
            ),
        )
    recovered = stats.share(accuracy["one large epoch"] - accuracy["control"], lost)
    yield claim("One epoch of large batches at the start does no lasting harm.", recovered, above=0.9, **of_loss)
    yield claim(
        "Without a change the large batch stays below the reference.",
        lost,
        above=0,
        otherwise="Without a change the large batch reaches the reference as well.",
        unit="percentage points",
    )
