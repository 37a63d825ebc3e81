"""# Does SGD stay on the sphere where it was initialised?

Shen (2018) compares the norm of all weights after training with the initial norm of about 44. SGD ends at 44.1 to 44.9
and Adam at 258, and the cosines between the final and the initial kernels are above 0.92 for SGD and below 0.36 for
Adam. The conclusion: with SGD the initial weights have about the right magnitude, and most of the learning moves them
along the sphere of that radius; Adam "completely ignores the initialization".

## Idea

Let w₀ be the initial weights and Δw = w − w₀ what training adds. Then

    ‖w‖² = ‖w₀‖² + ‖Δw‖² + 2 w₀ · Δw

A norm that changes little does not show a sphere. SGD moves by 6.7 from a norm of 44. If this displacement is
unrelated to the start, it is orthogonal to it, as almost all directions are in a million dimensions: w₀ · Δw ≈ 0, and
the norm grows to √(44² + 6.7²), by 1.2 %. This is the null model. To stay on the sphere, the last term has to cancel
‖Δw‖². So the measure is

    s = (‖w‖² − ‖w₀‖²) / ‖Δw‖²

It is 0 on the sphere, 1 if the displacement is orthogonal to the start, and above 1 if it points outwards.

The norm of all weights is almost that of the largest kernels. The last layer is a hundredth of the weights, so s and
the norm are measured for each layer as well.

## Experiment

Five runs from the same start: small batch, large batch, the large one with ten times the learning rate, the large one
for as many steps as the small one, and Adam at 0.01. For each kernel its norm and its cosine to its initial value are
known after training, and ‖Δw‖² = ‖w‖² + ‖w₀‖² − 2 ‖w‖ ‖w₀‖ cos follows from these.

The control is the null model: each result is compared with an orthogonal displacement of the same length.

**Predict.** In which layer does SGD change the norm most? Is s nearer to 0 or to 1?

## Explanation

SGD does not stay on the sphere. Its norm grows more than a displacement of the same length in an unrelated direction
would make it grow: s is well above 1. The total changes little all the same, because the displacement is short and the
norm is mostly that of two large kernels. By layer the change is large: the last kernel grows by half on MNIST (54 %),
and by 15 % on digits (17 % in the longest run). Cross-entropy falls as long as logits grow, and the last layer is
the one that scales them. It also turns most, the middle one least.

Adam's displacement is orthogonal to the start: on MNIST the cosine of the two is 0.003 or less in size, and on digits
it is 0.006. "Forgets" means exactly this. Adam does not undo the initial weights. It adds something that is unrelated
to them and more than twice as large.

With a small convolutional network (cnn) on digits the findings on Adam fail. Its displacement is not orthogonal
(cosine 0.105), the norm grows only 1.6-fold, and one layer keeps a cosine of 0.88; probably because Adam adds much
less there (1.2 times the initial norm), so that the outward part counts. Under SGD the first layer turns most and
doubles its norm, the third turns least, and the total grows by 10 %, as much as the bound, so more seeds would
probably not settle it.

## In practice

Read norms and cosines by layer, and compare them with an unrelated displacement. A norm that changes by 2 % says
nothing about a sphere.

## Exercises

1. Which s has a step along the negative initial weights, as weight decay takes it? Let Δw = −a w₀ with a small a > 0.

   > ‖w‖² − ‖w₀‖² = (1 − a)² ‖w₀‖² − ‖w₀‖² = (−2 a + a²) ‖w₀‖², and ‖Δw‖² = a² ‖w₀‖². So s = 1 − 2 / a, far below 0.

2. Draw two random vectors of a million numbers. How large is the cosine between them, and why?

   > About 1 / √1,000,000 = 0.001: the dot product of P independent terms is √P in size, and the product of
   > the two norms is P.

3. Does Adam forget at its default rate as well? Predict, then run `bstudy chapter 12 --adam-learning-rate 0.001`.

   > It moves several times less far, and turns less. Whether the displacement is orthogonal is another question.

4. Why does the last layer turn most? Count its weights, and compare the gradients that they receive.

   > It has few weights, and each receives the gradient of the loss directly; the same change of the logits would take
   > a larger displacement, spread over more weights, in the layers before it.

## Sources

- Shen (2018), [Effect of batch size on training
  dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e), "ADAM vs SGD":
  distances from the origin and cosines of five runs (rows "published" on MNIST); the sphere; the second layer changes
  least.

## History

Version 0.1 tested only that the norm of all kernels changes by less than a tenth. This held on MNIST (2.1 %), and
would for almost any short displacement. The tests by layer and against the null model were added with the numbers of
version 0.1 known: s = 1.84 for SGD.
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
        shown = {name: run.final(name, over=1) for name in ("weight_distance", "bias_distance", "weight_norm")}
        shown |= {"test_accuracy": run.final("test_accuracy"), "s": outward(*squares(run).sum(axis=2))}
        return shown | {f"cosine, layer {i}": each for i, each in enumerate(run.final("cosines", over=1).T, 1)}

    return map_leaves(columns, runs)


def squares(run):
    """Return ‖w₀‖², ‖w‖² and ‖Δw‖² of each kernel, (3, seeds, layers)."""
    initial, final = run["layer_norms"][:, [0, -1]].astype(float).swapaxes(0, 1)
    return np.array([initial**2, final**2, initial**2 + final**2 - 2 * initial * final * run["cosines"][:, -1]])


def outward(initial, final, moved):
    """Return s: 0 on the sphere, 1 for an orthogonal displacement, above 1 if it points outwards."""
    return (final - initial) / moved


def figure(runs, fig):
    sgd, adam = fig.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    for number, (role, run) in enumerate(runs.items()):
        initial, final, moved = squares(run).mean(axis=1)
        expected, measured = np.sqrt(1 + moved / initial), np.sqrt(final / initial)
        axes, shift = (adam, 0) if role == "Adam" else (sgd, 0.18 * (number - 1.5))
        rows, style = np.arange(len(initial)) + shift, {"color": f"C{number}", "markersize": 6, "linestyle": ""}
        axes.hlines(rows, expected, measured, color=style["color"], linewidth=1.5)
        (hollow,) = axes.plot(expected, rows, "o", fillstyle="none", **style)
        axes.plot(measured, rows, "o", label=role, **style)
        axes.axvline(1, color="gray", linestyle=":", linewidth=1)
        axes.set(
            title=f"{'Adam' if role == 'Adam' else 'SGD'} (dotted: the sphere)", xlabel="final norm / initial norm"
        )
    plots.note(hollow, "○ expected of an orthogonal displacement, ●\N{NO-BREAK SPACE}measured; means over seeds")
    sgd.set_yticks(range(len(initial)), labels=[f"layer {layer + 1}" for layer in range(len(initial))])
    sgd.invert_yaxis()


def verdicts(runs):
    small, adam = runs["small batch"], runs["Adam"]
    sgd = [run for role, run in runs.items() if role != "Adam"]
    text = "SGD stays on the sphere where it was initialised."
    otherwise = "SGD does not stay on the sphere where it was initialised: its norm grows with the distance."
    options = {"answer": True, "unit": "for s: 0 on the sphere, 1 if orthogonal to the start", "source": "Shen"}
    yield claim(text, outward(*squares(small).sum(axis=2)), below=0.5, otherwise=otherwise, **options)
    initial, final, moved = squares(adam).sum(axis=2)
    cosine = (final - initial - moved) / (2 * np.sqrt(initial * moved))
    text, otherwise = (f"Adam's displacement is {how}orthogonal to its start." for how in ("", "not "))
    yield claim(text, cosine, above=-0.05, below=0.05, otherwise=otherwise, answer=True, unit="for the cosine")

    total = np.max([np.abs(run["weight_norm"][:, -1] / run["weight_norm"][:, 0] - 1) for run in sgd], axis=0)
    text, published = "Under SGD the norm of all kernels changes by less than a tenth.", 100 * (44.9 / 44 - 1)
    yield claim(text, 100 * total, below=10, unit="%", published=published, source="Shen")
    ratios = [run["layer_norms"][:, -1] / run["layer_norms"][:, 0] for run in sgd]
    layers = np.max(np.abs(np.array(ratios) - 1), axis=(0, 2))
    yield claim("Under SGD the norm of every layer changes by less than a tenth.", 100 * layers, below=10, unit="%")
    text = "The last layer moves outwards under SGD, more than an orthogonal displacement would (s)."
    yield claim(text, outward(*squares(small))[:, -1], above=1)
    cosines = np.array([run.final("cosines", over=1) for run in sgd])  # (runs, seeds, layers)
    text = "SGD keeps the direction of every layer: no cosine falls below 0.8."
    yield claim(text, cosines.min(axis=(0, 2)), above=0.8, published=0.928, source="Shen")
    if cosines.shape[2] > 2:
        others = np.delete(cosines[0], 1, axis=1).max(axis=1)
        text = "The second layer turns least under SGD (difference of the cosines)."
        yield claim(text, cosines[0, :, 1] - others, above=0, published=0.993 - 0.988, source="Shen")
    text = "Adam's norm grows to more than twice its start."
    yield claim(text, np.sqrt(final / initial), above=2, scale="log", published=258 / 44, source="Shen")
    text = "Adam turns every layer by more than 45° (largest cosine)."
    yield claim(text, adam.final("cosines", over=1).max(axis=1), below=0.707, published=0.359, source="Shen")
