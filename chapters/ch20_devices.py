"""Many devices are one large batch.

Claim     Each of N replicas takes a part of the batch, the gradients are summed, and every copy of the model takes the
          same step: N replicas at B / N are one device at B, to rounding. Many devices therefore mean large batches,
          and with the learning rate in proportion, warmed up over five epochs, these lose nothing.
Compare   One recipe on one device and on several replicas, also on a number that does not divide the batch. Then a
          small batch, and one sixteen times as large: at the same learning rate, at sixteen times that, and with
          warm-up.
Look for  On the left, differences at the rounding of float32 in the first steps; training amplifies them, as it does
          any difference. On the right, the scaled learning rate with and without warm-up.
Source    Goyal et al. (2017) for linear scaling and warm-up; a collection of claims for the synchronous step.

Exercises
  1. Where does linear scaling end, and does the warm-up move that end? `bstudy chapter 20 --set learning_rate=0.1`.
  2. Each replica could average over its own part, and the averages be averaged. When is that wrong?
  3. On this machine replicas share one CPU. What would several GPUs change, and what not?
"""

import numpy as np

from bstudy import Recipe, claim, plots

PART = "VII. Changing the batch, and many devices"
LINES = {"small batch": "-", "large batch": ":", "scaled": "--", "warmed up": "-"}


def experiments(small_batch_size=64, large_batch_size=1024, learning_rate=0.03, epochs=30, replicas=(2, 3)):
    small = Recipe.sgd(small_batch_size, learning_rate, epochs)
    large_rate = learning_rate * large_batch_size / small_batch_size
    return {
        "one device": small.first(1).with_replicas(1),
        "replicas": {count: small.first(1).with_replicas(count) for count in replicas},
        "small batch": small,
        "large batch": Recipe.sgd(large_batch_size, learning_rate, epochs),
        "scaled": Recipe.sgd(large_batch_size, large_rate, epochs),
        "warmed up": warmed_up(large_batch_size, learning_rate, large_rate, epochs),
    }


def warmed_up(batch_size, first_rate, last_rate, epochs):
    """Return a recipe whose learning rate rises in each of the first epochs, a sixth of them."""
    rising = max(1, epochs // 6)
    recipe = Recipe.sgd(batch_size, first_rate, 1)
    for rate in np.linspace(first_rate, last_rate, rising, endpoint=False)[1:]:
        recipe = recipe.then(learning_rate=rate)
    return recipe.then(learning_rate=last_rate, epochs=max(1, epochs - rising))


def loss_difference(runs, count):
    """Return (seeds, steps) the relative difference of the loss to that of one device."""
    return np.abs(runs["replicas"][count]["loss"] / runs["one device"]["loss"].astype(float) - 1)


def figure(runs, fig):
    difference, accuracy = fig.subplots(1, 2)
    for count in runs["replicas"]:
        largest = np.maximum(loss_difference(runs, count), 1e-8).max(axis=0)
        difference.plot(largest, label=f"{count} replicas, largest over seeds")
    difference.set(xlabel="step", ylabel="relative difference of the loss", yscale="log")
    for role, style in LINES.items():
        plots.curve(accuracy, runs[role], "test_accuracy", linestyle=style, label=role)
    plots.zoom_to_final_values(accuracy)


def verdicts(runs):
    for count, run in runs["replicas"].items():
        first = loss_difference(runs, count)[:, :3].max(axis=1)
        yield claim(f"{count} replicas do what one device does (first three steps, relative).", first, below=1e-6)
        distance = np.abs(run.final("weight_distance") / runs["one device"].final("weight_distance") - 1)
        yield claim("After an epoch they are as far from the start (relative difference).", distance, below=1e-2)
    accuracy = {role: runs[role].final("test_accuracy", over=5) for role in LINES}
    lost = {role: accuracy["small batch"] - accuracy[role] for role in LINES}
    unit = "percentage points"
    yield claim("At the same learning rate the large batch loses accuracy.", lost["large batch"], above=1, unit=unit)
    yield claim("Scaled and warmed up, it loses less than 1 percentage point.", lost["warmed up"], below=1, unit=unit)
    gain = lost["scaled"] - lost["warmed up"]
    yield claim("The warm-up is needed: without it more is lost.", gain, above=0.5, unit=unit)
