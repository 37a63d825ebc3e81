"""Growing the batch does what decaying the learning rate does, in fewer updates.

Claim     Where a schedule divides the learning rate by five, multiply the batch size by five instead: the same
          accuracy against epochs, with far fewer updates. AdaBatch doubles the batch at each interval, the learning
          rate × 0.75, where its fixed batch has it × 0.375: one ratio of learning rate to batch size on both paths.
Compare   The same start and epochs for all, the changes at the same milestones: decayed, grown, and both constants;
          the two paths of AdaBatch; and the reverse, a batch that shrinks: as many samples, and as many updates, as
          the one that grows.
Look for  Curves over epochs that fall together where learning rate / batch size does. Below, the same against updates:
          the grown batch stops early. And the loss at the milestones: a change of the batch disrupts nothing.
Source    Smith, Kindermans, Ying and Le (2018); Devarakonda, Naumov and Garland (2017), AdaBatch. The article of
          chapter 15 for "start large and decrease" and "abrupt changes can disrupt the learning".

Exercises
  1. Which of the two constants does the decayed run end nearer to? Is decay needed at all here?
  2. Grow by a larger factor: `bstudy chapter 19 --set factor=10`. Where does the batch end, and what follows?
  3. Count updates and seconds. Why do the seconds fall less than the updates?
"""

import numpy as np

from bstudy import Recipe, claim, draw

PART = "VII. Changing the batch, and many devices"


def experiments(batch_size=32, learning_rate=0.1, factor=5, epochs=6):
    start, large = Recipe.sgd(batch_size, learning_rate, epochs), batch_size * factor**2

    def path(recipe, batch_growth, rate_growth, intervals=2):
        for _ in range(intervals):
            last = recipe.phases[-1]
            rate = float(f"{last.learning_rate * rate_growth:.12g}")
            recipe = recipe.then(batch_size=round(last.batch_size * batch_growth), learning_rate=rate)
        return recipe

    return {
        "small, constant": Recipe.sgd(batch_size, learning_rate, 3 * epochs),
        "large, constant": Recipe.sgd(large, learning_rate, 3 * epochs),
        "rate decayed": path(start, 1, 1 / factor),
        "batch grown": path(start, factor, 1),
        "batch shrunk": path(Recipe.sgd(large, learning_rate, epochs), 1 / factor, 1),
        "AdaBatch, fixed": path(start, 1, 0.375),
        "AdaBatch, doubled": path(start, 2, 0.75),
    }


# in the order of the experiments; the two paths of a pair share a colour
LINES = ("gray", ":"), ("gray", "-."), ("C0", "-"), ("C0", "--"), ("C1", "-"), ("C2", "-"), ("C2", "--")


def figure(runs, fig):
    for row, clock in zip(fig.subplots(2, 2), ("epoch", "step"), strict=True):
        for axes, what, yscale in zip(row, ("test_accuracy", "train_loss"), ("linear", "log"), strict=True):
            for (role, run), (color, style) in zip(runs.items(), LINES, strict=True):
                draw.curve(axes, run, what, clock=clock, yscale=yscale, label=role, color=color, linestyle=style)
        draw.focus(row[0])


def verdicts(runs):
    accuracy = {role: 100 * run.final("test_accuracy", over=3) for role, run in runs.items()}
    steps = {role: run.experiment.steps(run.samples)[-1] for role, run in runs.items()}
    for grown, decayed in (("batch grown", "rate decayed"), ("AdaBatch, doubled", "AdaBatch, fixed")):
        away = accuracy[grown] - accuracy[decayed]
        yield claim(f"“{grown}” ends where “{decayed}” does.", away, above=-0.5, below=0.5, unit="points")
        fewer = np.full(len(away), steps[grown] / steps[decayed])
        yield claim(f"“{grown}” takes fewer updates (ratio).", fewer, below=0.8)
        seconds = [runs[role]["seconds"].sum(axis=1) for role in (grown, decayed)]
        yield claim(f"“{grown}” takes less time (ratio of seconds).", seconds[0] / seconds[1], below=0.9)
    better = accuracy["batch shrunk"] - accuracy["batch grown"]
    yield claim("A batch that shrinks does better than one that grows.", better, above=0, unit="points")
    loss, milestone = runs["batch grown"]["train_loss"], runs["batch grown"].experiment.phases[0].epochs
    jump = loss[:, milestone + 1] - loss[:, milestone]
    yield claim("The loss jumps when the batch is multiplied (first epoch after).", jump, above=0.01, unit="nats")
