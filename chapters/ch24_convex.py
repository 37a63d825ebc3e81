"""# Does SGD hover in a ball of size η / B?

The text that Shen (2018) begins with says of convex problems: the full batch is guaranteed to reach the optimum, but
slowly; smaller batches are faster, and stay in an ε-ball around the optimum that depends on the batch size. Nothing in
the chapters before tests this, since no optimum of a neural network is known. In a convex problem it is.

## Idea

A loss f(w) is *convex* if it has no minimum but the lowest one. Logistic regression, a network without hidden layers,
has such a loss, and with a penalty on ‖w‖² one point w* is the optimum. Near it the mean gradient is H (w − w*), with H
the Hessian. The gradient of a batch differs from it by noise of covariance Σ / B (chapter 0). So in a direction of
curvature h, in which Σ has the variance σ², a step multiplies the deviation by 1 − η h and adds noise of variance
η² σ² / B. In equilibrium the mean square d of the deviation does not change:

    d = (1 − η h)² d + η² σ² / B        so        d = (η / B) · σ² / (h (2 − η h))

Far below the stability limit, η h ≪ 2, the sum over all directions is in proportion to η / B:

    E ‖w − w*‖² ≈ (η / 2B) · tr(Σ H⁻¹)

Its root is the radius of the ball. The larger the learning rate η, and the smaller the batch size B, the larger is the
ball. The full batch has no noise, and its ball is a point.

## Experiment

Logistic regression on the 20 main directions of at most 2,000 training samples, with the penalty 0.1 / 2 · ‖w‖².
Newton's method finds w* to twelve digits. SGD starts at w = 0. A run lasts forty times 1 / (η · 0.1), the time in
which the slowest direction falls to 1/e, and the mean of ‖w − w*‖² over its second half is the size of the ball.
Batch sizes 1 to 256, three learning rates, and the full batch.

The formula needs batches of independent samples. All other chapters take a new permutation in each epoch: this is the
second series, with everything else unchanged. The control is the full batch, which sees no noise.

**Predict.** By which factor does the ball of batches of 1 differ from that of 256? Is it larger or smaller if the
batches of an epoch together are all samples?

## Explanation

Each step pulls the weights towards the optimum, in proportion to their distance, and kicks them by a length that does
not depend on the distance. Far away the pull is stronger: there SGD is as fast as gradient descent, step by step, and a
step of a small batch costs a fraction. Near the optimum the kicks win, and the weights stay where both are equal.

The permutation changes this, as far as the weights remember. They forget a kick within 1 / (η h) steps, here 30 to 100
at the middle rate. If an epoch is shorter than that, its kicks add up to zero, because all samples together have no
noise, and the ball is smaller: at B = 256 by a factor of seven. With batches of 1 an epoch is much longer, the weights
forget its beginning, and the order makes almost no difference: the ball is 0.979 [0.948, 1.012] times as large. It
stays open whether it is smaller there, because the seeds differ by more than this effect.

For a network there is no single optimum, but the same picture explains why a decaying learning rate, or a growing
batch (chapter 19), lowers the loss at the end of training: both shrink the ball.

On MNIST the answers are the same: an exponent of 1.039 [1.035, 1.043], and a full batch that reaches the optimum. There
the ball of the permutation is smaller with batches of 1 too, by a factor of 0.971 [0.948, 0.994].

## In practice

When the loss has stopped falling, decay the learning rate or increase the batch size: the ball shrinks with η / B. At
the start neither helps. And shuffle by permutation, as all libraries do by default: it is never worse.

## Exercises

1. The loss near the optimum is ½ (w − w*)ᵀ H (w − w*). What is its mean excess in the ball?

   > Each direction contributes h d / 2 = (η / 2B) · σ² / (2 − η h), so about (η / 4B) · tr Σ: the curvature cancels.

2. How many steps does it take to shrink the ball to a half by halving η, and how many by doubling B? What do they cost?

   > The time to the new equilibrium is about 1 / (η h): twice as many steps at half the rate as at twice the batch. In
   > samples both cost the same.

3. Larger steps: run `bstudy chapter 24 --learning-rates 0.3,1,3`. Where does the proportion to η end?

   > Where η h of the steepest direction is no longer small compared with 2: the denominator 2 − η h enlarges the ball.

## Sources

- Shen (2018), [Effect of batch size on training
  dynamics](https://medium.com/mini-distill/effect-of-batch-size-on-training-dynamics-21c14f7a716e), the introduction:
  the full batch, the ball, and the trade-off.
- Mandt, Hoffman and Blei (2017), [Stochastic gradient descent as approximate Bayesian
  inference](https://arxiv.org/abs/1704.04289): the equilibrium of SGD near an optimum, with η / B as a temperature.
- Mishchenko, Khaled and Richtárik (2020), [Random reshuffling: simple analysis with vast
  improvements](https://arxiv.org/abs/2006.05988): permutations come nearer than independent samples.
"""

