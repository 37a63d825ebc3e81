"""# Is gradient accumulation one large batch, and is it worth it?

If a batch does not fit into memory, programs add up the gradients of smaller ones, and take one step with the sum.
Marek et al. (2025) "recommend against gradient accumulation unless training on multiple devices with multiple model
replicas": in language models small batches reached "equal or better per-FLOP performance than larger batch sizes".

## Idea

Split a batch of B samples into *micro-batches* of B₁, B₂, … samples with the mean gradients g₁, g₂, … The mean gradient
of all B samples is their mean, weighted by size:

    g = (B₁ g₁ + B₂ g₂ + …) / B

So one step along g is the step of the large batch, up to rounding. This needs a loss that is a sum over samples. With
batch normalization (chapter 18) the output for a sample depends on its batch, and each micro-batch has its own mean and
variance.

What does it cost? A step on one device has a part t₀ that does not depend on the batch and a part t₁ for each sample
(chapter 15). Accumulation pays t₀ for each micro-batch, like small batches do, since adding a gradient to a sum reads
and writes as many numbers as adding it to the weights. What does it save? The backward pass needs the outputs of all
layers, now of one micro-batch only. But the sum of gradients needs as much memory as the weights.

## Experiment

On the network of the book, with SGD:

- *the same steps?* Batches of 256 in micro-batches of 16, and of 24, where the last one is smaller. The losses of
  12 steps are compared with those of training at batch size 256. The control has no accumulation. Then the same with a
  small network that has batch normalization.
- *time*: seconds per sample of a batch of 256, of the same accumulated, and of batches of 16.
- *memory*: weights, gradients and outputs, computed as in chapter 15. It is not drawn.
- *with the same samples*: 16,384 samples at batch size 256 (what accumulation does) against as many at 16, at 15
  learning rates with a factor of √2 between them. At equal η / B both have the same learning rate × steps (chapter 9).
  This network is a small one, with a hidden layer of 64 units, which can be trained with all rates at once.

**Predict.** Is accumulation faster than small batches? From which batch size on does it save memory? Which of the two
ends at a lower loss after the same samples, at the best rate of each?

## Explanation

The steps are those of the large batch: the losses of the first three steps differ by at most 2.1 · 10⁻⁷, the rounding
of float32, also if the last micro-batch is smaller. In one of five seeds the difference grows to 10⁻⁵ in 12 steps,
because each step passes on the rounding of all before.

With batch normalization the first loss differs by up to 0.3 %, the third by 3 to 4 %, and the last by 11 to 13 %,
because the samples of a micro-batch are normalized by another mean and variance. The averages that are stored for
evaluation differ too: accumulation updates them 16 times a step. After 12 steps they are still near their start with
one batch, and its test loss is 1.16 in place of 0.77.

Accumulation takes about as long as small batches (0.962 [0.934, 0.991] times), because both pay for each gradient. Per
sample, one batch of 256 is 1.7 times as fast. The bound of the claim is nine tenths of the time of small batches, and
some runs were near it (see the history): another machine may decide otherwise.

The same samples are worth more in small steps. At small rates both ways end alike, because both have covered the same
learning rate × steps. But a batch of 256 learns almost nothing at rates of 2.26 and more, so that it cannot go further
than about 0.09 nats, at rates near 1. Steps of 16 at the same η / B are 16 times as short, far from the limit of
stability. They end at 0.046 nats, at six to eight times the η / B of the best large batch. So accumulation pays for
many gradients and throws away most of the steps that they allow.

Memory is the reason that is left, and it is not always one. The sum of gradients is as large as the weights, 4.5 MB
here, and one sample needs 17 kB. Accumulation needs less than the whole batch only from 281 samples on; small batches
always do. This counts the sum as a buffer of its own, as in this program and in Keras. PyTorch adds each layer's
gradient to the sum at once, and saves a part of it.

On MNIST (`--epochs 1 --passes 6`) the answers are the same: the steps are equal to 1.9 · 10⁻⁷, accumulation takes 1.10
[0.97, 1.26] times the time of small batches, and these end at 0.75 [0.68, 0.83] times the test loss.

With a small convolutional network (cnn) on digits two findings change. Accumulation takes 0.72 [0.69, 0.75] times the
time of small batches, probably because a step has more overhead for its work there (chapter 15), and it needs a tenth
of the memory of the whole batch, because the network has few weights and large outputs. Per sample, one batch of 256 is
3.4 times as fast.

## In practice

If a batch does not fit into memory, first try a smaller batch with a learning rate that is smaller by the same
factor. Accumulate if steps are dear, as with many devices that exchange their gradients at each step (chapter 20), or
if a result of a large batch has to be reproduced. Not with batch normalization.

## Exercises

1. A program averages the gradients of micro-batches of 16, 16 and 4 samples with equal weights. What is wrong?

   > Each of the last 4 samples counts four times as much as the others. Weight each gradient by its size.

2. In Keras, `keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)` accumulates. What does it average, and what does
   it count?

   > It adds up four gradients and divides by 4, so micro-batches must be equal. `optimizer.iterations` counts the real
   > steps, and so does Adam's correction of the bias. But a learning rate schedule is evaluated at the number of
   > micro-batches: with 4 of them it runs four times as fast.

3. From which batch size on does accumulation save memory? Set both sums of the Idea equal.

   > B · (output bytes) = m · (output bytes) + (weight bytes), with micro-batches of m samples. Here B = 16 + 4.506 MB /
   > 16,976 bytes = 281.

4. Would Adam in place of SGD change an answer?

   > Not the first: it sees the same gradient. Without accumulation it takes k times as many steps, and its β₂ has to
   > change with the batch size: chapter 28.

## Sources

- Marek et al. (2025), [Small batch size training for language models: when vanilla SGD works, and why gradient
  accumulation is wasteful](https://arxiv.org/abs/2507.07101), the abstract
- Ioffe (2017), [Batch renormalization](https://arxiv.org/abs/1702.03275): how the outputs of batch-normalized models
  depend on the batch
- Keras's [optimizers](https://keras.io/api/optimizers/): `gradient_accumulation_steps`

## History

The bounds were set before any result. An earlier version trained the book's network at five rates for ten epochs, and
compared 60 steps. It took two minutes. Now the small network is trained at 15 rates, and 12 steps are compared, because
only the first three are judged. The ratio of times is the median of the ratios of passes that alternate. Earlier runs
gave 0.917 [0.887, 0.948] and 0.879 [0.834, 0.927] times, which was undecided; with medians of the times themselves, on
a busy machine, it was 0.99 [0.70, 1.39]. With three seeds it was undecided too: 1.01 [0.87, 1.17] times.
"""

