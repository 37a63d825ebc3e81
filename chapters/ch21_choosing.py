"""The gradient's noise and the machine's speed say which batch size to use.

Claim     Up to B_crit, which is near the noise scale tr Σ / ‖g‖², larger batches save steps; up to t_0 / t_1, if a step
          takes t_0 + t_1 B seconds, they take no more time. The fastest batch is near √(B_crit t_0 / t_1).
Compare   The noise scale along a run, and B_crit (chapter 16). Steps × seconds per step (chapter 15), and true seconds.
Look for  The noise scale grows as the loss falls: a batch that is too large early can be right late. Below both limits
          a larger batch is nearly free; above both it only costs samples.
Source    McCandlish, Kaplan, Amodei et al. (2018). All other sources of this book ask the question, and leave it open.

Exercises
  1. Ask it of your own data and model: `bstudy advise --help`.
  2. With T(B) = S_min (1 + B_crit / B) (t_0 + t_1 B), show that the fastest batch is √(B_crit t_0 / t_1).
  3. A harder target: `bstudy chapter 21 --set target_accuracy=97`. Which of the two limits moves, and which way?
"""

import numpy as np

from bstudy import Cost, NoiseScale, Recipe, TimeToTarget, claim, map_leaves, plots, stack, stats, steps_and_best
from bstudy.chapters.published import PUBLISHED  # noqa: F401

PART = "VIII. Choosing"


def experiments(
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024),
    learning_rates=(0.03, 0.1, 0.3, 1.0),
    target_accuracy=95.0,
    epochs=200,
    noise_epochs=(1, 2, 4, 8, 16, 30),
    learning_rate=0.1,
):
    sizes, rates = sorted(batch_sizes), sorted(learning_rates)
    run = Recipe.sgd(sizes[-1], learning_rate, max(noise_epochs))
    return {
        "target": {b: {r: TimeToTarget.sgd(b, r, epochs, target_accuracy) for r in rates} for b in sizes},
        "cost": {size: Cost(size) for size in sizes},
        "noise": {count: NoiseScale(run.first(count)) for count in sorted(noise_epochs)},
        "run": run,
    }


def table(runs):
    return map_leaves(lambda run: run.table(), {part: runs[part] for part in ("cost", "noise", "run")})


def limits(runs):
    """Return (seeds, n) the seconds of a step at each batch size; and (seeds,) B_crit, and t_0 / t_1."""
    sizes, _, steps = steps_and_best(runs["target"], "steps")
    _, passes = stack(runs["cost"], lambda run: np.median(run["seconds"], axis=1))
    step_seconds = passes / np.ceil(runs["run"].samples / sizes)
    t_0, t_1 = stats.fit_step_time(sizes, step_seconds)
    return step_seconds, stats.critical_batch_size(sizes, steps)[1], t_0 / t_1


def figure(runs, fig):
    noise, time = fig.subplots(1, 2)
    sizes, _, steps = steps_and_best(runs["target"], "steps")
    step_seconds, critical, machine = limits(runs)
    plots.by_batch_size(noise, *stack(runs["noise"], lambda run: run.table()["noise scale"]), color="C0")
    noise.set(xlabel="epoch", ylabel="noise scale tr Σ / ‖g‖² (samples)")
    plots.by_batch_size(time, sizes, steps * step_seconds, color="C0", label="steps × seconds of a step")
    plots.by_batch_size(time, sizes, steps_and_best(runs["target"], "seconds")[2], color="C1", label="as it took")
    if critical.mean() > 0:  # NaN if a run did not reach the target
        noise.axhline(critical.mean(), color="C2", linestyle="--")
        time.axvline(critical.mean(), color="C2", linestyle="--", label=f"B_crit = {critical.mean():.0f}")
    time.axvline(machine.mean(), color="gray", linestyle=":", label=f"t₀ / t₁ = {machine.mean():.0f}")
    time.set(ylabel="seconds to the target")


def verdicts(runs):
    sizes, _, seconds = steps_and_best(runs["target"], "seconds")
    _, critical, machine = limits(runs)
    epochs, scales = stack(runs["noise"], lambda run: run.table()["noise scale"])
    yield claim("The noise scale grows along the run (doublings).", np.log2(scales[:, -1] / scales[:, 0]), above=0)
    first_run, *_ = runs["target"][sizes[0]].values()
    after = runs["run"]["test_accuracy"][:, epochs] > first_run.experiment.accuracy  # false if the run diverged
    before = ~after | np.equal(epochs, epochs[0])
    ratio = np.mean(np.log2(scales), axis=1, where=before) - np.log2(critical)
    yield claim("Up to the target it is B_crit within a factor of 4 (doublings).", ratio, above=-2, below=2)
    between = np.clip(np.sqrt(critical * machine), sizes[0], sizes[-1])
    distance = np.abs(np.log(sizes) - np.log(between)[:, None])
    ratio = stats.value_at_minimum(stats.ratio_to_minimum(seconds), distance)
    yield claim("The batch size between the two limits is fast (ratio to the fastest).", ratio, below=1.5)
