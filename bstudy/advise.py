"""Which batch size to use, for a reader's own data, model and machine: measured within a budget, and why.

It rests on chapters 15, 16, 21 and 22: at batch size B the steps to the same progress go as 1 + noise scale / B, and
the time goes as steps times the seconds of a step.
"""

import time
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from bstudy import draw
from bstudy.data import Dataset
from bstudy.errors import BstudyError, Interrupted, InvalidInput
from bstudy.experiment.cost import Throughput
from bstudy.experiment.gradients import NoiseScale
from bstudy.experiment.train import Phase, Recipe
from bstudy.lab import Lab
from bstudy.page import plain_table, write_files
from bstudy.progress import duration
from bstudy.stats import noise_scale, noise_scale_interval

RATES = {"sgd": (0.01, 0.03, 0.1, 0.3), "adam": (0.0003, 0.001, 0.003, 0.01)}
SMALL = 32  # the batch size of the short training
MOST_SAMPLES = 10_000  # of the short training: few enough that its first epoch is early
NEARLY = 1.25  # times the least time is still recommended


@dataclass(frozen=True)
class Advice:
    """What was measured for one data set, model and optimizer on this machine, and what follows from it.

    The noise scales are those after the first epoch of a short training, and after its last.
    """

    dataset: Dataset
    optimizer: str
    sizes: np.ndarray  # (n,) batch sizes
    step_seconds: np.ndarray  # (n,)
    memory: np.ndarray  # (n,) bytes, NaN where they cannot be read
    no_larger: str  # why no larger batch size was tried
    trained_on: int  # samples, in the short training
    trained_at: int  # its batch size
    rate: float  # the best learning rate there
    scales: np.ndarray  # (2,) noise scales, early and late
    intervals: np.ndarray  # (2, 2) of each, 95 %
    seconds: float  # that measuring took

    def relative_time(self, scale):
        """(n,) the time to the same progress at each batch size, where the noise scale is this, of the least."""
        taken = (1 / scale + 1 / self.sizes) * self.step_seconds
        return taken / taken.min()

    def best(self, scale):
        return int(self.sizes[self.relative_time(scale).argmin()])

    @property
    def batch_size(self):
        """The one to begin with; most of the way to a target is early, where the noise scale is small."""
        return self.best(self.scales[0])

    @property
    def range(self):
        """(smallest, largest) of the batch sizes that take hardly longer than the best, early or late."""
        near = self.sizes[np.min([self.relative_time(scale) for scale in self.scales], axis=0) <= NEARLY]
        return int(near.min()), int(near.max())

    def learning_rate(self, batch_size):
        """The one that goes with a batch size: in proportion to it below the noise scale for SGD, and constant above;
        with its square root for Adam. After McCandlish et al. (2018), equation 2.9, and Malladi et al. (2022)."""
        early = 1 / self.scales[0]
        factor = (1 / self.trained_at + early) / (1 / batch_size + early)
        return float(f"{self.rate * (factor if self.optimizer == 'sgd' else factor**0.5):.2g}")

    def reasons(self):
        """Why, and how sure it is, in sentences."""
        best, (low, high), speed = self.batch_size, self.range, self.sizes / self.step_seconds
        fast = self.sizes[speed >= 0.8 * speed.max()].min()
        yield (
            f"The machine: from a batch size of {fast} on, it trains on nearly as many samples a second as ever "
            f"({speed.max():,.0f}); below, every step costs time that does not depend on its samples. {self.no_larger}"
        )
        early, late = (
            f"{scale:,.0f} (95 % interval {low:,.0f} to {high:,.0f})" if np.isfinite(scale) else "too large to measure"
            for scale, (low, high) in zip(self.scales, self.intervals, strict=True)
        )
        yield (
            f"The gradient: its noise scale is {early} early, and {late} after a short training. Batches well below it "
            "save as many steps as they are larger; batches above it spend samples for hardly any progress."
        )
        yield (
            f"Together: the time to the same progress is least at {best} early, and {self.best(self.scales[1])} later; "
            f"from {low} to {high} it is at most {100 * (NEARLY - 1):.0f} % longer, early or later."
        )
        rule = "in proportion to B" if self.optimizer == "sgd" else "with √B"
        yield (
            f"The learning rate: of {', '.join(f'{rate:g}' for rate in RATES[self.optimizer])}, {self.rate:g} was best "
            f"at a batch size of {self.trained_at}. Move it {rule} as long as B is well below the noise scale, and no "
            f"more above it: {self.learning_rate(best):g} at {best}."
        )

    def doubts(self):
        """What the advice does not know, in sentences."""
        if self.best(self.scales[1]) > self.batch_size:
            yield "The noise scale grows: the batch could grow too as training goes on (chapter 19)."
        if self.trained_on < len(self.dataset.x_train):
            seen = f"{self.trained_on:,} of {len(self.dataset.x_train):,} samples"
            yield f"The short training saw {seen}; a longer one ends at larger noise scales."
        if not np.isfinite(self.scales).all() or (self.intervals[:, 1] > 2 * self.intervals[:, 0]).any():
            yield "A noise scale is known to a factor of two at best: try the neighbouring batch sizes."
        yield "It is about time, and one seed; in equal epochs larger batches can end less accurate (chapters 1, 2)."

    def figure(self):
        """The measured speed, and the predicted time."""

        def panels(fig):
            speed, progress = fig.subplots(1, 2)
            draw.by_batch_size(speed, self.sizes, (self.sizes / self.step_seconds)[None], color="C0")
            speed.set(ylabel="samples a second")
            for scale, colour, when in zip(self.scales, ("C1", "C2"), ("early", "late"), strict=True):
                label = f"noise scale {scale:,.0f}, {when}"
                draw.by_batch_size(progress, self.sizes, self.relative_time(scale)[None], color=colour, label=label)
            progress.axvspan(*self.range, color="gray", alpha=0.2, linewidth=0, label="recommended")
            progress.axvline(self.batch_size, color="gray")
            progress.set(ylabel="time to the same progress, relative")

        low, high = self.range
        title = (
            f"A batch size of {self.batch_size} ({low} to {high}) for {self.dataset.name} with {self.dataset.model}."
        )
        return draw.figure(panels, title, f"{self.dataset} · {self.optimizer} · bstudy advise")

    def show(self, paths):
        """Print the page."""
        console = Console(highlight=False)
        measured = "batch size", "ms a step", "samples a s", "memory (MB)"
        table = plain_table(*measured, "time, early", "time, late", "learning rate")
        rows = zip(self.sizes, self.step_seconds, self.memory, *map(self.relative_time, self.scales), strict=True)
        for size, seconds, memory, early, late in rows:
            cells = (
                f"{1e3 * seconds:.3g}",
                f"{size / seconds:,.0f}",
                f"{memory / 1e6:.0f}",
                f"{early:.2f}",
                f"{late:.2f}",
            )
            style = "bold" if size == self.batch_size else None
            table.add_row(str(size), *cells, f"{self.learning_rate(size):g}", style=style)
        low, high = self.range
        console.print(Text(f"\nMeasured on {self.dataset}, {self.optimizer}, in {duration(self.seconds)}", "dim"))
        console.print(table)
        console.print(Text(f"Use a batch size of {self.batch_size}; {low} to {high} are about as good.\n", "bold"))
        for heading, sentences in (("Why", self.reasons()), ("How sure", self.doubts())):
            console.print(Text(heading, "bold"))
            for sentence in sentences:
                console.print(Padding(Text(sentence), (0, 0, 0, 2)), width=min(console.width, 100))
        console.print(Text("Files  ", "bold").append("  ".join(map(str, paths)), "not bold"), soft_wrap=True)

    def write(self, out, formats, style):
        """Write the figure in each format and the numbers as JSON into the folder `out`; gives the paths."""
        return write_files(out, "advice", formats, style, self.figure, self.record)

    def record(self):
        """All numbers, for JSON."""
        return {
            "dataset": self.dataset.facts(),
            "optimizer": self.optimizer,
            "recommended": {
                "batch_size": self.batch_size,
                "range": self.range,
                "learning_rate": self.learning_rate(self.batch_size),
            },
            "batch_sizes": self.sizes,
            "step_seconds": self.step_seconds,
            "samples_per_second": self.sizes / self.step_seconds,
            "memory": self.memory,
            "learning_rates": [self.learning_rate(size) for size in self.sizes],
            "relative_time": {
                when: self.relative_time(scale) for when, scale in zip(("early", "late"), self.scales, strict=True)
            },
            "short_training": {"samples": self.trained_on, "batch_size": self.trained_at, "learning_rate": self.rate},
            "noise_scale": {"early": self.scales[0], "late": self.scales[1], "intervals": self.intervals},
            "why": [*self.reasons()],
            "how_sure": [*self.doubts()],
            "seconds": self.seconds,
        }