import numpy as np

from bstudy import Accumulation, AccumulationCost, RateGrid, claim, plots, stats

PART = "IX. Since then"
HELP = {
    "micro_batch_size": "samples of a micro-batch; the gradients of several are added up before a step",
    "samples_seen": "samples of each training at many rates, with repetitions: a multiple of 16 times the batch size",
}
EVEN, UNEVEN, NORMALIZED = "micro-batches", "the last one smaller", "batch normalization"
WAYS = {"large": "one batch", "accumulated": "accumulated", "small": "small batches"}
RATES = tuple(float(f"{0.1 * 2 ** (power / 2):.3g}") for power in range(15))


def experiments(batch_size=256, micro_batch_size=16, learning_rates=RATES, epochs=2, samples_seen=2**14, passes=12):
    rates = np.array(sorted(learning_rates))

    def accumulate(size, network="chosen"):
        return Accumulation(batch_size, size, rates[0], epochs, network)

    def train(size):
        return RateGrid(size, tuple(rates * size / batch_size), samples=samples_seen)

    return {
        "one batch": train(batch_size),
        "small batches": train(micro_batch_size),
        EVEN: {size: accumulate(size) for size in (batch_size, micro_batch_size)},
        UNEVEN: accumulate(micro_batch_size + micro_batch_size // 2),
        NORMALIZED: {size: accumulate(size, "normalized") for size in (batch_size, micro_batch_size)},
        "cost": AccumulationCost(batch_size, micro_batch_size, passes),
    }


def relative_difference(run, reference):
    """Return (seeds, steps) by how much the losses of the steps differ."""
    return np.abs(run["loss"] / reference["loss"] - 1)


def loss_differences(runs):
    one_batch, *_, even = runs[EVEN].values()
    normalized_batch, *_, normalized = runs[NORMALIZED].values()
    found = {EVEN: relative_difference(even, one_batch), UNEVEN: relative_difference(runs[UNEVEN], one_batch)}
    return found | {NORMALIZED: relative_difference(normalized, normalized_batch)}


def microseconds(run):
    """Return {way: (seeds,)} the median time of a sample."""
    return {name: 1e6 * np.median(run[f"{name}_seconds"], axis=1) for name in WAYS}


def time_ratio(run, way, other):
    """Return (seeds,) the median over passes, which alternate, of the ratio of their times."""
    return np.median(run[f"{way}_seconds"] / run[f"{other}_seconds"], axis=1)


def megabytes(run, size):
    """Return {way: (seeds,)} the memory of weights, gradients and outputs at this batch size."""
    weights, outputs = run["weight_bytes"] / 1e6, run["output_bytes"] / 1e6
    micro = np.minimum(size, run.experiment.micro_batch_size)
    held = {"large": (2, size), "accumulated": (3, micro), "small": (2, micro)}
    return {name: copies * weights + kept * outputs for name, (copies, kept) in held.items()}


def final_losses(run):
    """Return (seeds, learning rates) the test loss at the end: the mean of the last two of 16 evaluations."""
    return run["test_loss"][..., -2:].mean(axis=-1, dtype=float)


def best_loss(run):
    return stats.value_at_minimum(final_losses(run), final_losses(run))


def figure(runs, fig):
    steps, time, samples = fig.subplots(1, 3)
    cost, size = runs["cost"], runs["cost"].experiment.batch_size
    colors = {"large": plots.color(size), "accumulated": "C0", "small": plots.color(cost.experiment.micro_batch_size)}
    styles = {EVEN: ("C0", "-"), UNEVEN: ("C0", ":"), NORMALIZED: ("C1", "-")}
    for name, values in loss_differences(runs).items():
        mean = np.maximum(values, 1e-8).mean(axis=0)
        color, line = styles[name]
        steps.plot(np.arange(1, len(mean) + 1), mean, line, color=color, label=name)
    steps.set(title="the same steps?", yscale="log", xlabel="step", ylabel="relative difference of the loss")
    for number, (name, values) in enumerate(microseconds(cost).items()):
        time.bar(number, values.mean(), color=colors[name], alpha=0.6)
        time.plot(np.full(len(values), number), values, "o", color=colors[name], markersize=3)
    time.set(title="time", xticks=range(3), ylabel="µs per sample")
    time.set_xticklabels([label.replace(" ", "\n").replace("accumu", "accumu-\n") for label in WAYS.values()])
    for name, color in (("one batch", colors["large"]), ("small batches", colors["small"])):
        run = runs[name]
        mean, low, high = plots.mean_and_band(final_losses(run), "log")
        rates = np.array(run.experiment.learning_rates) / run.experiment.batch_size
        samples.plot(rates, mean, "o-", color=color, markersize=3, label=name)
        plots.note(samples.fill_between(rates, low, high, color=color, alpha=0.2, linewidth=0), plots.SEEDS_BAND)
        if (lost := np.isnan(final_losses(run)).any(axis=0)).any():
            plots.mark_at_top(samples, rates[lost], "x", plots.DIVERGED, color)
    samples.set(title="with the same samples", xscale="log")
    samples.set(xlabel="learning rate / batch size", ylabel="test loss (nats)")
    if np.isfinite(best_loss(runs["small batches"])).any():
        samples.set(yscale="log")


def verdicts(runs):
    size, micro = runs["cost"].experiment.batch_size, runs["cost"].experiment.micro_batch_size
    differences = loss_differences(runs)
    first = np.max([differences[name][:, :3].max(axis=1) for name in (EVEN, UNEVEN)], axis=0)
    yield claim(
        "Accumulated steps are those of one large batch, to rounding.",
        1e7 * first,
        below=100,
        unit="· 10⁻⁷ relative difference of the loss in three steps",
        otherwise="Accumulated steps are not those of one large batch.",
        answer=True,
        check=True,
    )
    yield claim(
        "They are no faster than small batches.",
        time_ratio(runs["cost"], "accumulated", "small"),
        above=0.9,
        scale="log",
        otherwise="They are faster than small batches.",
        answer=True,
        source="Marek et al.",
    )
    text = f"With the same samples, tuned steps of {micro} end at a lower test loss."
    yield claim(
        text,
        best_loss(runs["small batches"]) / best_loss(runs["one batch"]),
        below=1,
        scale="log",
        otherwise=text.replace("a lower", "no lower"),
        answer=True,
        source="Marek et al.",
        advice=("Take small steps in place of accumulating gradients.", "Accumulating gradients loses nothing here."),
    )
    text = "With batch normalization it is not: the losses of the first steps differ by more than a thousandth."
    yield claim(text, differences[NORMALIZED][:, :3].mean(axis=1), above=1e-3, scale="log", unit="relative difference")
    text = f"It is slower than one batch of {size}."
    yield claim(text, time_ratio(runs["cost"], "accumulated", "large"), above=1, scale="log")
    text = f"At the smallest rate, steps of {micro} with an equal η / B end at the same test loss, to a tenth."
    losses = {name: final_losses(runs[name])[:, 0] for name in ("one batch", "small batches")}
    yield claim(text, losses["small batches"] / losses["one batch"], above=0.9, below=1.1, scale="log")
    memory = megabytes(runs["cost"], size)
    text = f"Accumulating a batch of {size} needs less memory than the whole batch at once (computed)."
    otherwise = text.replace("less", "no less")
    yield claim(text, memory["accumulated"] / memory["large"], below=1, scale="log", otherwise=otherwise)
