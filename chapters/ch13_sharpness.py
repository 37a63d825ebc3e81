"""# Are the minima of large batches sharper?

Keskar et al. (2017) report that they are, and that this is why large batches generalize worse: where training ends, a
small change of the weights raises the loss much more. Chang (2020) adds that a larger learning rate makes the
minimizers of large batches flatter, but still sharper than that of the smallest batch (between 4 and 7 against 1.14).

## Idea

A sharpness measures how fast the loss f rises around the final weights w. Two are common. The first is λ, the largest
eigenvalue of the Hessian, in nats per squared unit of weight. A move of length r along its eigenvector raises the loss
by λ r² / 2. The second, of Keskar et al., is the highest rise in a box around w, in percent:

    φ = 100 · (max f(w + y) − f(w)) / (1 + f(w))   over   |yᵢ| ≤ ε (|wᵢ| + 1)

Two conditions make a comparison fair. The box must be *local*: guessing among ten classes costs only 2.3 nats, so a
rise of half a nat is already large. And the losses must be *equal*: the Hessian of the cross-entropy of a sample with
the probability p of the right class contains the factor p (1 − p), which vanishes with the loss. A run that is trained
further is flatter for this reason, whatever its batch size.

## Experiment

Training for 30 epochs at batch sizes 16 to 1024 with the learning rate 0.01, and at 1024 with ten times the rate
(*larger steps*). Both measures use at most 5,000 training samples, the same for all.

- *control of the measure*: the same network with its first layer multiplied by 10 and its second divided by 10. A ReLU
  network computes the same function after that (Dinh et al. 2017).
- *line*: the loss at (1 − α) w₁₆ + α w₁₀₂₄, on the straight line from the small batch's end (α = 0) to the large one's
  (α = 1).

The runs have equal epochs, not equal losses. Whether they can be compared at all is therefore the first claim.

**Predict.** Which of the runs has the lowest loss, and which is the flattest? Are they the same?

## Explanation

After 30 epochs the large batch is still on its way. Its training loss is 0.17 nats on MNIST and 1.4 on digits, against
0.0009 and 0.04 at batch size 16. Along such a way λ first rises, as the model learns, and then falls with the loss, as
the factor p (1 − p) says. So λ at 1024 is 25 times that at 16 on MNIST, and about equal on digits, and neither says
anything about minima. For the same reason the larger learning rate ends at smaller λ on MNIST and at larger λ on
digits.

One pair of runs has nearly equal losses: batch size 64, and 1024 with larger steps. On digits the losses are 0.15 and
0.17, and λ is 14.0 and 14.5: these points lie together in the left panel. That is a hint, not a test.

The box is not local on MNIST: the loss rises by 20 to 33 nats for ε = 0.001, and by about 6 for 0.0005. That measures
how wrong a network can be made. Rescaling the layers multiplies φ by 6 on MNIST and by 17 on digits, for the same
function.

What is known today: full-batch gradient descent raises λ until it reaches 2 / η (Cohen et al. 2021), and small batches
keep it below (Andreyev and Beneventano 2024). That limit is 200 for the rate 0.01 and 20 for 0.1. No run here is at it.

## In practice

Compare sharpness only between models with equal training loss, within a box in which the loss changes little, and never
between networks with rescaled layers. This experiment gives no reason to avoid large batches.

## Exercises

1. Train longer, until the large batch has a low loss too: `bstudy chapter 13 --epochs 100`. Who is sharper then?

   > Look at the left panel. Runs with a high loss first move to larger λ, and all move to smaller λ as the loss falls.
   > Only points at the same loss may be compared.

2. A box half as wide lowers the rise by much more than half. Which power of ε do you expect, and why?

   > At a minimum the gradient is zero and the rise is quadratic in y, so a quarter is left. Measured at batch size 16
   > is a fifth on MNIST and a seventh on digits: the loss rises faster than its curvature at w says.

3. At which learning rate does a direction with λ = 20 become unstable?

   > Gradient descent multiplies the distance along it by 1 − η λ in each step. It grows if η > 2 / λ = 0.1.

## Sources

- Keskar et al. (2017), [On large-batch training for deep learning](https://arxiv.org/abs/1609.04836), metric 2.1 and
  section 2.2
- Dinh et al. (2017), [Sharp minima can generalize for deep nets](https://arxiv.org/abs/1703.04933): the rescaling
- Chang (2020), [Effect of batch size on neural net
  training](https://medium.com/deep-learning-experiments/effect-of-batch-size-on-neural-net-training-c5ae8516e57): the
  numbers 4 to 7, and 1.14
- Cohen et al. (2021), [Gradient descent typically occurs at the edge of stability](https://arxiv.org/abs/2103.00065);
  Andreyev and Beneventano (2024), [Edge of stochastic stability](https://arxiv.org/abs/2412.20553)

## History

Version 0.1 counted φ in the larger box (0.58 times as sharp on MNIST) as evidence against Keskar et al. It was none:
the large batch was not at a minimum, and the box not local. The claims on the loss, on the box and on the larger
learning rate were added when these results were known. "No barrier on the line" was dropped: towards an end that is no
minimum, the loss simply rises.
"""

