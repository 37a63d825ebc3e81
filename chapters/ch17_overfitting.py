"""# Does a larger, or a smaller, batch always give better results?

The article of chapter 15 lists both as common misconceptions, and then has tables from 16 to 256 in which it matters
little: the lowest loss at 32 (table A), the highest training accuracy at 32 (C), the highest validation accuracy at
256 (E, 90.3 % against 90.2 % at 16), and the least overfitting at 256 (H, 6.1 points against 6.3 at 16 and 7.1 at 32).

## Idea

Overfitting is measured here by the gap

    gap = training accuracy − test accuracy        (percentage points)

A gap says how much better the model does on samples that it has seen. It does not say how good the model is: an
untrained model has a gap of zero. (Table H is said to be this difference of tables C and E. That is 6.0, 7.0, 6.5, 6.0
and 5.6, so it is not.)

What is held fixed decides what is compared. In equal epochs at one learning rate η, a batch of B takes N / B steps per
epoch, so that η · steps, the clock of chapter 9, runs 16 times slower at 256 than at 16. With η in proportion to B the
clock is the same for all.

## Experiment

Batch sizes 16 and 256 for 15 epochs from the same start:

- *one learning rate*: 0.02 for both
- *rate ∝ B*: 0.02 at 16, 0.32 at 256
- *wrong labels*: both at the rate 0.1 for 20 epochs, with four of ten training labels wrong, so that training overfits
- *article*: its tables, as changes from their first row, in gray

Three more of its sentences are tested. "Early stopping can be used to mitigate the impact of an inappropriate batch
size": each run is stopped at its lowest test loss, which is early stopping with perfect knowledge. It mitigates if
less than half of the effect is left. Small batches have "less stable training", and "smoother convergence":
*roughness* is the root mean square of the second differences of log(training loss) from epoch to epoch, in the second
half of training. It is 0 for a smooth, exponential fall. Large batches lead to "slower training convergence,
especially if the model is prone to overfitting": how many times as many epochs does 256 take to a training loss that
both reach?

**Predict.** Under which of the first two rules does the batch size matter? Which batch size has the smallest gap, and
is that a virtue? For which does early stopping help?

## Explanation

At one learning rate every halving of the batch raises the test accuracy, by 1.5 points on digits, because it doubles
the steps. With the rate in proportion to B 4 % of that is left: 16 and 256 end at 98.2 and 97.9 % on digits. So neither
sentence is always true. What differed was η · steps, not the quality of the batch size. Table E, in which 256 is best,
and table A, in which the loss changes very little, fit the second rule at most.

A smaller gap is no virtue. At one rate 256 has the smallest in the mean, by 0.6 [−0.3, 1.5] points on digits. This
stays open, since the seeds differ by as much as the effect. Both accuracies of 256 are the lowest. Tables C, E and H
come without a setting and without intervals, and H is not C − E: the two gray lines in the panel of the gap should be
one.

Early stopping cannot make up for a batch that is too large at true labels: such a run is late, and its best epoch is
the last. With wrong labels the batch of 16 is too small. It learns them by heart and falls to 76 %, where 256 ends at
94 %. Stopped at its best epoch, between the 7th and the 18th, it has 91 %. So early stopping helps against training too
far, and only then.

At one rate the small batch trains less smoothly, by a factor of about 13, because its noise η / B is 16 times as large.
With the rate in proportion the noise is equal, and the *large* batch is rougher, about 3 times: its steps are nearer to
the limit of stability (chapter 13). So "less stable" is right at one rate, and wrong in proportion. The large batch
takes 14 times as many epochs to its final loss, since its epochs have 15 times fewer steps. With wrong labels it is
only about five times: at five times the rate the noise of the small batch slows its own progress. So nothing here
confirms the "especially".

With a small convolutional network (cnn) on digits the gap of 256 is smaller at one rate, by 1.5 [0.3, 2.7] points. With
wrong labels 16 ends only 4.5 points below 256. This effect is too small to see how much of it early stopping leaves
(−0.2 [−1.1, 0.7]).

On MNIST every halving at one rate raises the accuracy by 0.32 [0.28, 0.36] points, and in proportion 16 and 256 both
end at 98.4 %. The gap of 256 is smaller there by 0.8 [0.6, 1.0] points. With wrong labels 16 ends 7.5 [6.3, 8.8] points
below 256. Stopped at the lowest test loss both have 93 % in the mean, but single seeds have 87 to 96 %, so what early
stopping leaves stays open. At one rate the large batch takes about 10 times as many epochs to its final loss, not 16,
and with wrong labels about as many as the small one. Which of the two trains more smoothly in proportion stays open: of
256 the roughest seed is 13 times as rough as the smoothest.

## In practice

Do not expect accuracy from a batch size. Choose it for speed, adapt the learning rate, and judge a model by its test
accuracy, not by its gap.

## Exercises

1. Is a gap of zero good? Train one epoch: `bstudy chapter 17 --epochs 1`.

   > No. After one epoch all gaps are near zero, and the test accuracy is lower than after fifteen.

2. Give each batch size the same number of steps instead of epochs, at one learning rate. What do you expect?

   > By the clock of chapter 9, the same result for all: η · steps is equal.

3. When could a small batch give better results at equal η · steps?

   > If its noise matters, for example at a large learning rate, or if the labels are noisy and training is long.

## Sources

- "Deep learning batch size", a web article without author or date: tables A, C, E and H, and "Common misconceptions"
- Shallue et al. (2019), [Measuring the effects of data parallelism](https://arxiv.org/abs/1811.03600): no evidence
  that larger batches degrade the results, once each is tuned

## History

Version 0.1 tested the two misconceptions themselves, with a bound of 0.1 percentage points per doubling for both
rules. The claim that all sizes end alike now has the margin of a tenth of the effect. Its MNIST result was known: 0.24
points per doubling at one rate, 0.00 in proportion; so were those on the training accuracy and on table E. Later the
batch sizes 32 and 128 were left out to save time; with them 0.005 [-0.031, 0.041] of the effect was left on digits.
Early stopping, roughness and slow-down were added then, with bounds from before they were computed. With 20 epochs,
which were tried, 0.03 [-0.04, 0.10] of the effect was left, which the bound of a tenth does not decide.

Later the chapter had to run in a minute. Batch size 64 was left out, and twice the rate is trained for half the epochs,
so that η · steps is as before. With the rate 0.01 and 30 epochs 0.005 [-0.056, 0.066] of the effect was left, and with
the rate in proportion 256 was clearly rougher (5 times). Wrong labels at the rate 0.2 for 12 epochs were tried; then
the seeds differed too much to decide on early stopping. With three seeds it was undecided which batch size is rougher
with the rate in proportion.
"""

