"""Large-batch minima are sharper, and stay sharper after the learning rate is raised.

Claim     Where large batches end, a small change of the weights raises the loss much more than where small ones end,
          also when the learning rate is raised; that is why they generalize worse.
Compare   Equal epochs at four batch sizes, and the largest with larger steps. Sharpness φ is the highest rise of the
          loss in a box of half-width ε (|weight| + 1), in percent of 1 + loss; the largest eigenvalue of the loss's
          Hessian is a second opinion. Both are of at most 5,000 training samples, the same for all.
Look for  The losses: after few steps a large batch is at no minimum. The two opinions: the box looks far around, the
          eigenvalue at the point itself, and they can disagree. Below, the line from the small batch's weights (α = 0)
          to the large one's (α = 1). And the rescaled layers: the same function, many times as sharp.
Source    Keskar et al. (2017), metric 2.1 and the line; a retelling has 4 to 7 for large batches, also at a raised
          learning rate, and 1.14 for the smallest. Dinh et al. (2017) for the rescaling.

Exercises
  1. Train until the large batch's loss is low too: `bstudy chapter 13 --set epochs=100`. Who is sharper then?
  2. A box half as wide: by what factor does the sharpness fall, and which power of ε is that? Why not the first?
  3. Where on the line is the test accuracy highest? Is it at one of the two ends?
"""

import numpy as np

from bstudy import Line, Recipe, Sharpness, claim, draw

PART = "V. Minima"


def experiments(batch_sizes=(16, 64, 256, 1024), learning_rate=0.01, raised=0.1, epochs=30, epsilons=(1e-3, 5e-4)):
    points = {f"{size}": Recipe.sgd(size, learning_rate, epochs) for size in sorted(batch_sizes)}
    smallest, *_, largest = points.values()
    points["larger steps"] = Recipe.sgd(largest.batch_size, raised, epochs)
    boxes = {smallest: epsilons, largest: epsilons}  # only one for the others: among a million weights it takes seconds
    around = {f"around {role}": Sharpness(point, boxes.get(point, epsilons[:1])) for role, point in points.items()}
    rescaled = Sharpness(smallest, epsilons[:1], rescaled=10.0)
    return points | around | {"rescaled": rescaled, "line": Line(smallest, largest)}


def around(runs):
    """The Sharpness of each point: by batch size, and last with larger steps."""
    return [run for role, run in runs.items() if role.startswith("around")]


def figure(runs, fig):
    (sharpness, curvature), (loss, accuracy) = fig.subplots(2, 2)
    *same, raised = around(runs)
    sizes, line = [run.experiment.at.batch_size for run in same], runs["line"]
    for i, epsilon in enumerate(same[0].experiment.epsilons):
        found = {run.experiment.at.batch_size: run for run in same if epsilon in run.experiment.epsilons}
        values = np.stack([run["sharpness"][:, i] for run in found.values()], axis=1)
        draw.by_batch_size(sharpness, [*found], values, color=f"C{i}", label=f"ε = {epsilon:g}")
    sharpness.plot(sizes[-1], raised["sharpness"][:, 0].mean(), "s", color="C0", label="larger steps")
    draw.by_batch_size(curvature, sizes, np.stack([run["eigenvalue"] for run in same], 1), yscale="linear", color="C2")
    curvature.plot(sizes[-1], raised["eigenvalue"].mean(), "s", color="C2")
    for part, style in (("train", "-"), ("test", "--")):
        loss.plot(line["alpha"][0], line[f"{part}_loss"].mean(0), style, color="C3", label=f"{part}, on the line")
        accuracy.plot(line["alpha"][0], 100 * line[f"{part}_accuracy"].mean(0), style, color="C3")
    sharpness.set(ylabel="sharpness φ (%)")
    curvature.set(ylabel="leading eigenvalue")
    loss.set(xlabel="α", ylabel="loss (nats)", yscale="log")
    accuracy.set(xlabel="α", ylabel="accuracy (%)")


def verdicts(runs):
    small, *_, large, raised = around(runs)
    reference, rescaled, line = small["sharpness"][:, 0], runs["rescaled"], runs["line"]
    for text, run in (("The large batch ends", large), ("With larger steps it still ends", raised)):
        ratio = np.log(run["sharpness"][:, 0] / reference)
        yield claim(f"{text} sharper than the small one (logarithm of the ratio).", ratio, above=0)
    curved = np.log(large["eigenvalue"] / small["eigenvalue"])
    yield claim("The Hessian's leading eigenvalue agrees that it is sharper (logarithm).", curved, above=0)
    yield claim("The large batch is at a minimum: its loss is small.", large["loss"], below=0.1, unit="nats")
    grown = rescaled["sharpness"][:, 0] / reference
    yield claim("Rescaling two layers multiplies the sharpness (ratio).", grown, above=2)
    changed = np.abs(rescaled["loss"] - small["loss"]) / small["loss"]
    yield claim("It leaves the function as it is (relative change of the loss).", changed, below=1e-4)
    between = line["train_loss"][:, (line["alpha"][0] >= 0) & (line["alpha"][0] <= 1)]
    barrier = between.max(axis=1) - between[:, [0, -1]].max(axis=1)
    yield claim("No barrier lies on the line between the two (its height).", barrier, below=0.01, unit="nats")
    least = np.min([run["rise"].min(axis=1) / run["resolution"] for run in around(runs)], axis=0)
    yield claim("Float32 tells every rise from none (smallest, in its spacings).", least, above=100)
