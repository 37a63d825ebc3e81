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
  3. When would a large batch overfit more? Give each size the same number of steps, in place of epochs.
"""

import numpy as np

from bstudy import Recipe, claim, draw, linear_fit

PART = "VI. Cost"


def experiments(batch_sizes=(16, 32, 64, 128, 256), learning_rate=0.01, epochs=30):
    sizes = sorted(batch_sizes)
    same = {f"{size}": Recipe.sgd(size, learning_rate, epochs) for size in sizes}
    scaled = {size: round(learning_rate * size / sizes[0], 12) for size in sizes}
    return same | {f"{size}, scaled": Recipe.sgd(size, scaled[size], epochs) for size in sizes}


def by_rule(runs):
    """{rule: runs} by ascending batch size: at one learning rate, and with it in proportion to the batch."""
    same, scaled = (
        [run for role, run in runs.items() if ("scaled" in role) == is_scaled] for is_scaled in (False, True)
    )
    return {"one learning rate": same, "a rate in proportion to B": scaled}


def figure(runs, fig):
    (accuracy, gap), (loss, loss_gap) = fig.subplots(2, 2)
    for color, (rule, some) in zip(("C0", "C1"), by_rule(runs).items(), strict=True):
        sizes = [run.experiment.batch_size for run in some]
        for axes, difference, what, factor in ((accuracy, gap, "accuracy", 100), (loss, loss_gap, "loss", 1)):
            train, test = (
                factor * np.stack([run.final(f"{part}_{what}") for run in some], 1) for part in ("train", "test")
            )
            draw.by_batch_size(axes, sizes, test, yscale="linear", color=color, label=f"test, {rule}")
            draw.by_batch_size(
                axes, sizes, train, yscale="linear", color=color, linestyle=":", label=f"training, {rule}"
            )
            away = train - test if what == "accuracy" else test - train
            draw.by_batch_size(difference, sizes, away, yscale="linear", color=color)
    accuracy.set(ylabel="accuracy (%)")
    gap.set(ylabel="gap (points)")
    loss.set(ylabel="loss (nats)")
    loss_gap.set(ylabel="gap (nats)")


def verdicts(runs):
    for rule, some in by_rule(runs).items():
        doublings = np.log2([run.experiment.batch_size for run in some])
        train, test = (100 * np.stack([run.final(f"{part}_accuracy") for run in some], 1) for part in ("train", "test"))
        gained, _ = linear_fit(doublings, test)
        wider, _ = linear_fit(doublings, train - test)
        unit = {"unit": "points a doubling"}
        yield claim(f"A larger batch gives better results, with {rule}.", gained, above=0.1, **unit)
        yield claim(f"A smaller batch gives better results, with {rule}.", -gained, above=0.1, **unit)
        yield claim(f"A larger batch overfits more, with {rule} (the gap).", wider, above=0.1, **unit)