import numpy as np

from bstudy import Recipe, claim, linear_fit, map_leaves, plots, stack, stats

PART = "VI. Cost"
COLUMNS = ("train_subset_accuracy", "test_accuracy", "train_subset_loss", "test_loss")
NO_EFFECT = "showed no effect of the batch size"
ARTICLE = {  # at batch sizes 16, 32, 64, 128 and 256
    "test": [90.2, 89.5, 89.8, 90.1, 90.3],  # table E
    "training": [96.2, 96.5, 96.3, 96.1, 95.9],  # table C
    "gap": [6.3, 7.1, 6.8, 6.4, 6.1],  # table H
    "loss": [0.0432, 0.0417, 0.0421, 0.0435, 0.0449],  # table A
}


def experiments(batch_sizes=(16, 256), learning_rate=0.02, epochs=15, label_noise=0.4):
    sizes = sorted(batch_sizes)
    return {
        "one learning rate": {size: Recipe.sgd(size, learning_rate, epochs) for size in sizes},
        "rate ∝ B": {size: Recipe.sgd(size, learning_rate * size / sizes[0], epochs) for size in sizes},
        "wrong labels": {
            size: Recipe.sgd(size, 5 * learning_rate, max(1, 4 * epochs // 3), label_noise=label_noise)
            for size in (sizes[0], sizes[-1])
        },
    }


def table(runs):
    return map_leaves(lambda run: {name: run.final(name) for name in COLUMNS}, runs)


def measures(by_size):
    """Return the batch sizes and {name in ARTICLE: (seeds, n)}."""
    sizes, test = stack(by_size, "test_accuracy")
    training, loss = (stack(by_size, f"train_subset_{what}")[1] for what in ("accuracy", "loss"))
    return sizes, {"test": test, "training": training, "gap": training - test, "loss": loss}


def stopped(run):
    """Return (seeds,) the test accuracy in the epoch with the lowest test loss."""
    return stats.value_at_minimum(run["test_accuracy"], run["test_loss"])


def roughness(run):
    """Return (seeds,) the root mean square of the second differences of the log of the training loss."""
    late = np.log(run["train_subset_loss"])[:, run.experiment.epochs // 2 :]
    return np.sqrt(np.mean(np.diff(late, n=2) ** 2, axis=1, dtype=float))


def epochs_to(run, loss):
    """Return (seeds,) the epochs until the training loss is at most this, interpolated; infinite if it never is."""
    epochs = []
    for curve, goal in zip(np.log(run["train_subset_loss"]), np.log(loss), strict=True):
        first = int(np.argmax(curve <= goal))
        before, after = curve[first - 1], curve[first]
        epochs.append(first - (goal - after) / (before - after) if first else goal + np.inf)
    return np.array(epochs)


def slow_down(by_size):
    """Return (seeds,) how many times as many epochs the largest batch size takes to its final loss as the smallest."""
    small, large = by_size[min(by_size)], by_size[max(by_size)]
    goal = large["train_subset_loss"][:, -1]
    return epochs_to(large, goal) / epochs_to(small, goal)


def figure(runs, fig):
    panels = dict(zip((*ARTICLE, "wrong labels", "roughness"), fig.subplots(2, 3).flat, strict=True))
    titles = {"test": "test accuracy", "training": "training accuracy", "gap": "gap", "loss": "training loss"}
    rules, sizes = {"one learning rate": "C0", "rate ∝ B": "C1"}, (16, 32, 64, 128, 256)
    for name, article in ARTICLE.items():
        axes = panels[name]
        for rule, color in rules.items():
            own_sizes, values = measures(runs[rule])
            change = values[name] - values[name][:, :1]
            plots.by_batch_size(axes, own_sizes, change, yscale="linear", color=color, label=rule)
        axes.plot(sizes, np.subtract(article, article[0]), "--", color="gray", label="article")
        axes.set(title=titles[name], ylabel=f"change ({'nats' if name == 'loss' else 'points'})")
    difference = np.subtract(ARTICLE["training"], ARTICLE["test"])
    panels["gap"].plot(sizes, difference - difference[0], ":", color="gray", label="its table C − table E")
    axes = panels["wrong labels"]
    for size, run in runs["wrong labels"].items():
        plots.curve(axes, run, "test_accuracy", label=f"B = {size}", linestyle="-")
        for curve, epoch in zip(run["test_accuracy"], np.argmin(np.nan_to_num(run["test_loss"]), axis=1), strict=True):
            (dot,) = axes.plot(epoch, curve[epoch], "o", color=plots.color(size), markersize=5)
            plots.note(dot, "dots: lowest test loss of each seed")
    axes.set(title="wrong labels")
    plots.zoom_to_final_values(axes)
    for rule, color in rules.items():
        own_sizes, rough = stack(runs[rule], roughness)
        plots.by_batch_size(panels["roughness"], own_sizes, rough, color=color)
    panels["roughness"].set(title="log(training loss)", ylabel="roughness")


def verdicts(runs):
    sizes, fixed = measures(runs["one learning rate"])
    _, scaled = measures(runs["rate ∝ B"])
    gain, scaled_gain = (-linear_fit(np.log2(sizes), values["test"])[0] for values in (fixed, scaled))
    yield claim(
        "At one learning rate a smaller batch gives better results.",
        gain,
        above=0.1,
        unit="percentage points per halving",
        otherwise="At one learning rate a smaller batch does not give better results.",
        answer=True,
    )
    yield claim(
        "With a rate in proportion to B all end alike.",
        stats.share(scaled_gain, gain),
        above=-0.1,
        below=0.1,
        if_infinite=NO_EFFECT,
        unit="of that effect is left",
        otherwise="With a rate in proportion to B the batch size still matters.",
        answer=True,
        advice=(
            "Choose the batch size for speed, and change the learning rate in proportion.",
            "Compare batch sizes by experiment: the learning rate does not make up for them.",
        ),
    )
    less = fixed["gap"][:, 0] - fixed["gap"][:, -1]
    text = f"At one learning rate {sizes[-1]} overfits less than {sizes[0]} (table H): its gap is smaller."
    otherwise = text.replace("less", "more").replace("smaller", "larger").replace(" (table H)", "")
    yield claim(text, less, above=0, unit="percentage points", source="the article", otherwise=otherwise)
    less = fixed["training"][:, 0] - fixed["training"][:, -1]
    text = f"At one learning rate {sizes[-1]} learns less: its training accuracy is lower too."
    yield claim(text, less, above=0, unit="percentage points")
    more = fixed["test"][:, -1] - fixed["test"][:, 0]
    text = f"The test accuracy is higher at {sizes[-1]} than at {sizes[0]} (table E)."
    otherwise = f"The test accuracy is lower at {sizes[-1]} than at {sizes[0]}, unlike in table E."
    yield claim(text, more, above=0, unit="percentage points", source="the article", otherwise=otherwise)
    yield from early_stopping(runs, gain)
    yield from courses(runs)


def early_stopping(runs, gain):
    """Yield whether early stopping makes up for the batch size."""
    sizes, early = stack(runs["one learning rate"], stopped)
    mitigates = {"below": 0.5, "unit": "of the effect is left", "source": "the article", "if_infinite": NO_EFFECT}
    text = "At one learning rate early stopping makes up for the batch size."
    otherwise = text.replace("makes", "does not make")
    left = stats.share(-linear_fit(np.log2(sizes), early)[0], gain)
    yield claim(text, left, otherwise=otherwise, **mitigates)
    sizes, end = stack(runs["wrong labels"], "test_accuracy")
    text = f"With wrong labels {sizes[0]} ends below {sizes[-1]}."
    yield claim(text, end[:, -1] - end[:, 0], above=1, unit="percentage points")
    early = stack(runs["wrong labels"], stopped)[1]
    text = "There, early stopping makes up for the batch size."
    left = stats.share(early[:, -1] - early[:, 0], end[:, -1] - end[:, 0])
    yield claim(text, left, otherwise=text.replace("makes", "does not make"), **mitigates)


def courses(runs):
    """Yield how smooth and how fast training is."""
    fixed, scaled = runs["one learning rate"], runs["rate ∝ B"]
    small, large = min(fixed), max(fixed)
    text = f"At one learning rate {small} trains less smoothly than {large}."
    rough, options = {size: roughness(run) for size, run in fixed.items()}, {"scale": "log", "source": "the article"}
    yield claim(text, rough[small] / rough[large], above=1, otherwise=text.replace("less", "more"), **options)
    text = f"With a rate in proportion to B, too, {small} trains less smoothly."
    otherwise = f"With a rate in proportion to B, {small} trains more smoothly."
    ratio = roughness(scaled[small]) / roughness(scaled[large])
    yield claim(text, ratio, above=1, otherwise=otherwise, **options)
    slower = slow_down(fixed) * small / large
    text = f"At one learning rate {large} takes as many more epochs as it is larger."
    unit = f"of {large / small:g} times"
    yield claim(text, slower, above=0.8, below=1.25, unit=unit, **options)
    slower = slow_down(runs["wrong labels"]) / slow_down(fixed)
    text = "With wrong labels, where training overfits, it is slowed down more."
    yield claim(text, slower, above=1.1, otherwise=text.replace("is slowed", "is not slowed"), **options)
