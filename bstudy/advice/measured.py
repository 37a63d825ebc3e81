"""What an advice is for, and what was measured for it, as plain data."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Goal:
    """What the advice is for: the least time, or another thing."""

    epochs: float | None = None  # the lowest loss after this number of them
    memory: float | None = None  # bytes: the least time with at most these

    def __str__(self):
        if self.epochs:
            return f"the lowest loss in {self.epochs:g} epochs"
        limit = f" with at most {self.memory / 1e9:.2f} GB" if self.memory else ""
        return f"the least time to the same loss{limit}"


@dataclass(frozen=True)
class Noise:
    """Gradient noise scales."""

    early: float  # of the first steps
    late: float  # where the best training reached its target

    @property
    def known(self) -> list[float]:
        return [scale for scale in (self.early, self.late) if not math.isnan(scale)]


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains."""

    batch_sizes: np.ndarray  # (n,)
    step_seconds: np.ndarray  # (n,)
    memory: np.ndarray  # (n,) bytes of the process at its peak, NaN if they cannot be read
    limit: str  # why no larger batch size was timed, in a sentence

    @classmethod
    def of(cls, rows: list[tuple[int, float, float]], limit: str) -> "Speed":
        """Return the speed of (batch size, seconds, memory)."""
        sizes, seconds, memory = map(np.array, zip(*sorted(rows), strict=True))
        return cls(sizes, seconds, memory, limit)

    def with_size(self, *row: float) -> "Speed":
        """Return this with one more batch size."""
        return Speed.of([*zip(self.batch_sizes, self.step_seconds, self.memory, strict=True), row], self.limit)

    def step_seconds_at(self, batch_size: float) -> float:
        """Return the seconds of a step, by logarithms between those measured; beyond them, in proportion."""
        sizes, seconds = np.log(self.batch_sizes), np.log(self.step_seconds)
        beyond = max(0.0, math.log(batch_size) - sizes[-1])
        return float(np.exp(np.interp(math.log(batch_size), sizes, seconds) + beyond))

    def memory_at(self, batch_size: float) -> float:
        """Return the bytes at a batch size, by a line through the last two that were measured."""
        if batch_size <= self.batch_sizes[-1] or len(self.batch_sizes) == 1:
            return float(np.interp(batch_size, self.batch_sizes, self.memory))
        growth = np.diff(self.memory[-2:])[0] / np.diff(self.batch_sizes[-2:])[0]
        return float(self.memory[-1] + max(0.0, growth) * (batch_size - self.batch_sizes[-1]))

    def time_at(self, batch_size: float, noise_scale: float) -> float:
        """Return the predicted time to the same progress, up to a constant (chapter 21)."""
        return (1 / noise_scale + 1 / batch_size) * self.step_seconds_at(batch_size)
