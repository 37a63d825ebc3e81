"""# Are many devices one large batch?

In data-parallel training each of N devices, or replicas, takes a share of the batch. All-reduce adds the gradients,
and every copy of the model takes the same step. So N devices with B / N samples each should do what one device does
with B. Many devices therefore mean large batches: Goyal et al. (2017) train ImageNet in one hour on 256 GPUs, with
batches of 8,192 images and a learning rate in proportion to the batch size.

## Idea

The mean gradient of a batch is a sum over its samples, and a sum can be computed in parts. With Bᵣ samples and the
mean gradient gᵣ on replica r,

    g = (1 / B) Σᵢ ∇ℓ(w, xᵢ) = Σᵣ (Bᵣ / B) gᵣ

The factors Bᵣ / B matter if the shares are unequal. The order of a sum changes its rounding, about 10⁻⁷ in float32,
and training amplifies every difference. So the equality can be seen in the first steps only; later the runs differ
like two runs with other rounding.

What the devices change is the time. With the constants of chapter 15, a step takes about

    T(N) = t₀ + t₁ B / N + time of all-reduce

All-reduce sends a gradient of the size of the model, whatever B is. With many devices t₁ B / N falls below the other
two, and the devices wait. They are busy only if B grows with N. So many devices lead to large batches, and a large
batch behaves as on one device: it needs the same η · steps, with learning rate η (chapter 9). Sixteen times the batch
needs sixteen times η.

## Experiment

- *replicas*: one epoch at batch size 64 on one device, and on 2 and 3 replicas (3 does not divide 64: the shares are
  22, 21 and 21, and the last batch of an epoch is smaller and uneven too)
- *control*: one device, but every step a thousandth longer. A fault of a thousandth in the gradients would look like
  this.
- *small batch*: 64 at the learning rate 0.01 for 30 epochs; *large batch*: 1024 at the same rate; *scaled*: 1024 at
  sixteen times the rate, which is far below the limit of stability

What *scaled* gains over *large batch*, as a part of what that lost to *small batch*, is the recovered part.

**Predict.** At which decimal place do the losses of one and three replicas differ in the first step? In which step
does the control differ?

## Explanation

Two and three replicas repeat the losses of one device to about 10⁻⁷, the rounding of float32, in all 23 steps of the
epoch on digits. The test could have seen a fault: in the first step the control has the same loss, because no step was
taken yet; in the second it differs by 10⁻⁵, a hundred times the rounding, and in the last by 10⁻⁴. On MNIST, with 938
steps an epoch, the replicas too differ by up to 0.4 % in the end, because training amplifies the rounding. The runs
differ only in rounding.

At one learning rate the large batch takes far fewer steps, and ends 7 percentage points lower on digits. With sixteen
times the rate it recovers all of that and 7 % more, which is half a point. On MNIST it ends 2.9 points lower, and the
scaled rate recovers all of them. So the devices are not the problem, and neither is the large batch: the learning rate
has to follow the total batch size. Single epochs of the scaled runs fall by up to 6 points on their way. The closer the
rate is to the limit, the deeper these falls are (chapter 25).

What is not shown here: the replicas share one processor, so nothing can be said about their time. And a layer that
computes with the batch, like batch normalization, sees only the share of its device (chapter 18).

With a small convolutional network (cnn) on digits the large batch loses 62 points, and the scaled rate recovers 0.95
[0.92, 0.99] of them, so not quite all. Probably the scaled rate of 0.16 is near the limit of stability there (chapter
13).

## In practice

On several devices, choose the total batch size as you would on one, and change the learning rate with the total, not
with the share. Give all replicas equal shares, or weight their gradients.

## Exercises

1. Each replica could average over its own part, and the averages be averaged. When is that wrong?

   > When the parts differ in size. With 3 replicas and 64 samples the shares are 22, 21 and 21.

2. Two devices take 0.6 of the time of one, at the same total batch size. What would you try to come nearer to a half?

   > A larger total batch, with the learning rate in proportion: t₀ and all-reduce then count less for each sample.

3. Where does linear scaling end? Try `bstudy chapter 20 --learning-rate 0.05` and 0.1.

   > At 0.05 the scaled rate is 0.8, near the limit: on MNIST all three seeds diverged. Chapter 25 looks for this
   > limit.

## Sources

- Goyal et al. (2017), [Accurate, large minibatch SGD](https://arxiv.org/abs/1706.02677): linear scaling, and the
  normalization of a loss over several workers
- A web collection of statements on the batch size: the synchronous step with all-reduce

## History

- Until version 0.2 the learning rate was 0.03, and *warmed up* was a fourth run. On digits its recovered part was 1.02
  [0.92, 1.13] of the loss, and the warm-up made no difference. At the scaled rate of 0.48 single epochs fell by up to
  20 points, so the rate is 0.01 now. The warm-up, and the divergence at 0.05, are in chapter 25.
- The bound for replicas was changed twice on one day of version 0.1, each time after a result: 10⁻³ over an epoch,
  10⁻⁵ over ten steps, 10⁻⁶ over three steps.
- "Recovers" had the bound of one percentage point in version 0.1; it is a tenth of the loss now (MNIST result known).
- The control is new. Its bound was written before its run.
"""

