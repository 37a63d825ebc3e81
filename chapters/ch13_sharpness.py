"""Large-batch minima are sharper, and stay sharper after the learning rate is raised.

Claim     Where large batches end, a small change of the weights raises the loss much more than where small ones end,
          also when the learning rate is raised; that is why they generalize worse.
Compare   Equal epochs at four batch sizes, and the largest with larger steps. Sharpness φ is the highest rise of the
          loss in a box of half-width ε (|weight| + 1), in percent of 1 + loss; the largest eigenvalue of the loss's
          Hessian is a second opinion. Both are of at most 5,000 training samples, the same for all.
Look for  The losses: after few steps a large batch is at no minimum. The two opinions can disagree: the box looks far
          around, the eigenvalue at the point itself. Below, the line from the small batch's weights (α = 0) to the
          large one's (α = 1). And the rescaled layers: the same function, many times as sharp.
Source    Keskar et al. (2017), metric 2.1 and the line; another text has 4 to 7 for large batches, also at a larger
          learning rate, and 1.14 for the smallest. Dinh et al. (2017) for the rescaling.

Exercises
  1. Train until the large batch's loss is low too: `bstudy chapter 13 --set epochs=100`. Who is sharper then?
  2. A box half as wide: by what factor does the sharpness fall, and which power of ε is that? Why not the first?
  3. Where on the line is the test accuracy highest? Is it at one of the two ends?
"""

import numpy as np

from bstudy import Interpolation, Recipe, Sharpness, claim, plots, stack
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "V. Minima"


def experiments(
    batch_sizes=(16, 64, 256, 1024), learning_rate=0.01, large_learning_rate=0.1, epochs=30, epsilons=(1e-3, 5e-4)
):
    sizes = sorted(batch_sizes)
    recipes = {size: Recipe.sgd(size, learning_rate, epochs) for size in sizes}
    larger_steps = Recipe.sgd(sizes[-1], large_learning_rate, epochs)
    boxes = dict.fromkeys(sizes, epsilons[:1]) | {sizes[0]: epsilons, sizes[-1]: epsilons}  # a box takes seconds
    sharpness = {
        "one learning rate": {size: Sharpness(recipes[size], boxes[size]) for size in sizes},
        "larger steps": Sharpness(larger_steps, epsilons[:1]),
        "rescaled": Sharpness(recipes[sizes[0]], epsilons[:1], rescaled=10.0),
    }
    line = Interpolation((recipes[sizes[0]], recipes[sizes[-1]]))
    return {"recipes": recipes, "larger steps": larger_steps, "sharpness": sharpness, "line": line}


def figure(runs, fig):
    (box, curvature), (loss, accuracy) = fig.subplots(2, 2)
    same, larger_steps = runs["sharpness"]["one learning rate"], runs["sharpness"]["larger steps"]
    for i, epsilon in enumerate(same[min(same)].experiment.epsilons):
        found = {size: run["sharpness"][:, i] for size, run in same.items() if epsilon in run.experiment.epsilons}
        plots.by_batch_size(box, [*found], np.transpose([*found.values()]), color=f"C{i}", label=f"ε = {epsilon:g}")
    box.plot(max(same), larger_steps["sharpness"][:, 0].mean(), "s", color="C0", label="larger steps")
    plots.by_batch_size(curvature, *stack(same, "eigenvalue"), yscale="linear", color="C2")
    curvature.plot(max(same), larger_steps["eigenvalue"].mean(), "s", color="C2")
    line, alpha = runs["line"], runs["line"]["alpha"][0]
    for part, style in (("train", "-"), ("test", "--")):
        loss.plot(alpha, line[f"{part}_loss"].mean(axis=0), style, color="C3", label=f"{part}, on the line")
        accuracy.plot(alpha, line[f"{part}_accuracy"].mean(axis=0), style, color="C3")
    box.set(ylabel="sharpness φ (%)")
    curvature.set(ylabel="leading eigenvalue")
    loss.set(xlabel="α", ylabel="loss (nats)", yscale="log")
    accuracy.set(xlabel="α", ylabel="accuracy (%)")


def verdicts(runs):
    same, larger_steps = runs["sharpness"]["one learning rate"], runs["sharpness"]["larger steps"]
    small, large, rescaled, line = same[min(same)], same[max(same)], runs["sharpness"]["rescaled"], runs["line"]
    reference = small["sharpness"][:, 0]
    for text, run in (("The large batch ends", large), ("With larger steps it still ends", larger_steps)):
        ratio = np.log(run["sharpness"][:, 0] / reference)
        yield claim(f"{text} sharper than the small one (logarithm of the ratio).", ratio, above=0)
    ratio = np.log(large["eigenvalue"] / small["eigenvalue"])
    yield claim("The Hessian's leading eigenvalue agrees that it is sharper (logarithm).", ratio, above=0)
    yield claim("The large batch is at a minimum: its loss is small.", large["loss"], below=0.1, unit="nats")
    yield claim("Rescaled layers multiply the sharpness (ratio).", rescaled["sharpness"][:, 0] / reference, above=2)
    changed = np.abs(rescaled["loss"] - small["loss"]) / small["loss"]
    yield claim("It leaves the function unchanged (relative change of the loss).", changed, below=1e-4)
    between = line["train_loss"][:, (line["alpha"][0] >= 0) & (line["alpha"][0] <= 1)]
    barrier = between.max(axis=1) - between[:, [0, -1]].max(axis=1)
    yield claim("No barrier lies on the line between the two (its height).", barrier, below=0.01, unit="nats")
    rises = [run["rise"].min(axis=1) / run["resolution"] for run in (*same.values(), larger_steps)]
    yield claim("Every measured rise exceeds 100 float32 rounding steps (smallest).", np.min(rises, axis=0), above=100)
