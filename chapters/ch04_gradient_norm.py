"""Larger batches take larger steps for the same samples seen.

Claim     Cut the same 1024 samples into batches, step once through them, and average the gradients of the steps: the
          larger the batches, the larger the norm of that average, growing as √B; and it is larger early in training.
Compare   From one trained start, the same drawn samples for every batch size. In the trial the weights move between
          steps; in the control they are frozen. Then a second experiment, easily confused with the first: one single
          batch at frozen weights, its loss summed and not averaged.
Look for  The frozen control is exactly flat: the average cannot depend on how the samples are cut. All growth comes
          from moving weights: small batches descend, and meet smaller gradients. √B is the law of the single batch,
          below its noise scale. The travel, learning rate × (1024 / B) × norm, shrinks with B (chapter 8).
Source    Shen (2018): the mean norm grows as √B. Its text leaves the protocol open; this is one that fits its figures.

Exercises
  1. Halve the learning rate of the trials: `bstudy chapter 4 --set trial_learning_rate=0.005`. Which curve changes?
  2. E‖S_B‖² = B tr Σ + B² ‖g‖². At which B are the two parts equal? Find the bend in the middle panel.
  3. Train the late start for longer: `bstudy chapter 4 --set late_epochs=60`. Where does its noise scale go?
"""

import numpy as np

from bstudy import GradientTrials, Recipe, SingleBatches, claim, plots, power_law_exponent

PART = "II. Gradients"


def experiments(large_batch_size=1024, early_epochs=2, late_epochs=30, trials=5, trial_learning_rate=0.01):
    def after(epochs):
        trained = Recipe.sgd(large_batch_size, 0.01, epochs)
        return {
            "moving": GradientTrials(trained, trials=trials, learning_rate=trial_learning_rate),
            "frozen": GradientTrials(trained, trials=trials, frozen=True),
            "single batch": SingleBatches(trained),
        }

    return {"early": after(early_epochs), "late": after(late_epochs)}


def figure(runs, fig):
    trial, single, travel = fig.subplots(1, 3)
    for color, (when, kinds) in zip(("C0", "C1"), runs.items(), strict=True):
        moving, frozen, batch = kinds["moving"], kinds["frozen"], kinds["single batch"]
        sizes = np.array(moving.experiment.batch_sizes)
        norm, deviation = moving["norm"].mean(axis=2), moving["norm"].std(axis=2)  # (seeds, batch sizes)
        bands = deviation / np.sqrt(moving.experiment.trials), deviation
        plots.by_batch_size(trial, sizes, norm, *bands, color=color, label=when)
        trial.plot(sizes, norm[:, 0].mean() * np.sqrt(sizes), ":", color="gray", label="as √B")
        trial.plot(sizes, frozen["norm"].mean(axis=(0, 2)), "--", color=color, label="weights frozen")
        plots.by_batch_size(single, sizes, root_mean_square(batch), color=color)
        single.plot(sizes, exact_law(batch).mean(axis=0), ":", color="gray", zorder=3, label="exact law")
        plots.by_batch_size(travel, sizes, moving.experiment.learning_rate * 1024 / sizes * norm, color=color)
    trial.set(title="a trial, ± s.d. and s.e.", ylabel="mean gradient norm", ylim=(None, 10 * trial.dataLim.y0))
    single.set(title="one frozen batch, summed", ylabel="root mean square gradient norm")
    travel.set(title="travel in a trial", ylabel="distance of the last kernel")


def root_mean_square(run):
    return np.sqrt(np.square(run["norm"], dtype=float).mean(axis=2))


def exact_law(run):
    """Return √(B tr Σ + B² ‖g‖²), of shape (seeds, batch sizes)."""
    sizes = np.array(run.experiment.batch_sizes)
    return np.sqrt(sizes * run["noise_trace"][:, None] + sizes**2 * run["squared_gradient_norm"][:, None])


def verdicts(runs):
    norm = {when: kinds["moving"]["norm"].mean(axis=2) for when, kinds in runs.items()}  # (seeds, batch sizes)
    higher = np.log(norm["early"] / norm["late"]).mean(axis=1)
    yield claim("The norm is larger early than late (mean logarithm of the ratio).", higher, above=0)
    for when, kinds in runs.items():
        sizes = np.array(kinds["moving"].experiment.batch_sizes)
        growth = power_law_exponent(sizes, norm[when])
        yield claim(f"With moving weights the norm grows with B, {when} (exponent).", growth, above=0)
        yield claim(f"It grows as √B, {when} (exponent ½).", growth, above=0.45, below=0.55, published=0.5)
        frozen, single = kinds["frozen"]["norm"].mean(axis=2), kinds["single batch"]
        uneven = np.ptp(frozen, axis=1) / frozen.mean(axis=1)
        yield claim(f"With frozen weights it is flat, {when} (range / mean).", uneven, below=1e-4)
        noisy = sizes <= max(2, np.mean(single["noise_trace"] / single["squared_gradient_norm"]) / 8)
        root = power_law_exponent(sizes[noisy], root_mean_square(single)[:, noisy])
        yield claim(f"One frozen batch, summed, grows as √B, {when} (exponent).", root, above=0.45, below=0.55)