import numpy as np

from bstudy import ConvexDescent, claim, plots

PART = "IX. Since then"


def experiments(batch_sizes=(1, 4, 16, 64, 256), learning_rates=(0.03, 0.1, 0.3)):
    return {order: ConvexDescent(batch_sizes, learning_rates, order) for order in ("independent", "permutation")}


def figure(runs, fig):
    paths, ball = fig.subplots(1, 2)
    run = runs["independent"]
    steps, samples = run["steps"][0], min(run.samples, run.experiment.samples)
    for i, size in enumerate(run.experiment.batch_sizes):
        color = plots.color(size)
        paths.plot(steps * size / samples, run["path"][:, i].mean(axis=0), color=color, label=f"B = {size}")
    full = run["full_batch_path"].mean(axis=0)
    paths.plot(steps, full, "--", color="gray", label="full batch")
    paths.set(title="on the way", xlabel="epoch", ylabel="‖w − w*‖²")
    low = run["path"].mean(axis=0).min() / 10
    if low > 0:  # NaN if a run diverged
        paths.set(xscale="log", yscale="log", xlim=(None, steps[full > low][-1]), ylim=(low, 2 * full[0]))
    rates, sizes = (np.array(values) for values in (run.experiment.learning_rates, run.experiment.batch_sizes))
    ratio, order = (rates[:, None] / sizes).ravel(), np.argsort((rates[:, None] / sizes).ravel())
    for color, (name, each) in zip(("C0", "C1"), runs.items(), strict=True):
        values = each["squared_distance"].mean(axis=0).ravel()
        ball.plot(ratio, values, "o", color=color, label=f"{name} samples" if name == "independent" else name)
    ball.plot(ratio[order], run["predicted"].mean(axis=0).ravel()[order], ":", color="gray", label="formula")
    ball.set(title="in equilibrium", xlabel="η / B", ylabel="mean ‖w − w*‖²")
    if low > 0:
        ball.set(xscale="log", yscale="log")


def verdicts(runs):
    run, shuffled = runs["independent"], runs["permutation"]
    rates, sizes = run.experiment.learning_rates, run.experiment.batch_sizes
    middle = len(rates) // 2
    ratio = np.log(np.divide.outer(rates, sizes)).ravel()
    distances = np.log(run["squared_distance"]).reshape(len(run.seeds), -1)
    exponent = np.polyfit(ratio, distances.T, 1)[0]
    yield claim(
        "SGD stays at a squared distance from the optimum in proportion to η / B.",
        exponent,
        above=0.9,
        below=1.1,
        otherwise="SGD stays at a distance from the optimum, but its square is not in proportion to η / B.",
        answer=True,
        unit="as exponent",
        source="Shen",
        advice=("When the loss has stopped falling, decay the learning rate or increase the batch size.", ""),
    )
    nearer = run["full_batch"][:, middle] / run["squared_distance"][:, middle, -1]
    text = "The full batch reaches the optimum."
    yield claim(text, nearer, below=1e-6, scale="log", otherwise="The full batch does not.", answer=True, source="Shen")
    factor = np.exp(np.mean(np.log(run["squared_distance"] / run["predicted"]), axis=(1, 2)))
    yield claim("The formula holds, on average to a tenth.", factor, above=0.9, below=1.1, scale="log")
    samples = min(run.samples, run.experiment.samples)
    after = [np.log(10 * samples / size) for size in (sizes[0], samples)]  # steps in ten epochs
    known = np.log(run["steps"][0])
    small, full = (
        np.array([np.interp(steps, known, np.log(path)) for path in paths])
        for steps, paths in zip(after, (run["path"][:, 0], run["full_batch_path"]), strict=True)
    )
    text = f"After ten epochs batches of {sizes[0]} are nearer to the optimum than the full batch."
    yield claim(text, np.exp(small - full), below=1, scale="log", source="Shen")
    smaller = shuffled["squared_distance"][:, middle] / run["squared_distance"][:, middle]
    text = "With a new permutation in each epoch the ball is smaller, at every batch size."
    yield claim(text, smaller.max(axis=1), below=1, scale="log", source="Mishchenko et al.")
