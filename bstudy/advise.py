"""Recommends a batch size for a reader's own data, model and machine, measured within a budget of time.

It rests on chapters 15, 16, 21 and 22: at batch size B the number of steps to the same progress is proportional to
1 + noise scale / B, and the time is this number times the seconds of a step.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure
from rich.padding import Padding
from rich.text import Text

from bstudy import plots
from bstudy.data import Dataset
from bstudy.drawing import Drawing
from bstudy.errors import BstudyError, Interrupted, InvalidInput, WorkerDone
from bstudy.experiments.cost import Throughput
from bstudy.experiments.noise_scale import NoiseScale
from bstudy.experiments.recipe import Phase, Recipe
from bstudy.lab import Lab
from bstudy.models import ModelSpec
from bstudy.progress import format_duration
from bstudy.rendering import show_cell
from bstudy.stats import noise_scale, noise_scale_interval
from bstudy.tables import Cell, Row, Table
from bstudy.terminal import WIDE_TABLE, new_console, new_table, print_files

LEARNING_RATES = {"sgd": (0.01, 0.03, 0.1, 0.3), "adam": (0.0003, 0.001, 0.003, 0.01)}
SMALL_BATCH_SIZE = 32  # of the short training
MAX_SAMPLES = 10_000  # of the short training: few enough that its first epoch is early
TOLERANCE = 1.25  # a batch size that takes at most this multiple of the shortest time is recommended too
COLUMNS = ("ms per step", "samples per s", "memory (MB)", "time, early", "time, late", "learning rate")
TIMES = ("early", "late")  # after the first and the last epoch of the short training


@dataclass(frozen=True)
class ShortTraining:
    """How a few epochs went, and how noisy the gradient was after the first and the last of them."""

    samples: int
    learning_rate: float  # the best one
    noise_scales: np.ndarray  # (2,)
    intervals: np.ndarray  # (2, 2) of each noise scale, 95 %


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains."""

    batch_sizes: np.ndarray  # (n,)
    step_seconds: np.ndarray  # (n,)
    memory: np.ndarray  # (n,) bytes, NaN if they cannot be read
    limit: str  # why no larger batch size was tried, in a sentence


