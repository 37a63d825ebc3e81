"""Growing the batch does what decaying the learning rate does, in fewer updates.

Claim     When a schedule divides the learning rate by five, multiply the batch size by five instead: the same accuracy
          against epochs, with far fewer updates. AdaBatch doubles the batch and multiplies the learning rate by 0.75,
          its fixed batch multiplies it by 0.375: one ratio of learning rate to batch size on both paths.
Compare   The same start and epochs for all, the changes at the same milestones: decayed, grown, and both constants; the
          two paths of AdaBatch; and a batch that shrinks, with as many samples and updates as the one that grows.
Look for  Curves over epochs that fall together if learning rate / batch size does. Below, the same against updates: the
          grown batch stops early. And the loss at the milestones: a change of the batch disrupts nothing.
Source    Smith, Kindermans, Ying and Le (2018); Devarakonda, Naumov and Garland (2017), AdaBatch. The article of
          chapter 15 for "start large and decrease" and "abrupt changes can disrupt the learning".

Exercises
  1. Which of the two constants does the decayed run end nearer to? Is decay needed at all here?
  2. Grow by a larger factor: `bstudy chapter 19 --set growth_factor=10`. Where does the batch end, and what follows?
  3. Count updates and seconds. Why do the seconds fall less than the updates?
"""

import numpy as np

from bstudy import Recipe, claim, map_leaves, plots, stats

PART = "VII. Changing the batch, and many devices"
LINES = {  # the two runs of a pair share a color
    "small, constant": {"color": "gray", "linestyle": ":"},
    "large, constant": {"color": "gray", "linestyle": "-."},
    "rate decayed": {"color": "C0", "linestyle": "-"},
    "batch grown": {"color": "C0", "linestyle": "--"},
    "batch shrunk": {"color": "C1", "linestyle": "-"},
    "AdaBatch, fixed": {"color": "C2", "linestyle": "-"},
    "AdaBatch, doubled": {"color": "C2", "linestyle": "--"},
}


def two_changes(recipe, batch_factor, rate_factor):
    for _ in range(2):
        size, rate = round(recipe.batch_size * batch_factor), recipe.learning_rate * rate_factor
        recipe = recipe.then(batch_size=size, learning_rate=rate)
    return recipe


def experiments(batch_size=32, learning_rate=0.1, growth_factor=5, epochs=6):
    small = Recipe.sgd(batch_size, learning_rate, epochs)
    large = Recipe.sgd(batch_size * growth_factor**2, learning_rate, epochs)
    return {
        "small, constant": two_changes(small, 1, 1),
        "large, constant": two_changes(large, 1, 1),
        "rate decayed": two_changes(small, 1, 1 / growth_factor),
        "batch grown": two_changes(small, growth_factor, 1),
        "batch shrunk": two_changes(large, 1 / growth_factor, 1),
        "AdaBatch, fixed": two_changes(small, 1, 0.375),
        "AdaBatch, doubled": two_changes(small, 2, 0.75),
    }


def table(runs):
    return map_leaves(lambda run: {name: run.final(name) for name in ("test_accuracy", "final_train_loss")}, runs)


def figure(runs, fig):
    for (accuracy, loss), x in zip(fig.subplots(2, 2), ("epoch", "step"), strict=True):
        for role, run in runs.items():
            plots.curve(accuracy, run, "test_accuracy", x=x, label=role, **LINES[role])
            plots.curve(loss, run, "train_subset_loss", x=x, yscale="log", label=role, **LINES[role])
        plots.zoom_to_final_values(accuracy)


def verdicts(runs):
    accuracy = {role: run.final("test_accuracy", over=3) for role, run in runs.items()}
    updates = {
        role: stats.mask_diverged(np.full(len(run.seeds), run.experiment.steps(run.samples)[-1]), run.diverged)
        for role, run in runs.items()
    }
    for grown, decayed in (("batch grown", "rate decayed"), ("AdaBatch, doubled", "AdaBatch, fixed")):
        gain = accuracy[grown] - accuracy[decayed]
        yield claim(f"“{grown}” ends as “{decayed}” does.", gain, above=-0.5, below=0.5, unit="percentage points")
        yield claim(f"“{grown}” takes fewer updates (ratio).", updates[grown] / updates[decayed], below=0.8)
        ratio = runs[grown]["seconds"].sum(axis=1) / runs[decayed]["seconds"].sum(axis=1)
        yield claim(f"“{grown}” takes less time (ratio of seconds).", ratio, below=0.9)
    gain = accuracy["batch shrunk"] - accuracy["batch grown"]
    yield claim("A batch that shrinks does better than one that grows.", gain, above=0, unit="percentage points")
    jump = np.diff(runs["batch grown"]["train_subset_loss"])[:, runs["batch grown"].experiment.phases[0].epochs]
    yield claim("The loss jumps when the batch is multiplied (first epoch after).", jump, above=0.01, unit="nats")
