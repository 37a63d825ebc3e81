"""# Does growing the batch do what decaying the learning rate does?

Smith et al. (2018) replace each division of the learning rate by a multiplication of the batch size by the same
factor, and find the same test accuracy after the same epochs with far fewer updates: an ImageNet training in under 30
minutes, with 76.1 % accuracy and no tuning. AdaBatch (Devarakonda et al. 2017) doubles the batch and multiplies the
rate by 0.75 where the fixed batch multiplies it by 0.375. The article of chapter 15 warns that "abruptly changing the
batch size can disrupt the learning process", and advises large data sets to start large and decrease.

## Idea

Let g be the mean gradient and tr Σ the variance of the gradient of one sample. An epoch has N / B steps, each of which
moves the weights by η g on average, with the variance η² tr Σ / B. Together,

    drift per epoch = N · (η / B) · g
    variance per epoch = N · (η / B)² · tr Σ

Both depend on η / B only. So dividing η by five or multiplying B by five is the same, as long as a single step is
short enough for g not to change along it.

What would show it? Equal test accuracies at the end are evidence only if decay changes the accuracy. The *control* for
that is the constant small batch. The training loss is a second witness: in it, decay may leave a trace even if the
accuracy is at its limit.

## Experiment

18 epochs from the same start, with changes after 6 and after 12.

- *rate decayed*: batch size 32, learning rate 0.1, divided by 5 at each change; *batch grown*: 32, times 5 instead
- *AdaBatch, fixed* and *doubled*: the same with the factors of AdaBatch
- *batch shrunk*: 800 divided by 5 at each change, with as many samples and updates as *batch grown*
- controls: *small, constant* (32) and *large, constant* (800)

Seconds are epochs times the median time of an epoch at that batch size.

**Predict.** Which lines coincide in training loss? Which change of the batch makes the loss jump?

## Explanation

In training loss each pair runs on one line. Decay makes the loss at the end 3.5 times that of the constant small batch
on MNIST and 3.3 times on digits; growing the batch does the same, to within three thousandths of that effect.

Note the direction: decay makes the loss *higher*. This training is not limited by noise. Its loss falls with η · steps
(chapter 9), which decay and growth slow down alike. So the drift part of the formula is confirmed, and the noise part
is not tested. The test accuracy is no evidence either way: on MNIST it is 98.5 % without any change as well. A real
test needs a setting in which noise limits the result, for example wrong labels.

Growing the batch lowers the noise and disrupts nothing. Shrinking it raises the noise. On MNIST the training loss rose
at the second change with each of the three seeds, from about 0.015 to 0.034 or more, and with one seed the accuracy
fell from 98.1 to 95.5 % for an epoch. On digits, with a loss of 0.16 at that time, it did not rise: the noise was
small next to the progress that was left.

Not tested: momentum, label noise, and Adam, for which halving the rate corresponds to four times the batch, not twice
(chapter 22).

## In practice

If a schedule divides the learning rate, multiply the batch size instead as long as it fits your machine: the steps get
fewer. Do not divide the batch size of a converged run by a large factor at an unchanged learning rate.

## Exercises

1. Both constants are controls. What does each control for?

   > The small one: does decay do anything? The large one: is growth needed, or is a large batch enough from the start?

2. Grow by a larger factor: `bstudy chapter 19 --growth-factor 6`. Where does the batch end, and when does the rule
   end?

   > At 1152. The rule ends where a single step at the learning rate 0.1 is no longer short compared with the curvature
   > of the loss (chapter 13), or when the batch is the whole training set.

3. The updates fall to less than half. Why do the seconds fall less?

   > A step of a larger batch takes longer (chapter 15). The samples per second rise less than the batch size.

## Sources

- Smith et al. (2018), [Don't decay the learning rate, increase the batch size](https://arxiv.org/abs/1711.00489)
- Devarakonda et al. (2017), [AdaBatch](https://arxiv.org/abs/1712.02029)
- "Deep learning batch size", a web article without author or date: guidelines, and frequently asked questions

## History

Version 0.1 judged the accuracy only, without a claim that decay gains, and the loss only where the batch grows. The
claims on decay, on the training loss and on the shrunk batch were added when the MNIST result was known. The bound of
0.5 percentage points is that of version 0.1; on MNIST the interval is ± 0.01.
"""

import numpy as np

from bstudy import Recipe, claim, map_leaves, plots

PART = "VII. Changing the batch, and many devices"
LINES = {  # the two runs of a pair share a color
    "small, constant": {"color": "gray", "linestyle": ":"},
    "large, constant": {"color": "gray", "linestyle": "-."},
    "rate decayed": {"color": "C0", "linestyle": "-"},
    "batch grown": {"color": "C0", "linestyle": "--"},
    "batch shrunk": {"color": "C1", "linestyle": "-"},
    "AdaBatch, fixed": {"color": "C2", "linestyle": "-"},
    "AdaBatch, doubled": {"color": "C2", "linestyle": "--"},
}
PAIRS = ("Smith et al.", "batch grown", "rate decayed"), ("AdaBatch", "AdaBatch, doubled", "AdaBatch, fixed")


