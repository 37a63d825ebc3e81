"""What an advice says: the recommendation, why, how sure it is, and a figure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure
from rich.padding import Padding
from rich.text import Text

from bstudy import plots
from bstudy.advice.measured import Goal, Noise, Speed
from bstudy.advice.model import Network
from bstudy.advice.search import CLOSE, PROGRESS, Candidate, Refinement, Training
from bstudy.drawing import Drawing
from bstudy.progress import format_duration
from bstudy.rendering import show_cell
from bstudy.tables import Cell, Row, Table
from bstudy.terminal import WIDE_TABLE, new_console, new_table, print_files

FLAT = 1.25  # a batch size that takes at most this multiple of the shortest time is about as good
HORIZON = 5  # times the longest training of the race: beyond that, the advice promises nothing
COLUMNS = ("ms per step", "samples per s", "seconds an epoch", "memory (MB)", "time, early", "time, late")
RACED = ("batch size", "learning rate", "to the target", "relative", "seeds")


@dataclass(frozen=True, repr=False)
class Advice:
    """The measurements for one model, its data and this machine, and what follows from them."""

    network: Network
    goal: Goal
    speed: Speed
    noise: Noise
    race: tuple[Training, ...]
    refinement: Refinement
    epochs: float | None  # of each training, if a number of epochs was asked for
    metrics: dict[str, float]
    budget: float
    seconds: float
    stopped: bool
    name: ClassVar[str] = "advice"  # of its files

    @property
    def winner(self) -> Candidate:
        return self.refinement.winner

    @property
    def batch_size(self) -> int:
        return self.winner.setting.batch_size

    @property
    def learning_rate(self) -> float:
        return float(f"{self.winner.setting.learning_rate:.2g}")

    @property
    def samples(self) -> int:
        return len(self.network.arrays.x_train)

    @property
    def epoch_seconds(self) -> float:
        """Of the recommended setting."""
        return self.samples / self.batch_size * self.speed.step_seconds_at(self.batch_size)

    @property
    def ranked(self) -> list[Candidate]:
        """The candidates that were measured whole, fastest first."""
        measured = [each for each in self.refinement.candidates.values() if each.times]
        others = [each for each in measured if each is not self.winner]
        return [self.winner, *sorted(others, key=lambda each: each.ratio(self.winner))]

    @property
    def range(self) -> tuple[int, int]:
        """(smallest, largest) batch size that is about as good throughout: early, late, and where it was measured."""
        if self.goal.epochs:
            near = [each.setting.batch_size for each in self.ranked if each.ratio(self.winner) <= CLOSE]
            return min(near), max(near)
        sizes = [2**exponent for exponent in range(int(self.speed.batch_sizes[-1]).bit_length())]
        slowest = self.predicted(sizes).max(axis=0)
        near = {size for size, time in zip(sizes, slowest, strict=True) if max(time, self.measured_ratio(size)) <= FLAT}
        low = high = self.batch_size
        while low // 2 in near:
            low //= 2
        while high * 2 in near:
            high *= 2
        return low, high

    def predicted(self, sizes: list[int]) -> np.ndarray:
        """Return (1 or 2, n) the predicted times, early and late, divided by the one of the recommended size."""
        scales = self.noise.known
        times = np.array([[self.speed.time_at(size, scale) for size in sizes] for scale in scales])
        return times / np.array([[self.speed.time_at(self.batch_size, scale)] for scale in scales])

    def measured_ratio(self, batch_size: int) -> float:
        """Return the best measured time at a batch size, divided by that of the winner; 1 if there is none."""
        ratios = [each.ratio(self.winner) for each in self.ranked if each.setting.batch_size == batch_size]
        return min(ratios, default=1.0)

    @property
    def recommendation(self) -> str:
        """What to use, in a line."""
        memory = self.speed.memory_at(self.batch_size)
        parts = [f"about {in_seconds(self.epoch_seconds)} an epoch"]
        parts += [f"{memory / 1e9:.2g} GB of memory"] if np.isfinite(memory) else []
        return (
            f"Use a batch size of {self.batch_size} and a learning rate of {self.learning_rate:g}: {', '.join(parts)}."
        )

    @property
    def setting(self) -> str:
        """On what it was measured, and how long that took."""
        network = self.network
        return f"{network.arrays}, {network.name}, {network.optimizer_name}, in {format_duration(self.seconds)}"

    def reasons(self) -> Iterator[str]:
        """Yield why, in sentences."""
        per_second = self.speed.batch_sizes / self.speed.step_seconds
        fast = self.speed.batch_sizes[per_second >= 0.8 * per_second.max()].min()
        yield (
            f"The machine: from a batch size of {fast} on, it trains on nearly its maximum number of samples per "
            f"second ({per_second.max():,.0f}). Below, each step has a cost that does not depend on its samples "
            f"(chapter 15). {self.speed.limit}"
        )
        yield (
            f"The gradient: its noise scale is {in_words(self.noise.early)} at first, and {in_words(self.noise.late)} "
            "where the best training ended. Well below it, twice the batch size needs half the steps; above it, larger "
            "batches use more samples for almost no gain (chapter 21)."
        )
        yield self.race_sentence()
        low, high = self.range
        if low < high:
            yield f"It is flat from {low} to {high}: take the batch size that suits you, with its own learning rate."
        if self.metrics:
            found = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
            yield f"Where its last training here ended, the held-out samples gave: {found}."

    def race_sentence(self) -> str:
        """Return how the learning rate was chosen."""
        rates, size = [each.setting.learning_rate for each in self.race], self.race[0].setting.batch_size
        raced = (
            f"The learning rate: {len(rates)} rates from {min(rates):.2g} to {max(rates):.2g} raced at a batch size "
            f"of {size}"
        )
        compared = f"the best was compared with {len(self.ranked) - 1} neighbors"
        if self.goal.epochs:
            return f"{raced}, for {self.epochs:.3g} epochs each with a decay at the end; {compared}."
        return (
            f"{raced}. The target is a held-out loss of {self.refinement.target:.4g}, {100 * PROGRESS:.0f} % of the "
            f"way to the lowest one seen; {compared}, and takes {in_seconds(self.winner.seconds)} to the target."
        )

    def certainty(self) -> Iterator[str]:
        """Yield how sure it is, in sentences."""
        rivals = self.ranked[1:]
        if rivals and math.isfinite(rivals[0].ratio(self.winner)):
            rival = rivals[0]
            seeds = rival.times.keys() & self.winner.times.keys()
            won = sum(self.winner.times[seed] <= rival.times[seed] for seed in seeds)
            what = "higher in loss" if self.goal.epochs else "slower"
            yield (
                f"It won {won} of {len(seeds)} paired trainings against the next best, batch size "
                f"{rival.setting.batch_size} at {rival.setting.learning_rate:.2g}, which is "
                f"{100 * (rival.ratio(self.winner) - 1):.0f} % {what}."
            )
        else:
            yield "No neighbor came near it."
        if self.winner.failures:
            tried = len(self.winner.times)
            yield f"With {self.winner.failures} of {tried} seeds it did not reach the target: try a lower rate."
        if self.stopped:
            yield f"It was stopped after {format_duration(self.seconds)}, and rests on what was measured until then."
        elif next(self.refinement.untried(), None):
            yield "Not all neighbors were compared in this time: use a larger --budget."
        yield self.horizon_sentence()
        if not np.isfinite(self.noise.known).all():
            yield "A noise scale is too large to measure, so the predicted times are those of a gradient of pure noise."
        if not self.network.seeds_change_weights:
            yield "All trainings start from the weights of your model; the seeds change only the order of the samples."

    def horizon_sentence(self) -> str:
        """Return how long the trainings were, and what that means for longer ones."""
        if self.goal.epochs:
            if self.epochs < 0.99 * self.goal.epochs:
                return (
                    f"Each training had only {self.epochs:.3g} of {self.goal.epochs:g} epochs for lack of time: the "
                    "best rate of longer ones may be lower. Use a larger --budget."
                )
            return f"Each training had all {self.goal.epochs:g} epochs, as yours will."
        longest = max(float(each.seconds[-1]) for each in self.race)
        return (
            f"The longest training had {in_seconds(longest)}. If yours take over {in_seconds(HORIZON * longest)}, "
            "use a larger --budget."
        )

    def cautions(self) -> Iterator[str]:
        """Yield what to watch out for, in sentences."""
        if np.isfinite(self.noise.late) and self.noise.late > 2 * self.noise.early:
            yield "The noise scale grows during training: the batch size could grow too (chapter 19)."
        if not self.goal.epochs:
            yield "This is about time; in equal epochs, larger batches can end less accurate (chapters 1 and 2)."
        yield "If you change the batch size, change the learning rate too: chapter 22 says how far a rule carries."
        if self.network.had_schedule:
            yield "Your schedule of learning rates was replaced by constant ones; scale it to end at the same mean."
        if self.network.arrays.was_split:
            yield "A fifth of your training set was held out to compare; train on all of it in the end."
        if self.samples % self.batch_size:
            yield "The last, smaller batch of each epoch was left out."

    def draw(self) -> Figure:
        """Return a figure of the raced trainings and the predicted time, in the current style."""

        def panels(figure):
            raced, progress = figure.subplots(1, 2)
            draw_race(raced, self)
            sizes = [int(size) for size in self.speed.batch_sizes]
            for times, color, when in zip(self.predicted(sizes), ("C1", "C2"), ("early", "late"), strict=False):
                plots.by_batch_size(progress, sizes, times[None], color=color, label=f"predicted, {when}")
            ratios = {each.setting.batch_size: self.measured_ratio(each.setting.batch_size) for each in self.ranked}
            ratios = {size: ratio for size, ratio in sorted(ratios.items()) if math.isfinite(ratio)}
            progress.plot(list(ratios), list(ratios.values()), "o", color="C0", label="measured, at its best rate")
            progress.axvspan(*self.range, color="gray", alpha=0.2, linewidth=0, label="about as good")
            progress.axvline(self.batch_size, color="gray")
            what = "loss" if self.goal.epochs else "time to the same loss"
            progress.set(title="batch size", ylabel=f"{what}, relative")

        footer = f"{self.network.arrays} · {self.network.name} · {self.network.optimizer_name} · bstudy advise"
        return plots.make_figure(panels, self.recommendation, footer)

    def sizes(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield (batch size, its numbers under COLUMNS)."""
        speed, numbers = self.speed, [int(size) for size in self.speed.batch_sizes]
        times = self.predicted(numbers)
        for at, size in enumerate(numbers):
            seconds, memory = speed.step_seconds[at], speed.memory[at]
            cells = f"{1e3 * seconds:.3g}", f"{size / seconds:,.0f}", f"{self.samples / size * seconds:.3g}"
            cells += (f"{memory / 1e6:.0f}" if np.isfinite(memory) else "–",)
            yield size, (*cells, *(f"{time:.2f}" for time in times[:, at]), *["–"] * (2 - len(times)))

    def raced(self) -> Iterator[tuple[str, ...]]:
        """Yield the numbers of each measured setting under RACED, best first."""
        for each in self.ranked:
            ratio = each.ratio(self.winner)
            if math.isfinite(ratio):
                value = f"{each.seconds:.4g}" if self.goal.epochs else in_seconds(each.seconds)
                shown = value, f"{ratio:.2f}"
            else:
                shown = "diverged" if self.goal.epochs else f"over {in_seconds(each.longest)}", "–"
            yield str(each.setting.batch_size), f"{each.setting.learning_rate:.2g}", *shown, str(len(each.times))

    def __repr__(self):
        return f"<Advice: {self.recommendation}>"

    def _repr_html_(self) -> str:
        with plots.style("page"):
            drawing = Drawing(self.draw())
        return show_cell(
            title=self.recommendation,
            tables=[as_table(COLUMNS, ((str(size), texts) for size, texts in self.sizes()))],
            first="batch size",
            drawing=drawing,
            notes={
                "Why": self.reasons(),
                "How sure": self.certainty(),
                "Watch out": self.cautions(),
                "Measured on": [self.setting],
            },
        )

    def show(self, paths: list[Path]) -> None:
        """Print the page."""
        console = new_console(WIDE_TABLE)
        console.print(Text(f"\n{self.recommendation}", "bold"))
        console.print(f"For {self.goal}. Measured on {self.setting}.")
        compared, speed = new_table(*RACED), new_table(*(name.replace(" ", "\n") for name in ("batch size", *COLUMNS)))
        for row in self.raced():
            compared.add_row(*row)
        for size, cells in self.sizes():
            speed.add_row(str(size), *cells, style="bold" if size == self.batch_size else None)
        for heading, table in (("Compared", compared), ("Speed", speed)):
            console.print(Text(f"\n{heading}", "bold"))
            console.print(table)
        for heading, sentences in (
            ("Why", self.reasons()),
            ("How sure", self.certainty()),
            ("Watch out", self.cautions()),
        ):
            console.print(Text(heading, "bold"))
            for sentence in sentences:
                console.print(Padding(Text(sentence), (0, 0, 0, 2)))
            console.print()
        print_files(console, paths)

    def record(self) -> dict:
        """Return all numbers, for a JSON file."""
        best = {"batch_size": self.batch_size, "learning_rate": self.learning_rate, "range": self.range}
        return {
            "recommended": best,
            "goal": str(self.goal),
            "data": str(self.network.arrays),
            "model": self.network.name,
            "optimizer": self.network.optimizer_name,
            "epoch_seconds": self.epoch_seconds,
            "metrics": self.metrics,
            "target": self.refinement.target,
            "noise_scale": {"early": self.noise.early, "late": self.noise.late},
            "speed": vars(self.speed),
            "race": [as_record(each) for each in self.race],
            "compared": [
                {**each.setting._asdict(), "times": each.times, "relative": each.ratio(self.winner)}
                for each in self.ranked
            ],
            "why": [*self.reasons()],
            "how_sure": [*self.certainty()],
            "watch_out": [*self.cautions()],
            "budget": self.budget,
            "seconds": self.seconds,
        }


