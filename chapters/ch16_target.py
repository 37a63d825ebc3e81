"""With larger batches, a target takes more iterations and more epochs.

Claim     The number of iterations to a target rises with the batch size, from 250 to 400, and so do the epochs, from 12
          to 19. And: more frequent updates converge faster; small batches converge slower.
Compare   Training to one test accuracy at each batch size: at one learning rate for all, and at the best of a grid for
          each.
Look for  What the x axis counts. At one small learning rate a step is worth the same at every batch size: the steps are
          level, and the epochs rise with the batch. Tuned, larger batches need fewer steps: in proportion at first
          (perfect scaling), then no fewer. Per epoch small batches are faster, per step large ones; per second, it
          depends on the machine.
Source    The article of chapter 15, tables F and I. Shallue et al. (2019) for perfect scaling and diminishing returns;
          McCandlish et al. (2018) for S(B) = S_min (1 + B_crit / B), drawn dashed.

Exercises
  1. A harder target: `bstudy chapter 16 --set target_accuracy=97`. Which way does B_crit go?
  2. At B_crit, how many times the minimum number of steps does training take, and of the minimum number of samples?
  3. Why can the best learning rate of the grid not grow with the batch forever?
"""

from bstudy import TimeToTarget, claim, plots, stats, steps_and_best

PART = "VI. Cost"


def experiments(
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024),
    learning_rates=(0.03, 0.1, 0.3, 1.0),
    target_accuracy=95.0,
    epochs=200,
):
    return {
        size: {rate: TimeToTarget.sgd(size, rate, epochs, target_accuracy) for rate in sorted(learning_rates)}
        for size in sorted(batch_sizes)
    }


def figure(runs, fig):
    first_rate = min(runs[min(runs)])
    for axes, what in zip(fig.subplots(1, 3), ("steps", "epochs", "seconds"), strict=True):
        sizes, fixed, tuned = steps_and_best(runs, what)
        plots.by_batch_size(axes, sizes, fixed, color="C0", label=f"learning rate {first_rate:g}")
        plots.by_batch_size(axes, sizes, tuned, color="C1", label="best of the grid")
        axes.set(ylabel=f"{what} to the target", ylim=axes.get_ylim())
        if what == "steps":
            minimum, critical = stats.critical_batch_size(sizes, tuned)
            law = minimum[:, None] * (1 + critical[:, None] / sizes)
            if critical.mean() > 0:  # NaN if a run did not reach the target
                axes.plot(sizes, law.mean(axis=0), "--", color="gray", label=f"fit, B_crit = {critical.mean():.0f}")
            axes.plot(sizes, tuned[:, 0].mean() * sizes[0] / sizes, ":", color="gray", label="perfect scaling")


def verdicts(runs):
    sizes, steps, tuned_steps = steps_and_best(runs, "steps")
    _, epochs, tuned_epochs = steps_and_best(runs, "epochs")
    _, _, seconds = steps_and_best(runs, "seconds")
    growth = stats.power_law_exponent(sizes, steps)
    yield claim("At one learning rate the steps rise with B (exponent; 0.17 in table F).", growth, above=0.05)
    growth = stats.power_law_exponent(sizes, epochs)
    yield claim("At one learning rate the epochs rise in proportion to B (exponent).", growth, above=0.8)
    growth = stats.power_law_exponent(sizes, tuned_steps)
    yield claim("Tuned, the steps fall with B (exponent).", growth, below=0)
    growth = stats.power_law_exponent(sizes, tuned_epochs)
    yield claim("Tuned, the epochs rise, and slower than B (exponent; 0.17 in table I).", growth, above=0, below=1)
    _, critical = stats.critical_batch_size(sizes, tuned_steps)
    yield claim("Returns diminish within the range (B_crit).", critical, above=sizes[0], below=sizes[-1])
    relative = stats.ratio_to_minimum(seconds)
    yield claim("The smallest batch takes longer than the fastest (ratio of seconds).", relative[:, 0], above=1.1)
    yield claim("The largest batch takes longer than the fastest (ratio of seconds).", relative[:, -1], above=1.1)
