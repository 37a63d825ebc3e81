"""The gradient's noise and the machine's speed say which batch size to use.

Claim     Up to B_crit, which is near the noise scale tr Σ / |G|², larger batches save steps; up to t_0 / t_1, where
          t_0 + t_1 B are the seconds of a step, they take no more time. The fastest batch is near √(B_crit t_0 / t_1).
Compare   The noise scale along a run, beside B_crit as fitted to the steps of chapter 16 at its best learning rates.
          Steps times the seconds of a step (chapter 15), beside the seconds it took.
Look for  The noise scale grows as the loss falls: a batch that is too large early can be right late. Below both limits
          a larger batch is nearly free; above both it only costs samples.
Source    McCandlish, Kaplan, Amodei et al. (2018). All other sources of this book ask the question, and leave it open.

Exercises
  1. Ask it of your own data and model: `bstudy advise --help`.
  2. With T(B) = S_min (1 + B_crit / B) (t_0 + t_1 B), show that the fastest batch is √(B_crit t_0 / t_1).
  3. A harder target: `bstudy chapter 21 --set target=0.97`. Which of the two limits moves, and which way?
"""

import numpy as np

from bstudy import Cost, NoiseScale, Recipe, Target, claim, critical_batch_size, draw, step_seconds, to_target

PART = "VIII. Choosing"


def experiments(
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024), learning_rates=(0.03, 0.1, 0.3, 1.0), target=0.95, epochs=200,
    points=(1, 2, 4, 8, 16, 30), learning_rate=0.1,
):  # fmt: skip
    sizes, run = sorted(batch_sizes), Recipe.sgd(max(batch_sizes), learning_rate, max(points))
    grid = {f"{b} at {rate:g}": Target.sgd(b, rate, epochs, target) for b in sizes for rate in sorted(learning_rates)}
    noise = {f"noise after {point}": NoiseScale(run.cut(point)) for point in sorted(points)}
    return grid | {f"cost of {size}": Cost(size) for size in sizes} | noise | {"run": run}


def of_kind(kind, runs):
    return [run for run in runs.values() if isinstance(run.experiment, kind)]


def two_limits(runs):
    """(n,) batch sizes; (seeds, n) steps to the target, and seconds of a step; (seeds,) B_crit, and t_0 / t_1."""
    sizes, _, steps = to_target(of_kind(Target, runs), "steps")
    passes = np.stack([np.median(run["seconds"], axis=1) for run in of_kind(Cost, runs)], axis=1)
    seconds = passes / np.ceil(next(iter(runs.values())).samples / sizes)
    return sizes, steps, seconds, critical_batch_size(sizes, steps)[1], np.divide(*step_seconds(sizes, seconds))


def noise_scales(runs):
    """(points,) epochs of the run, and (seeds, points) the noise scale there."""
    scales = [run.experiment.summary(run)["noise scale"] for run in of_kind(NoiseScale, runs)]
    return [run.experiment.at.epochs for run in of_kind(NoiseScale, runs)], np.stack(scales, axis=1)


def table(runs):
    return {role: run.experiment.summary(run) for role, run in runs.items() if not isinstance(run.experiment, Target)}


def figure(runs, fig):
    noise, time = fig.subplots(1, 2)
    sizes, steps, seconds, critical, machine = two_limits(runs)
    draw.by_batch_size(noise, *noise_scales(runs), color="C0")
    noise.axhline(critical.mean(), color="C2", linestyle="--")
    noise.set(xlabel="epoch", ylabel="noise scale tr Σ / |G|² (samples)")
    draw.by_batch_size(time, sizes, steps * seconds, color="C0", label="steps × seconds of a step")
    draw.by_batch_size(time, sizes, to_target(of_kind(Target, runs), "seconds")[2], color="C1", label="as it took")
    time.axvline(critical.mean(), color="C2", linestyle="--", label=f"B_crit = {critical.mean():.0f}")
    time.axvline(machine.mean(), color="gray", linestyle=":", label=f"t₀ / t₁ = {machine.mean():.0f}")
    time.set(ylabel="seconds to the target")


def verdicts(runs):
    sizes, _, _, critical, machine = two_limits(runs)
    points, scales = noise_scales(runs)
    yield claim("The noise scale grows along the run (doublings).", np.log2(scales[:, -1] / scales[:, 0]), above=0)
    on_the_way = runs["run"]["test_accuracy"][:, points] <= of_kind(Target, runs)[0].experiment.accuracy
    on_the_way[:, 0] = True
    ratio = np.mean(np.log2(scales), axis=1, where=on_the_way) - np.log2(critical)
    yield claim("On the way to the target it is B_crit within a factor of 4 (doublings).", ratio, above=-2, below=2)
    seconds = to_target(of_kind(Target, runs), "seconds")[2]
    nearest = np.abs(np.log(sizes) - np.log(np.maximum(critical * machine, 1))[:, None] / 2).argmin(axis=1)[:, None]
    loss = np.take_along_axis(seconds, nearest, axis=1)[:, 0] / seconds.min(axis=1)
    yield claim("The batch size between the two limits is fast (ratio to the fastest).", loss, below=1.5)
