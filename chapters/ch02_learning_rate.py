"""A larger learning rate recovers the lost accuracy.

Claim     What a batch of 1024 loses against one of 64 (chapter 1) comes back when its learning rate is raised tenfold.
Compare   64 and 1024 at one learning rate, as in chapter 1, and 1024 once more with larger steps: of the two runs of
          1024 only the learning rate differs. Verdicts rest on the mean of the last five epochs, which varies less than
          the last one alone.
Look for  The dashed curve: where it ends, and how early it leaves the solid one of its colour.
Source    Shen (2018): 1024 at learning rate 0.1 reaches 98 %.

Exercises
  1. The rule of thumb says: batch size × 16, learning rate × 16. Test it: `bstudy chapter 2 --set raised=0.16`.
  2. Find the learning rate at which 1024 does not train any more: `bstudy chapter 2 --set raised=2`.
  3. How close must the end be to be called recovered? Where does the margin below come from, and is 1 point fair?
"""

from bstudy import Recipe, claim, draw

PART = "I. The gap"


def experiments(small=64, large=1024, learning_rate=0.01, raised=0.1, epochs=30):
    return {
        "small batch": Recipe.sgd(small, learning_rate, epochs),
        "large batch": Recipe.sgd(large, learning_rate, epochs),
        "larger steps": Recipe.sgd(large, raised, epochs),
    }


def figure(runs, fig):
    axes = fig.subplots()
    for run in runs.values():
        draw.curve(axes, run, "test_accuracy")
    draw.focus(axes)


def verdicts(runs):
    accuracy = {role: 100 * run.final("test_accuracy", over=5) for role, run in runs.items()}
    lost = {role: accuracy["small batch"] - values for role, values in accuracy.items()}
    won = accuracy["larger steps"] - accuracy["large batch"]
    yield claim("The large batch ends below the small one.", lost["large batch"], above=0, published=2.5, unit="points")
    yield claim("Larger steps raise its test accuracy.", won, above=0, published=2.5, unit="points")
    yield claim(
        "They recover what was lost, to within 1 point.", lost["larger steps"], below=1, published=0, unit="points"
    )
