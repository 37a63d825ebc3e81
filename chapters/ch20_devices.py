"""Many devices are one large batch.

Claim     Each of N replicas takes a share of the batch, the gradients are summed, and every copy of the model takes
          the same step: N replicas at B / N are one device at B, to rounding. So many devices mean large batches, and
          with the learning rate in proportion, warmed up over five epochs, these lose nothing.
Compare   One recipe on one device and on several replicas, also on a number that does not divide the batch. Then a
          small batch, and one sixteen times as large: at the same learning rate, at sixteen times that, and with
          warm-up.
Look for  On the left, differences at the rounding of float32 in the first steps, which training amplifies, as it does
          any difference: it is not a matter of devices. On the right, where the scaled learning rate goes with and
          without warm-up.
Source    Goyal et al. (2017) for linear scaling and warm-up; a collection of claims for the synchronous step.

Exercises
  1. Where does linear scaling end, and does the warm-up move that end? `bstudy chapter 20 --set learning_rate=0.1`.
  2. Each replica could average over its own share, and the shares be averaged. When is that wrong?
  3. On this machine replicas share one CPU. What would several GPUs change, and what not?
"""

import numpy as np

from bstudy import Recipe, Replicated, claim, draw

PART = "VII. Changing the batch, and many devices"


def experiments(small=64, large=1024, learning_rate=0.03, epochs=30, replicas=(2, 3)):
    reference, enlarged = Recipe.sgd(small, learning_rate, epochs), Recipe.sgd(large, learning_rate, epochs)
    alone, raised, rising = reference.cut(1), learning_rate * large / small, max(1, epochs // 6)
    first, *rates = (round(rate, 12) for rate in np.linspace(learning_rate, raised, rising, endpoint=False).tolist())
    warmed_up = Recipe.sgd(large, first, 1)
    for rate in rates:
        warmed_up = warmed_up.then(learning_rate=rate)
    return {
        "one device": alone,
        **{f"{count} replicas": Replicated(alone.phases, replicas=count) for count in replicas},
        "small batch": reference,
        "large batch": enlarged,
        "scaled": Recipe.sgd(large, raised, epochs),
        "warmed up": warmed_up.then(learning_rate=raised, epochs=max(1, epochs - rising)),
    }


def apart(runs):
    """{role: (seeds, steps)} the relative difference of each replicated run's loss to that of one device."""
    loss = runs["one device"]["loss"].astype(float)
    replicated = {role: run for role, run in runs.items() if isinstance(run.experiment, Replicated)}
    return {role: np.abs(run["loss"] / loss - 1) for role, run in replicated.items()}


def figure(runs, fig):
    difference, accuracy = fig.subplots(1, 2)
    for role, away in apart(runs).items():
        difference.plot(np.maximum(away, 1e-8).max(axis=0), label=f"{role}, largest over seeds")
    difference.set(xlabel="step", ylabel="relative difference of the loss", yscale="log")
    lines = {"small batch": "-", "large batch": ":", "scaled": "--", "warmed up": "-"}
    for role, style in lines.items():
        draw.curve(accuracy, runs[role], "test_accuracy", linestyle=style, label=role)
    draw.focus(accuracy)


def verdicts(runs):
    for role, away in apart(runs).items():
        first = away[:, :3].max(axis=1)
        yield claim(f"{role.capitalize()} do what one device does (first three steps, relative).", first, below=1e-6)
        distance = np.abs(runs[role].final("weight_distance") / runs["one device"].final("weight_distance") - 1)
        yield claim("After an epoch they are as far from the start (relative difference).", distance, below=1e-2)
    lost = {role: 100 * (runs["small batch"].final("test_accuracy", over=5) - run.final("test_accuracy", over=5))
            for role, run in runs.items()}  # fmt: skip
    yield claim(
        "At the same learning rate the large batch loses accuracy.", lost["large batch"], above=1, unit="points"
    )
    yield claim("Scaled and warmed up, it loses less than a point.", lost["warmed up"], below=1, unit="points")
    gained = lost["scaled"] - lost["warmed up"]
    yield claim("The warm-up is needed: without it more is lost.", gained, above=0.5, unit="points")