import numpy as np

from bstudy import Interpolation, Recipe, Sharpness, claim, plots
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "V. Minima"
LOCAL_RISE = 0.5  # nats, the highest rise in a box that is still local


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
    curvature, box, loss = fig.subplots(1, 3)
    same, larger_steps = runs["sharpness"]["one learning rate"], runs["sharpness"]["larger steps"]
    for size, run in same.items():
        curvature.plot(run["loss"], run["eigenvalue"], "o", color=plots.color(size), label=f"B = {size}")
    style = {"color": plots.color(max(same)), "label": f"B = {max(same)}, larger steps"}
    curvature.plot(larger_steps["loss"], larger_steps["eigenvalue"], "s", **style)
    for i, epsilon in enumerate(same[min(same)].experiment.epsilons):
        found = {size: run["rise"][:, i] for size, run in same.items() if epsilon in run.experiment.epsilons}
        plots.by_batch_size(box, [*found], np.transpose([*found.values()]), color=f"C{i}", label=f"ε = {epsilon:g}")
    box.axhline(LOCAL_RISE, color="gray", linestyle=":", label="still local")
    line, alpha = runs["line"], runs["line"]["alpha"][0]
    for color, part, name in (("C2", "training", "train_loss"), ("C3", "test", "test_loss")):
        loss.plot(alpha, line[name].mean(axis=0), color=color, label=f"{part} loss, on the line")
    curvature.set(
        title="at the end of training", xlabel="training loss (nats)", ylabel="λ", xscale="log", ylim=(0, None)
    )
    box.set(title="in the box", ylabel="highest rise of the loss (nats)")
    loss.set(title=f"from {min(same)} (0) to {max(same)} (1)", xlabel="α", ylabel="loss (nats)", yscale="log")


def verdicts(runs):
    same, larger_steps = runs["sharpness"]["one learning rate"], runs["sharpness"]["larger steps"]
    first, last = min(same), max(same)
    small, large, rescaled = same[first], same[last], runs["sharpness"]["rescaled"]
    epochs, epsilon = large.experiment.trained.epochs, large.experiment.epsilons[0]
    yield claim(
        f"After {epochs} epochs a batch of {last} is at a minimum.",
        large["loss"],
        below=0.1,
        unit="nats",
        otherwise=f"Not tested at equal loss: after {epochs} epochs a batch of {last} is not at a minimum.",
        answer=True,
        advice=("", "Do not compare the sharpness of models with unequal training losses."),
    )
    text, otherwise = (f"Where it ends, λ is {what} than where {first} ends." for what in ("larger", "smaller"))
    ratio = large["eigenvalue"] / small["eigenvalue"]
    yield claim(text, ratio, above=1, scale="log", otherwise=otherwise, answer=True, source="Keskar et al.")
    text, otherwise = (f"At {last} the larger learning rate ends at {what} λ." for what in ("smaller", "larger"))
    ratio = larger_steps["eigenvalue"] / large["eigenvalue"]
    yield claim(text, ratio, below=1, scale="log", otherwise=otherwise, source="Chang")
    ratio, text = larger_steps["eigenvalue"] / small["eigenvalue"], f"With it, λ is still larger than at {first}."
    yield claim(text, ratio, above=1, scale="log", otherwise=text.replace("still larger", "smaller"), source="Chang")
    rise = np.maximum(small["rise"].min(axis=1), large["rise"].min(axis=1))
    text = f"The smallest box is local: the loss rises by less than {LOCAL_RISE:g} nats."
    otherwise = f"Even the smallest box is not local: the loss rises by more than {LOCAL_RISE:g} nats."
    yield claim(text, rise, below=LOCAL_RISE, otherwise=otherwise, unit="nats")
    for name, run in ((f"{last}", large), (f"{last} with larger steps", larger_steps)):
        options = {"scale": "log", "source": "Keskar et al."}
        ratio = run["sharpness"][:, 0] / small["sharpness"][:, 0]
        text, otherwise = (
            f"For ε = {epsilon:g}, φ at {name} is {what} than at {first}." for what in ("larger", "smaller")
        )
        yield claim(text, ratio, above=1, otherwise=otherwise, **options)
    if np.all(np.isfinite(rescaled["loss"]) | rescaled.diverged):  # a network of one layer cannot be rescaled
        ratio = rescaled["sharpness"][:, 0] / small["sharpness"][:, 0]
        text = "Rescaling the layers multiplies φ, though the function is the same."
        yield claim(text, ratio, above=2, scale="log", source="Dinh et al.")
        changed = np.abs(rescaled["loss"] - small["loss"]) / small["loss"]
        yield claim("The rescaled network has the same loss.", changed, below=1e-4, check=True, unit="relative change")
    rises = [run["rise"].min(axis=1) / run["resolution"] for run in (*same.values(), larger_steps)]
    text = "Every rise is far above the rounding of float32."
    yield claim(text, np.min(rises, axis=0), above=100, check=True, unit="spacings of float32")