import numpy as np

from bstudy import Recipe, claim, plots, stats

PART = "VII. Changing the batch, and many devices"
ROLES = {"small batch": "C0", "large batch": "gray", "scaled": "C1"}
ROUNDING = 2.0**-24  # of float32, relative
FAULT = 1e-3  # of the control


def experiments(small_batch_size=64, large_batch_size=1024, learning_rate=0.01, epochs=30, replicas=(2, 3)):
    small = Recipe.sgd(small_batch_size, learning_rate, epochs)
    large_rate = learning_rate * large_batch_size / small_batch_size
    return {
        "one device": small.first(1).with_replicas(1),
        "replicas": {count: small.first(1).with_replicas(count) for count in replicas},
        "control": Recipe.sgd(small_batch_size, (1 + FAULT) * learning_rate, 1, replicas=1),
        "small batch": small,
        "large batch": Recipe.sgd(large_batch_size, learning_rate, epochs),
        "scaled": Recipe.sgd(large_batch_size, large_rate, epochs),
    }


def loss_difference(run, alone):
    """Return (seeds, steps) the relative difference of the loss to that of one device."""
    return np.abs(run["loss"] / alone["loss"].astype(float) - 1)


def figure(runs, fig):
    difference, accuracy = fig.subplots(1, 2)
    lines = {f"{count} replicas": run for count, run in runs["replicas"].items()} | {"control": runs["control"]}
    for color, (name, run) in zip(("C3", "C4", "C2", "C5"), lines.items(), strict=False):
        largest = loss_difference(run, runs["one device"]).max(axis=0)
        steps = np.arange(1, len(largest) + 1)
        difference.plot(steps, np.maximum(largest, ROUNDING / 4), "o", color=color, markersize=4, label=name)
    line = difference.axhline(ROUNDING, color="gray", linestyle=":")
    plots.note(line, "dotted: rounding of float32; dots at the bottom: equal losses")
    difference.set(title="to one device, largest over seeds", ylabel="relative difference of the loss", yscale="log")
    difference.set(xlabel="step")
    for role, color in ROLES.items():
        curves, diverged = runs[role]["test_accuracy"], runs[role].diverged
        first, *_ = accuracy.plot(curves.T, color=color, linewidth=1)
        first.set_label(f"{role}{plots.diverged_text(runs[role])}")
        if diverged.any():
            plots.mark_at_top(accuracy, np.isfinite(curves[diverged]).sum(axis=1), "x", plots.DIVERGED, color)
    accuracy.set(title="one line per seed", xlabel="epoch", ylabel="test accuracy (%)")
    plots.zoom_to_final_values(accuracy)


def verdicts(runs):
    alone, counts = runs["one device"], " or ".join(map(str, runs["replicas"]))
    first = np.max([loss_difference(run, alone)[:, :3].max(axis=1) for run in runs["replicas"].values()], axis=0)
    text = f"{counts} replicas take the same steps as one device."
    options = {"check": True, "answer": True, "unit": "relative difference of the loss in three steps"}
    yield claim(text, first, below=1e-6, otherwise=text.replace("the same", "other"), **options)
    accuracy = {role: runs[role].final("test_accuracy") for role in ROLES}
    lost = {role: accuracy["small batch"] - accuracy[role] for role in ROLES}
    large = runs["large batch"].experiment.batch_size
    text = f"With a learning rate in proportion, batch size {large} loses no accuracy."
    yield claim(
        text,
        1 - stats.share(lost["scaled"], lost["large batch"]),
        above=0.9,
        otherwise=text.replace("no", "some"),
        unit="of the loss recovered",
        if_infinite="lost nothing",
        answer=True,
        source="Goyal et al.",
        advice=(
            "On more devices, raise the learning rate in proportion to the total batch size, if that is stable.",
            "On more devices, tune the learning rate again: raising it in proportion is not enough.",
        ),
    )
    text = f"At the learning rate of the small batch, batch size {large} loses accuracy."
    yield claim(text, lost["large batch"], above=1, unit="percentage points")
    seen = loss_difference(runs["control"], alone)[:, :3].max(axis=1)
    text = "A fault of a thousandth in the gradients would be seen."
    options["answer"] = False
    yield claim(text, seen, above=1e-6, otherwise=text.replace("would", "would not"), **options)
    distance = {count: run.final("weight_distance", over=1) for count, run in runs["replicas"].items()}
    apart = np.max([np.abs(each / alone.final("weight_distance", over=1) - 1) for each in distance.values()], axis=0)
    text = "After an epoch they are as far from the start."
    yield claim(text, apart, below=1e-2, check=True, unit="relative difference")