def advise(lab, optimizer="sgd", budget=120.0, say=lambda text: None):
    """Measure what an Advice rests on, in about `budget` seconds; `say` is told what is being measured.

    What is stored is not measured again. Raises InvalidInput where the data set has too few samples.
    """
    started = time.monotonic()

    def spent():
        return time.monotonic() - started

    if len(lab.dataset.x_train) < 2 * SMALL:
        raise InvalidInput(f"{lab.dataset.name} has {len(lab.dataset.x_train)} training samples; wanted {2 * SMALL}")
    sizes, steps, memory, no_larger = speeds(lab, optimizer, lambda: spent() > budget / 2, say)
    a_sample = (steps / sizes)[np.abs(sizes - SMALL).argmin()]  # seconds
    # four epochs to choose the rate, two more, evaluations, and the noise scales
    affordable = int((0.8 * max(1.0, budget - spent()) / a_sample - 2 * 8192) / 10)
    part = lab.dataset.part(min(MOST_SAMPLES, max(2 * SMALL, affordable)))
    short = Lab(part, [0], lab.store, quiet=True)
    say(f"which learning rate goes with a batch size of {SMALL}, on {len(part.x_train):,} samples")
    runs = short.run({rate: Recipe((Phase(SMALL, rate, 1, optimizer),)) for rate in RATES[optimizer]})
    losses = {rate: float(run.final("train_loss")[0]) for rate, run in runs.items()}
    rate = min(losses, key=lambda rate: np.nan_to_num(losses[rate], nan=np.inf))
    if not np.isfinite(losses[rate]):
        raise BstudyError(f"training diverged at every learning rate of {', '.join(map(str, RATES[optimizer]))}")
    say("how noisy the gradient is, early and after two more epochs")
    points = [Recipe((Phase(SMALL, rate, epochs, optimizer),)) for epochs in (1, 3)]
    found = short.run({point.epochs: NoiseScale(point, SMALL, 512, 16) for point in points}).values()
    estimates = [(run["noise_trace"][0], run["squared_gradient_norm"][0]) for run in found]
    scales = np.array([noise_scale(*both) for both in estimates])
    intervals = np.array([noise_scale_interval(*both) for both in estimates])
    return Advice(
        lab.dataset, optimizer, sizes, steps, memory, no_larger,
        len(part.x_train), SMALL, rate, scales, intervals, spent(),
    )  # fmt: skip


def speeds(lab, optimizer, too_late, say):
    """Batch sizes, seconds of a step and bytes, (n,) each, up to where larger ones do not pay, and why no larger."""
    sizes, steps, memory, lab = [], [], [], Lab(lab.dataset, [0], lab.store, quiet=True)
    size, why = 16, "No larger batch fits the training set."
    while size <= len(lab.dataset.x_train):
        say(f"how fast it trains at a batch size of {size}")
        try:
            run = lab.run({"": Throughput(size, optimizer)})[""]
        except (Interrupted, InvalidInput):
            raise
        except BstudyError as error:
            if not sizes:
                raise
            why = f"At {size} it no longer fits: {error}."
            break
        sizes.append(size)
        steps.append(float(run["step_seconds"].min()))  # what else the machine does can only slow it
        memory.append(float(run["memory"][0]))
        speed = np.array(sizes) / steps
        if len(sizes) > 3 and speed[-2:].max() < 1.05 * speed[:-2].max():
            why = f"Beyond {sizes[-3]} it gets no faster."
            break
        if too_late() and len(sizes) > 2:
            why = f"Larger ones than {size} were not tried, for want of time: --budget gives more."
            break
        size *= 2
    return np.array(sizes), np.array(steps), np.array(memory), why
