"""With larger batches, a target takes more iterations and more epochs.

Claim     The number of iterations to a target rises with the batch size, from 250 to 400, and so do the epochs, from
          12 to 19. And: more frequent updates converge faster; small batches converge slower.
Compare   Training to one test accuracy at each batch size: at one learning rate for all, and at the best of a grid for
          each.
Look for  The clock. At one small learning rate a step is worth the same whatever its batch: the steps are level, and
          the epochs rise with the batch. Tuned, larger batches need fewer steps: in proportion at first (perfect
          scaling), then no fewer. Per epoch small batches are faster, per step large ones; per second, it depends on
          the machine.
Source    The article of chapter 15, tables F and I. Shallue et al. (2019) for perfect scaling and diminishing returns;
          McCandlish et al. (2018) for S(B) = S_min (1 + B_crit / B), drawn dashed.

Exercises
  1. A harder target: `bstudy chapter 16 --set target=0.97`. Which way does B_crit go?
  2. At B_crit, how many times the least number of steps does training take, and of the least number of samples?
  3. Why can the best learning rate of the grid not grow with the batch for ever?
"""

from bstudy import Target, claim, critical_batch_size, draw, exponent, to_target

PART = "VI. Cost"


def experiments(
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024), learning_rates=(0.03, 0.1, 0.3, 1.0), target=0.95, epochs=200
):
    return {
        f"{size} at {rate:g}": Target.sgd(size, rate, epochs, target)
        for size in sorted(batch_sizes)
        for rate in sorted(learning_rates)
    }


def figure(runs, fig):
    for axes, what in zip(fig.subplots(1, 3), ("steps", "epochs", "seconds"), strict=True):
        sizes, fixed, tuned = to_target(runs.values(), what)
        rate = next(iter(runs.values())).experiment.phase.learning_rate
        draw.by_batch_size(axes, sizes, fixed, color="C0", label=f"learning rate {rate:g}")
        draw.by_batch_size(axes, sizes, tuned, color="C1", label="best of the grid")
        axes.set(ylabel=f"{what} to the target", ylim=axes.get_ylim())
        if what == "steps":
            least, critical = critical_batch_size(sizes, tuned)
            law = least[:, None] * (1 + critical[:, None] / sizes)
            axes.plot(sizes, law.mean(axis=0), "--", color="gray", label=f"fit, B_crit = {critical.mean():.0f}")
            axes.plot(sizes, tuned[:, 0].mean() * sizes[0] / sizes, ":", color="gray", label="perfect scaling")


def verdicts(runs):
    sizes, steps, tuned = to_target(runs.values(), "steps")
    _, epochs, tuned_epochs = to_target(runs.values(), "epochs")
    _, _, seconds = to_target(runs.values(), "seconds")
    rise = exponent(sizes, steps)
    yield claim("At one learning rate the steps rise with B (exponent; 0.17 in table F).", rise, above=0.05)
    rise = exponent(sizes, epochs)
    yield claim("At one learning rate the epochs rise in proportion to B (exponent).", rise, above=0.8)
    yield claim("Tuned, the steps fall with B (exponent).", exponent(sizes, tuned), below=0)
    rise = exponent(sizes, tuned_epochs)
    yield claim("Tuned, the epochs rise, and slower than B (exponent; 0.17 in table I).", rise, above=0, below=1)
    _, critical = critical_batch_size(sizes, tuned)
    yield claim("Returns diminish within the range (B_crit).", critical, above=sizes[0], below=sizes[-1])
    for which, column in (("smallest", 0), ("largest", -1)):
        ratio = seconds[:, column] / seconds.min(axis=1)
        yield claim(f"The {which} batch takes longer than the fastest (ratio of seconds).", ratio, above=1.1)