def draw_race(axes, advice: Advice) -> None:
    """Draw the held-out loss of the raced trainings against time."""
    rates = sorted(each.setting.learning_rate for each in advice.race)
    for each in sorted(advice.race, key=lambda each: each.setting.learning_rate):
        losses = np.where(np.array(each.losses) > 3 * each.losses[0], np.nan, each.losses)
        shade = plots.shade(rates.index(each.setting.learning_rate) / max(1, len(rates) - 1))
        axes.plot(each.seconds[1:], losses[1:], color=shade, label=f"{each.setting.learning_rate:.2g}")
    if math.isfinite(advice.refinement.target):
        axes.axhline(advice.refinement.target, linestyle=":", color="gray", label="target")
    positive = all(loss > 0 for each in advice.race for loss in each.losses if math.isfinite(loss))
    axes.set(xscale="log", yscale="log" if positive else "linear", xlabel="seconds", ylabel="held-out loss")
    axes.set_title(f"rates at batch size {advice.race[0].setting.batch_size}")


def as_record(training: Training) -> dict:
    return {**training.setting._asdict(), "seconds": training.seconds, "losses": training.losses}


def as_table(headings, rows) -> Table:
    """Return a table of texts for a notebook."""
    cells = [
        Row("", name, {key: Cell(np.nan, np.nan, text) for key, text in zip(headings, texts, strict=True)})
        for name, texts in rows
    ]
    return Table({name: name for name in headings}, cells)


def in_words(scale: float) -> str:
    """Return a noise scale in words."""
    if math.isnan(scale):
        return "unknown"
    return f"about {float(f'{scale:.2g}'):,.0f}" if math.isfinite(scale) else "too large to measure"


def in_seconds(seconds: float) -> str:
    """Return seconds in words, also less than one."""
    if math.isinf(seconds):
        return "an unknown time"
    return f"{seconds:.2g} s" if seconds < 10 else format_duration(seconds)
