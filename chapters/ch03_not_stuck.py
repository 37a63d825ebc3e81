"""A large batch does not get the model stuck.

Claim     Trained on batches of 1024 the model ends below where batches of 64 take it (chapter 1), but it is not
          trapped: change one thing, and the lost accuracy comes back.
Compare   The same start, then as many epochs again. The control changes nothing; the others change one thing. Verdicts
          rest on the mean of the last five epochs, which varies less than only the last one.
Look for  Every curve that changes course ends on the reference; the control does not.
Source    Shen (2018), "Can you recover good asymptotic behaviour by lowering the batch size?": all three changes
          recover 98 %.

Exercises
  1. Predict, then test: `bstudy chapter 3 --set large_batch_size=512`.
  2. Batch size, or learning rate / batch size: which one matters? Find a second pair that recovers.
  3. Someone says that changing the batch size abruptly disrupts the learning. Look at the loss across the switch: is
     there a trace of it?
"""

from bstudy import Recipe, claim, map_leaves, plots
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "I. The gap"


def experiments(small_batch_size=64, large_batch_size=1024, learning_rate=0.01, epochs=30):
    start = Recipe.sgd(large_batch_size, learning_rate, epochs)
    return {
        "reference": Recipe.sgd(small_batch_size, learning_rate, epochs),
        "control": start.then(),
        "one large epoch": start.first(1).then(batch_size=small_batch_size, epochs=epochs),
        "smaller batch": start.then(batch_size=small_batch_size),
        "larger steps": start.then(learning_rate=10 * learning_rate),
    }


def table(runs):
    return map_leaves(lambda run: {"test_accuracy": run.final("test_accuracy")}, runs)


def figure(runs, fig):
    axes = fig.subplots()
    for run in runs.values():
        plots.curve(axes, run, "test_accuracy", last_epochs=runs["reference"].experiment.epochs)
    plots.zoom_to_final_values(axes)


def verdicts(runs):
    accuracy = {role: run.final("test_accuracy", over=5) for role, run in runs.items()}
    lost = {role: accuracy["reference"] - values for role, values in accuracy.items()}
    unit = "percentage points"
    yield claim("Unchanged, the large batch stays below the small one.", lost["control"], above=0, unit=unit)
    for role, text in (
        ("one large epoch", "One epoch of large batches at the start does no lasting harm"),
        ("smaller batch", "A smaller batch brings the lost accuracy back"),
        ("larger steps", "Larger steps bring the lost accuracy back"),
    ):
        yield claim(f"{text} (to within 1 percentage point).", lost[role], below=1, published=0, unit=unit)
