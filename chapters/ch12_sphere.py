"""SGD stays on the sphere on which it was initialised; Adam forgets its initialisation.

Claim     The norm of the weights hardly changes under SGD, and each layer's kernel points almost where it did at the
          start, whatever the batch size; under Adam the norm grows manifold, and the direction is a new one.
Compare   Five runs from the same start: small and large batch, the large one with larger steps and with more of them,
          and Adam. The cosine is that between a kernel's final and initial values.
Look for  One point a run in each layer's panel: its radius is the norm, as a multiple of the initial one, its angle is
          that from the initial direction. SGD stays near 1 and 0°. In so many dimensions almost everything is
          orthogonal to the start: that SGD is not says how little of the space it uses.
Source    Shen (2018), the table of distances from the origin and cosines: the rows "published" below, on MNIST.

Exercises
  1. W, the norm and the cosine are tied: W² = |w|² + |w₀|² − 2 |w| |w₀| cos. Check one row of the table by layers.
  2. Why does the last layer turn most? Count its weights, and who sends it gradients.
  3. Does Adam forget at its default learning rate? `bstudy chapter 12 --set adam_learning_rate=0.001`.
"""

import numpy as np

from bstudy import Recipe, claim, draw

PART = "IV. Adam"


def experiments(small=64, large=1024, learning_rate=0.01, raised=0.1, adam_learning_rate=0.01, epochs=30):
    return {
        "small batch": Recipe.sgd(small, learning_rate, epochs),
        "large batch": Recipe.sgd(large, learning_rate, epochs),
        "larger steps": Recipe.sgd(large, raised, epochs),
        "more epochs": Recipe.sgd(large, learning_rate, epochs * large // small),
        "Adam": Recipe.adam(small, adam_learning_rate, epochs),
    }


def table(runs):
    shown = ("weight_distance", "bias_distance", "weight_norm", "test_accuracy")
    return {
        role: {name: run.final(name) for name in shown}
        | {f"cosine, layer {i}": cosine for i, cosine in enumerate(run.final("cosines").T, 1)}
        for role, run in runs.items()
    }


MARKERS = {"small batch": "o", "large batch": "o", "larger steps": "s", "more epochs": "^", "Adam": "D"}


def figure(runs, fig):
    for layer, axes in enumerate(fig.subplots(1, 3, subplot_kw={"projection": "polar"})):
        for role, run in runs.items():
            radius = run["layer_norms"][:, -1, layer] / run["layer_norms"][:, 0, layer]
            angle = np.arccos(np.clip(run["cosines"][:, -1, layer], -1, 1))
            style = {"color": draw.colour(run.experiment.batch_size), "marker": MARKERS[role], "fillstyle": "none"}
            axes.plot(angle, radius, linestyle="", label=draw.label(run), **style)
        axes.set(title=f"layer {layer + 1}", thetamin=0, thetamax=90, rmin=0)
        axes.set_thetagrids([0, 30, 60, 90])


def verdicts(runs):
    grown = {role: run["weight_norm"][:, -1] / run["weight_norm"][:, 0] for role, run in runs.items()}
    cosines = {role: run.final("cosines") for role, run in runs.items()}  # (seeds, layers)
    sgd = [role for role in runs if role != "Adam"]
    farthest = np.max([np.abs(grown[role] - 1) for role in sgd], axis=0)
    yield claim("SGD stays on the sphere: no norm changes by more than a tenth.", farthest, below=0.1)
    lowest = np.min([cosines[role].min(axis=1) for role in sgd], axis=0)
    yield claim("SGD keeps its direction: no layer's cosine falls below 0.8.", lowest, above=0.8, published=0.928)
    yield claim("Adam's norm grows manifold (ratio).", grown["Adam"], above=2, published=258 / 44)
    turned = cosines["Adam"].max(axis=1)
    yield claim("Adam turns every layer by more than 45° (largest cosine).", turned, below=0.707, published=0.359)
