"""Larger batches take larger steps for the same samples seen.

Claim     Cut the same 1024 samples into batches, step once through them, and average the gradients of the steps: the
          larger the batches, the larger the norm of that average, growing as √B; and it is larger early in training.
Compare   From one trained start, the same drawn samples for every batch size. In the trial the weights move between
          steps; in the control they are frozen. Beside it a second experiment, with which the first is easily confused:
          one single batch at frozen weights, its loss summed and not averaged.
Look for  The frozen control is exactly flat: the average cannot depend on how the samples are cut. So all growth comes
          from the weights moving: small batches descend as they go, and meet smaller gradients. √B is the law of the
          single batch, below its noise scale. And the travel, learning rate × (1024 / B) × norm, shrinks with B: it is
          the number of steps that a large batch lacks (chapter 8), not their size.
Source    Shen (2018): the mean norm grows as √B. Its text leaves the protocol open; this is one that fits its figures.

Exercises
  1. Halve the learning rate of the trials: `bstudy chapter 4 --set learning_rate=0.005`. Which curve changes, and why?
  2. E‖S_B‖² = B tr Σ + B² |g|². At which B are the two parts equal? Find the bend in the middle panel.
  3. Train the late start for longer: `bstudy chapter 4 --set late=60`. Where does its noise scale go?
"""

import numpy as np

from bstudy import GradientTrials, Recipe, SingleBatches, claim, draw, exponent

PART = "II. Gradients"


def experiments(large=1024, early=2, late=30, trials=5, learning_rate=0.01):
    found = {}
    for when, epochs in (("early", early), ("late", late)):
        start = Recipe.sgd(large, 0.01, epochs)
        found[f"{when}, moving"] = GradientTrials(start, trials=trials, learning_rate=learning_rate)
        found[f"{when}, frozen"] = GradientTrials(start, trials=trials, update="frozen")
        found[f"{when}, single batch"] = SingleBatches(start)
    return found


def figure(runs, fig):
    trial, single, travel = fig.subplots(1, 3)
    for when, color in (("early", "C0"), ("late", "C1")):
        moving, frozen, batch = (runs[f"{when}, {kind}"] for kind in ("moving", "frozen", "single batch"))
        sizes, line = np.array(moving.experiment.batch_sizes), {"color": color, "label": when}
        norm, deviation = moving["norm"].mean(axis=2), moving["norm"].std(axis=2)  # (seeds, batch sizes)
        draw.by_batch_size(trial, sizes, norm, deviation / np.sqrt(moving.experiment.trials), deviation, **line)
        trial.plot(sizes, norm[:, 0].mean() * np.sqrt(sizes), ":", color="gray", label="as √B")
        trial.plot(sizes, frozen["norm"].mean(axis=(0, 2)), "--", color=color, label="weights frozen")
        draw.by_batch_size(single, sizes, root_mean_square(batch), color=color)
        single.plot(sizes, law(batch).mean(axis=0), ":", color="gray", zorder=3, label="exact law")
        draw.by_batch_size(travel, sizes, moving.experiment.learning_rate * 1024 / sizes * norm, color=color)
    trial.set(title="a trial, ± s.d. and s.e.", ylabel="mean gradient norm", ylim=(None, 10 * trial.dataLim.y0))
    single.set(title="one frozen batch, summed", ylabel="root mean square gradient norm")
    travel.set(title="travel in a trial", ylabel="distance of the last kernel")


def root_mean_square(run):
    return np.sqrt(np.square(run["norm"], dtype=float).mean(axis=2))


def law(run):
    """√(B tr Σ + B² |g|²), of shape (seeds, batch sizes)."""
    sizes = np.array(run.experiment.batch_sizes)
    return np.sqrt(sizes * run["noise_trace"][:, None] + sizes**2 * run["squared_gradient_norm"][:, None])


def verdicts(runs):
    norm = {role: run["norm"].mean(axis=2) for role, run in runs.items()}  # (seeds, batch sizes)
    sizes = np.array(runs["early, moving"].experiment.batch_sizes)
    higher = np.log(norm["early, moving"] / norm["late, moving"]).mean(axis=1)
    yield claim("The norm is larger early than late (mean logarithm of the ratio).", higher, above=0)
    for when in ("early", "late"):
        grown, frozen = exponent(sizes, norm[f"{when}, moving"]), norm[f"{when}, frozen"]
        single = runs[f"{when}, single batch"]
        below = sizes <= max(2, np.mean(single["noise_trace"] / single["squared_gradient_norm"]) / 8)
        root = exponent(sizes[below], root_mean_square(single)[:, below])
        yield claim(f"With moving weights the norm grows with B, {when} (exponent).", grown, above=0)
        yield claim(f"It grows as √B, {when} (exponent ½).", grown, above=0.45, below=0.55, published=0.5)
        uneven = np.ptp(frozen, axis=1) / frozen.mean(axis=1)
        yield claim(f"With frozen weights it is flat, {when} (range / mean).", uneven, below=1e-4)
        yield claim(f"One frozen batch, summed, grows as √B, {when} (exponent).", root, above=0.45, below=0.55)