@dataclass(frozen=True)
class Advice:
    """The measurements for one dataset, model and optimizer on this machine, and what follows from them."""

    dataset: Dataset
    model: ModelSpec
    optimizer: str
    speed: Speed
    training: ShortTraining
    seconds: float  # that measuring took
    name: ClassVar[str] = "advice"  # of its files

    def relative_time(self, noise_scale: float) -> np.ndarray:
        """Return (n,) the time to the same progress at each batch size, divided by the shortest."""
        seconds = (1 / noise_scale + 1 / self.speed.batch_sizes) * self.speed.step_seconds
        return seconds / seconds.min()

    def best(self, noise_scale: float) -> int:
        """Return the batch size with the shortest time."""
        return int(self.speed.batch_sizes[self.relative_time(noise_scale).argmin()])

    @property
    def batch_size(self) -> int:
        """The one to begin with; most of the way to a target is early, while the noise scale is small."""
        return self.best(self.training.noise_scales[0])

    @property
    def range(self) -> tuple[int, int]:
        """(smallest, largest) batch size that takes little longer than the best, early or late."""
        times = [self.relative_time(scale) for scale in self.training.noise_scales]
        near = self.speed.batch_sizes[np.min(times, axis=0) <= TOLERANCE]
        return int(near.min()), int(near.max())

    def learning_rate(self, batch_size: int) -> float:
        """Return the learning rate for a batch size.

        For SGD it is proportional to the batch size below the noise scale, and constant above; for Adam, the square
        root of that. After McCandlish et al. (2018), equation 2.9, and Malladi et al. (2022).
        """
        inverse = 1 / self.training.noise_scales[0]
        factor = (1 / SMALL_BATCH_SIZE + inverse) / (1 / batch_size + inverse)
        return float(f"{self.training.learning_rate * (factor if self.optimizer == 'sgd' else factor**0.5):.2g}")

    def reasons(self) -> Iterator[str]:
        """Yield why, in sentences."""
        per_second = self.speed.batch_sizes / self.speed.step_seconds
        fast = self.speed.batch_sizes[per_second >= 0.8 * per_second.max()].min()
        yield (
            f"The machine: from a batch size of {fast} on, it trains on nearly its maximum number of samples per "
            f"second ({per_second.max():,.0f}). Below, each step has a cost that does not depend on its samples. "
            f"{self.speed.limit}"
        )
        early, late = (
            f"{scale:,.0f} (95 % interval {low:,.0f} to {high:,.0f})" if np.isfinite(scale) else "too large to measure"
            for scale, (low, high) in zip(self.training.noise_scales, self.training.intervals, strict=True)
        )
        yield (
            f"The gradient: its noise scale is {early} early, and {late} after a short training. Well below it, twice "
            "the batch size needs half the steps; above it, larger batches use more samples for almost no gain."
        )
        low, high = self.range
        yield (
            f"Together: the time to the same progress is shortest at {self.batch_size} early, and at "
            f"{self.best(self.training.noise_scales[1])} later; from {low} to {high} it is at most "
            f"{100 * (TOLERANCE - 1):.0f} % longer, early or later."
        )
        rule = "in proportion to B" if self.optimizer == "sgd" else "with √B"
        tried = ", ".join(f"{rate:g}" for rate in LEARNING_RATES[self.optimizer])
        yield (
            f"The learning rate: of {tried}, {self.training.learning_rate:g} was best at a batch size of "
            f"{SMALL_BATCH_SIZE}. Change it {rule} well below the noise scale, and not at all above it: "
            f"{self.learning_rate(self.batch_size):g} at {self.batch_size}."
        )

    def doubts(self) -> Iterator[str]:
        """Yield what the advice does not know, in sentences."""
        scales, intervals = self.training.noise_scales, self.training.intervals
        if self.best(scales[1]) > self.batch_size:
            yield "The noise scale grows: the batch size could grow too during training (chapter 19)."
        if self.training.samples < len(self.dataset.x_train):
            seen = f"{self.training.samples:,} of {len(self.dataset.x_train):,} samples"
            yield f"The short training used {seen}; a longer one ends at larger noise scales."
        if not np.isfinite(scales).all() or (intervals[:, 1] > 2 * intervals[:, 0]).any():
            yield "A noise scale is known to a factor of two at best: try the neighboring batch sizes."
        yield "It is about time, and one seed; in equal epochs larger batches can end less accurate (chapters 1, 2)."

    def draw(self) -> Figure:
        """Return a figure of the measured speed and the predicted time, in the current style."""

        def panels(figure):
            sizes, (speed, progress) = self.speed.batch_sizes, figure.subplots(1, 2)
            plots.by_batch_size(speed, sizes, (sizes / self.speed.step_seconds)[None], color="C0")
            speed.set(ylabel="samples per second")
            for scale, color, when in zip(self.training.noise_scales, ("C1", "C2"), TIMES, strict=True):
                label = f"noise scale {scale:,.0f}, {when}"
                plots.by_batch_size(progress, sizes, self.relative_time(scale)[None], color=color, label=label)
            progress.axvspan(*self.range, color="gray", alpha=0.2, linewidth=0, label="recommended")
            progress.axvline(self.batch_size, color="gray")
            progress.set(ylabel="time to the same progress, relative")

        low, high = self.range
        title = f"A batch size of {self.batch_size} ({low} to {high}) for {self.dataset.name} with {self.model}."
        return plots.make_figure(panels, title, f"{self.dataset} · {self.optimizer} · bstudy advise")

    def rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield (batch size, its numbers under COLUMNS)."""
        times = [self.relative_time(scale) for scale in self.training.noise_scales]
        speed = self.speed
        for size, seconds, memory, early, late in zip(
            speed.batch_sizes, speed.step_seconds, speed.memory, *times, strict=True
        ):
            numbers = f"{1e3 * seconds:.3g}", f"{size / seconds:,.0f}", f"{memory / 1e6:.0f}"
            yield int(size), (*numbers, f"{early:.2f}", f"{late:.2f}", f"{self.learning_rate(size):g}")

    @property
    def recommendation(self) -> str:
        """What to use, in a sentence."""
        low, high = self.range
        return f"Use a batch size of {self.batch_size}; {low} to {high} are about as good."

    @property
    def setting(self) -> str:
        """On what it was measured, and how long that took."""
        return f"{self.dataset}, {self.model}, {self.optimizer}, in {format_duration(self.seconds)}"

    def _repr_html_(self) -> str:
        cells = ((size, dict(zip(COLUMNS, texts, strict=True))) for size, texts in self.rows())
        rows = [
            Row("", str(size), {name: Cell(np.nan, np.nan, text) for name, text in texts.items()})
            for size, texts in cells
        ]
        with plots.style("page"):
            drawing = Drawing(self.draw())
        return show_cell(
            title=self.recommendation,
            tables=[Table({name: name for name in COLUMNS}, rows)],
            first="batch size",
            drawing=drawing,
            notes={"Why": self.reasons(), "How sure": self.doubts(), "Measured on": [self.setting]},
        )

    def show(self, paths: list[Path]) -> None:
        """Print the page."""
        table = new_table("batch size", *COLUMNS)
        for size, cells in self.rows():
            table.add_row(str(size), *cells, style="bold" if size == self.batch_size else None)
        console = new_console(WIDE_TABLE)
        console.print(Text(f"\nMeasured on {self.setting}", "dim"))
        console.print(table)
        console.print(Text(f"{self.recommendation}\n", "bold"))
        for heading, sentences in (("Why", self.reasons()), ("How sure", self.doubts())):
            console.print(Text(heading, "bold"))
            for sentence in sentences:
                console.print(Padding(Text(sentence), (0, 0, 0, 2)), width=min(console.width, 100))
        print_files(console, paths)

    def record(self) -> dict:
        """Return all numbers."""
        scales, best = self.training.noise_scales, self.batch_size
        recommended = {"batch_size": best, "range": self.range, "learning_rate": self.learning_rate(best)}
        return {
            "dataset": self.dataset.facts(),
            "model": self.model.facts(),
            "optimizer": self.optimizer,
            "recommended": recommended,
            **asdict(self.speed),
            "samples_per_second": self.speed.batch_sizes / self.speed.step_seconds,
            "learning_rates": [self.learning_rate(size) for size in self.speed.batch_sizes],
            "relative_time": {when: self.relative_time(scale) for when, scale in zip(TIMES, scales, strict=True)},
            "short_training": asdict(self.training) | {"batch_size": SMALL_BATCH_SIZE},
            "why": [*self.reasons()],
            "how_sure": [*self.doubts()],
            "seconds": self.seconds,
        }


def advise(
    lab: Lab, optimizer: str = "sgd", budget: float = 120.0, log: Callable[[str], None] = lambda text: None
) -> Advice:
    """Measure what an Advice needs. Stored results are not measured again.

    Args:
        lab: With the data, the model and the store.
        optimizer: "sgd" or "adam".
        budget: About how many seconds to measure.
        log: Called with what is measured next.

    Raises:
        InvalidInput: the dataset has too few samples.
    """
    started = time.monotonic()
    samples = len(lab.dataset.x_train)
    if samples < 2 * SMALL_BATCH_SIZE:
        raise InvalidInput(
            f"{lab.dataset.name} has {samples} training samples; advice needs at least {2 * SMALL_BATCH_SIZE}"
        )
    lab = quiet_lab(lab, lab.dataset)
    speed = measure_speed(lab, optimizer, started + budget / 2, log)
    left = max(1.0, budget - (time.monotonic() - started))
    nearest = np.abs(speed.batch_sizes - SMALL_BATCH_SIZE).argmin()
    seconds_per_sample = (speed.step_seconds / speed.batch_sizes)[nearest]
    # four epochs to choose the learning rate, two more, evaluations, and the noise scales
    affordable = int((0.8 * left / seconds_per_sample - 2 * 8192) / 10)
    part = lab.dataset.subset(min(MAX_SAMPLES, max(2 * SMALL_BATCH_SIZE, affordable)))
    training = train_briefly(quiet_lab(lab, part), optimizer, log)
    return Advice(lab.dataset, lab.model, optimizer, speed, training, time.monotonic() - started)


def quiet_lab(lab: Lab, dataset: Dataset) -> Lab:
    """Return a lab for one seed on these data, without progress."""
    return Lab(dataset, [0], lab.store, quiet=True, model=lab.model, jobs=1)


def train_briefly(lab: Lab, optimizer: str, log: Callable[[str], None]) -> ShortTraining:
    """Choose the best learning rate after an epoch, and measure the noise scale early and late."""
    samples, size = len(lab.dataset.x_train), SMALL_BATCH_SIZE
    log(f"which learning rate is best at a batch size of {size}, on {samples:,} samples")
    rates = LEARNING_RATES[optimizer]
    runs = lab.run({rate: Recipe((Phase(size, rate, 1, optimizer),)) for rate in rates})
    losses = {rate: float(run["final_train_loss"][0]) for rate, run in runs.items()}
    best = min(losses, key=lambda rate: np.nan_to_num(losses[rate], nan=np.inf))
    if not np.isfinite(losses[best]):
        raise BstudyError(f"training diverged at every learning rate of {', '.join(map(str, rates))}")
    log("how noisy the gradient is, early and after two more epochs")
    trained = [Recipe((Phase(size, best, epochs, optimizer),)) for epochs in (1, 3)]
    found = lab.run({recipe.epochs: NoiseScale(recipe, size, 512, 16) for recipe in trained}).values()
    estimates = [(run["noise_trace"][0], run["squared_gradient_norm"][0]) for run in found]
    scales = np.array([noise_scale(*both) for both in estimates])
    intervals = np.array([noise_scale_interval(*both) for both in estimates])
    return ShortTraining(samples, best, scales, intervals)


def measure_speed(lab: Lab, optimizer: str, deadline: float, log: Callable[[str], None]) -> Speed:
    """Measure larger and larger batches, until they are no faster, do not fit, or the time is over."""
    sizes, steps, memory = [], [], []
    size, limit = 16, "No larger batch fits the training set."
    while size <= len(lab.dataset.x_train):
        log(f"how fast it trains at a batch size of {size}")
        try:
            run = lab.run({size: Throughput(size, optimizer)})[size]
        except (Interrupted, InvalidInput, WorkerDone):
            raise
        except BstudyError as error:
            if not sizes:
                raise
            limit = f"A batch of {size} does not fit: {error}."
            break
        sizes.append(size)
        steps.append(float(run["step_seconds"].min()))  # whatever else the machine does can only slow it
        memory.append(float(run["memory"][0]))
        speed = np.array(sizes) / steps
        if len(sizes) > 3 and speed[-2:].max() < 1.05 * speed[:-2].max():
            limit = f"Beyond {sizes[-3]} it gets no faster."
            break
        if time.monotonic() > deadline and len(sizes) > 2:
            limit = f"Batches larger than {size} were not tried for lack of time: use a larger --budget."
            break
        size *= 2
    return Speed(np.array(sizes), np.array(steps), np.array(memory), limit)
