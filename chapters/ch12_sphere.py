"""SGD stays on the sphere on which it was initialised; Adam forgets its initialisation.

Claim     The norm of the weights changes little under SGD, and each layer's kernel keeps almost its initial direction,
          whatever the batch size; under Adam the norm grows several times, and the direction is a new one.
Compare   Five runs from the same start: small and large batch, the large one with larger steps and with more of them,
          and Adam. The cosine is that between a kernel's final and initial values.
Look for  One point a run in each layer's panel: its radius is the norm, as a multiple of the initial one, its angle is
          that from the initial direction. SGD stays near 1 and 0°. In a space of a million dimensions almost everything
          is orthogonal to the start: SGD is not, so it uses little of the space.
Source    Shen (2018), the table of distances from the origin and cosines: the rows "published" below, on MNIST.

Exercises
  1. ‖Δw‖, the norm and the cosine are tied: ‖Δw‖² = ‖w‖² + ‖w₀‖² − 2 ‖w‖ ‖w₀‖ cos. Check one row of the table by
     layers.
  2. Why does the last layer turn most? Count its weights, and who sends it gradients.
  3. Does Adam forget at its default learning rate? `bstudy chapter 12 --set adam_learning_rate=0.001`.
"""

import numpy as np

from bstudy import Recipe, claim, map_leaves, plots
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "IV. Adam"


def experiments(
    small_batch_size=64,
    large_batch_size=1024,
    learning_rate=0.01,
    large_learning_rate=0.1,
    adam_learning_rate=0.01,
    epochs=30,
):
    return {
        "small batch": Recipe.sgd(small_batch_size, learning_rate, epochs),
        "large batch": Recipe.sgd(large_batch_size, learning_rate, epochs),
        "larger steps": Recipe.sgd(large_batch_size, large_learning_rate, epochs),
        "more epochs": Recipe.sgd(large_batch_size, learning_rate, epochs * large_batch_size // small_batch_size),
        "Adam": Recipe.adam(small_batch_size, adam_learning_rate, epochs),
    }


def table(runs):
    def columns(run):
        shown = {name: run.final(name) for name in ("weight_distance", "bias_distance", "weight_norm", "test_accuracy")}
        return shown | {f"cosine, layer {i}": cosine for i, cosine in enumerate(run.final("cosines").T, 1)}

    return map_leaves(columns, runs)


MARKERS = {"small batch": "o", "large batch": "o", "larger steps": "s", "more epochs": "^", "Adam": "D"}


def figure(runs, fig):
    layers = runs["Adam"]["layer_norms"].shape[-1]
    rows = int(np.ceil(np.sqrt(layers / 4)))
    for layer in range(layers):
        axes = fig.add_subplot(rows, -(-layers // rows), layer + 1, projection="polar")
        for role, run in runs.items():
            radius = run["layer_norms"][:, -1, layer] / run["layer_norms"][:, 0, layer]
            angle = np.arccos(np.clip(run["cosines"][:, -1, layer], -1, 1))
            style = {"color": plots.color(run.experiment.batch_size), "marker": MARKERS[role], "fillstyle": "none"}
            axes.plot(angle, radius, linestyle="", label=plots.label(run), **style)
        axes.set(title=f"layer {layer + 1}", thetamin=0, thetamax=90, rmin=0)
        axes.set_thetagrids([0, 30, 60, 90])


def verdicts(runs):
    growth = {role: run["weight_norm"][:, -1] / run["weight_norm"][:, 0] for role, run in runs.items()}
    cosines = {role: run.final("cosines") for role, run in runs.items()}  # (seeds, layers)
    sgd = [role for role in runs if role != "Adam"]
    largest_change = np.max([np.abs(growth[role] - 1) for role in sgd], axis=0)
    yield claim("SGD stays on the sphere: no norm changes by more than a tenth.", largest_change, below=0.1)
    smallest_cosine = np.min([cosines[role].min(axis=1) for role in sgd], axis=0)
    text = "SGD keeps its direction: no layer's cosine falls below 0.8."
    yield claim(text, smallest_cosine, above=0.8, published=0.928)
    yield claim("Adam's norm grows to more than twice its start (ratio).", growth["Adam"], above=2, published=258 / 44)
    turned = cosines["Adam"].max(axis=1)
    yield claim("Adam turns every layer by more than 45° (largest cosine).", turned, below=0.707, published=0.359)
