"""A larger learning rate recovers the lost accuracy.

Claim     The accuracy that a batch of 1024 loses against one of 64 (chapter 1) comes back when its learning rate is
          raised tenfold.
Compare   64 and 1024 at one learning rate, as in chapter 1, and 1024 once more with larger steps: the two runs of 1024
          differ only in the learning rate. Verdicts rest on the mean of the last five epochs, which varies less than
          only the last one.
Look for  The dashed curve: where it ends, and how early it leaves the solid one of its color.
Source    Shen (2018): 1024 at learning rate 0.1 reaches 98 %.

Exercises
  1. The rule of thumb says: batch size × 16, learning rate × 16. Test it: `bstudy chapter 2 --set
     large_learning_rate=0.16`.
  2. Find the learning rate at which 1024 no longer trains: `bstudy chapter 2 --set large_learning_rate=2`.
  3. How close must the end be to be called recovered? Where does the margin below come from, and is 1 percentage point
     fair?
"""

from bstudy import Recipe, claim, map_leaves, plots
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "I. The gap"


def experiments(small_batch_size=64, large_batch_size=1024, learning_rate=0.01, large_learning_rate=0.1, epochs=30):
    return {
        "small batch": Recipe.sgd(small_batch_size, learning_rate, epochs),
        "large batch": Recipe.sgd(large_batch_size, learning_rate, epochs),
        "larger steps": Recipe.sgd(large_batch_size, large_learning_rate, epochs),
    }


def table(runs):
    return map_leaves(lambda run: {"test_accuracy": run.final("test_accuracy")}, runs)


def figure(runs, fig):
    axes = fig.subplots()
    for run in runs.values():
        plots.curve(axes, run, "test_accuracy")
    plots.zoom_to_final_values(axes)


def verdicts(runs):
    accuracy = {role: run.final("test_accuracy", over=5) for role, run in runs.items()}
    lost = accuracy["small batch"] - accuracy["large batch"]
    gained = accuracy["larger steps"] - accuracy["large batch"]
    missing = accuracy["small batch"] - accuracy["larger steps"]
    unit = "percentage points"
    yield claim("The large batch ends below the small one.", lost, above=0, published=2.5, unit=unit)
    yield claim("Larger steps raise its test accuracy.", gained, above=0, published=2.5, unit=unit)
    yield claim("They recover the loss, to within 1 percentage point.", missing, below=1, published=0, unit=unit)