def two_changes(recipe, batch_factor, rate_factor):
    size, rate, epochs = recipe.batch_size, recipe.learning_rate, recipe.epochs
    for _ in range(2):
        size, rate = round(size * batch_factor), rate * rate_factor
        recipe = recipe.then(batch_size=size, learning_rate=rate, epochs=epochs)
    return recipe


def experiments(batch_size=32, learning_rate=0.1, growth_factor=5, epochs=6):
    small = Recipe.sgd(batch_size, learning_rate, epochs)
    large = Recipe.sgd(batch_size * growth_factor**2, learning_rate, epochs)
    return {
        "small, constant": two_changes(small, 1, 1),
        "large, constant": two_changes(large, 1, 1),
        "rate decayed": two_changes(small, 1, 1 / growth_factor),
        "batch grown": two_changes(small, growth_factor, 1),
        "batch shrunk": two_changes(large, 1 / growth_factor, 1),
        "AdaBatch, fixed": two_changes(small, 1, 0.375),
        "AdaBatch, doubled": two_changes(small, 2, 0.75),
    }


def table(runs):
    return map_leaves(lambda run: {name: run.final(name) for name in ("test_accuracy", "train_subset_loss")}, runs)


def figure(runs, fig):
    by_epoch, by_step, accuracy = fig.subplots(1, 3)
    for role, run in runs.items():
        plots.curve(by_epoch, run, "train_subset_loss", yscale="log", label=role, **LINES[role])
        plots.curve(by_step, run, "train_subset_loss", x="step", yscale="log", label=role, **LINES[role])
        difference = run["test_accuracy"] - runs["rate decayed"]["test_accuracy"]
        plots.curve(accuracy, run, difference, label=role, **LINES[role])
    plots.zoom_to_final_values(accuracy)
    accuracy.set(ylabel="test accuracy minus that of “rate decayed” (points)", xlim=(changes(runs)[0], None))
    for epoch in changes(runs):
        plots.note(by_epoch.axvline(epoch, color="gray", linestyle=":", linewidth=1), "dotted: changes")


def changes(runs):
    return np.cumsum([phase.epochs for phase in runs["batch grown"].experiment.phases])[:-1]


def training_seconds(runs):
    """Return {role: the sum over epochs of the median time of an epoch at their batch sizes}."""
    sizes = {
        role: [run.experiment.phase(i).batch_size for i in range(run.experiment.epochs)] for role, run in runs.items()
    }
    every_size = np.concatenate([np.tile(sizes[role], len(run.seeds)) for role, run in runs.items()])
    every_time = np.concatenate([run["seconds"].ravel() for run in runs.values()])
    return {role: sum(np.nanmedian(every_time[every_size == size]) for size in sizes[role]) for role in runs}


def verdicts(runs):
    points, seconds = "percentage points", training_seconds(runs)
    accuracy = {role: run.final("test_accuracy") for role, run in runs.items()}
    loss = {role: run.final("train_subset_loss") for role, run in runs.items()}
    jump = {role: np.diff(run["train_subset_loss"])[:, changes(runs)].max(axis=1) for role, run in runs.items()}
    gain, text = accuracy["rate decayed"] - accuracy["small, constant"], "Decaying the rate gains accuracy here."
    no_gain = "Decaying the rate gains under 0.1 points of accuracy here, so equal accuracies are no evidence."
    yield claim(text, gain, above=0.1, unit=points, otherwise=no_gain, answer=True)
    advice = "If a schedule divides the learning rate, multiply the batch size instead."
    for source, grown, decayed in PAIRS:
        part = np.log(loss[grown] / loss[decayed]) / np.log(loss["small, constant"] / loss[decayed])
        options = {"above": -0.1, "below": 0.1, "unit": "of the decay's effect is missing", "source": source}
        text, is_answer = f"In training loss “{grown}” equals “{decayed}”.", grown == "batch grown"
        otherwise = text.replace("equals", "differs from")
        yield claim(text, part, otherwise=otherwise, answer=is_answer, advice=(advice, ""), **options)
        gain, text = accuracy[grown] - accuracy[decayed], f"“{grown}” ends at the accuracy of “{decayed}”."
        yield claim(text, gain, above=-0.5, below=0.5, unit=points, source=source)
        ratio = seconds[grown] / seconds[decayed] + 0 * gain  # NaN if a run diverged
        yield claim(f"“{grown}” takes less time.", ratio, below=0.9, scale="log", source=source)
    gain, text = accuracy["batch shrunk"] - accuracy["batch grown"], "Shrinking the batch ends better than growing it."
    better = "Growing the batch ends better than shrinking it."
    yield claim(text, gain, above=0, unit=points, source="the article", otherwise=better)
    text, otherwise = "Growing the batch does not disrupt.", "Growing the batch makes the training loss jump."
    yield claim(text, jump["batch grown"], below=0.01, unit="nats", otherwise=otherwise)
    text, otherwise = "Shrinking the batch makes the training loss jump.", "Shrinking the batch does not disrupt."
    yield claim(text, jump["batch shrunk"], above=0.01, unit="nats", source="the article", otherwise=otherwise)
