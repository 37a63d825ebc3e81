"""SGD on a convex problem, logistic regression, where the optimum is known: how near to it SGD stays."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiments.base import (
    Experiment,
    Work,
    ascending,
    batch_size_tuple,
    check_batch_size,
    checked,
    one_of,
    positive_float,
    positive_int,
)
from bstudy.store import Result

SAMPLES, DIRECTIONS = 2000, 20  # of the training set, at most
RELAXATIONS = 40  # a run lasts this many times 1 / (η penalty), the slowest time constant; its second half counts
SECONDS_PER_STEP = 5e-5
DIVERGED = 1e30  # a squared distance


@dataclass(frozen=True)
class ConvexDescent(Experiment):
    """The squared distance of SGD from the optimum w* of a strongly convex loss, in NumPy.

    The loss is the mean cross-entropy of multinomial logistic regression plus penalty / 2 · ‖w‖². Its inputs are the
    projections of at most 2,000 random training samples on their 20 main directions, each scaled to variance 1, and a
    constant. SGD starts at w = 0 and draws batches of independent samples, or those of a new permutation in each epoch.

    For a quadratic loss with Hessian H = V diag(h) Vᵀ and gradient covariance Σ at w*, independent batches lead to

        E ‖w − w*‖² = η / B · Σᵢ (Vᵀ Σ V)ᵢᵢ / (hᵢ (2 − η hᵢ))

    Columns:
        squared_distance: (learning rates, batch sizes) the mean of ‖w − w*‖² over the second half of a run.
        predicted: (learning rates, batch sizes) by the formula.
        path: (batch sizes, points) ‖w − w*‖² after `steps[:, points]`, at the second learning rate, or the only one.
        steps: (points,) of `path`.
        full_batch: (learning rates,) ‖w − w*‖² after the run of the full batch.
        full_batch_path: (points,) that of the full batch.

    Args:
        batch_sizes: B, at most the number of samples.
        learning_rates: η.
        order: "independent" or "permutation".
        penalty: On ‖w‖² / 2; the smallest curvature.
        samples: Of the training set, at most.
    """

    KIND = "convex_descent"

    batch_sizes: tuple[int, ...] = checked(batch_size_tuple)
    learning_rates: tuple[float, ...] = checked(ascending(positive_float))
    order: str = checked(one_of("independent", "permutation"), default="independent")
    penalty: float = checked(positive_float, default=0.1)
    samples: int = checked(positive_int, default=SAMPLES)

    def validate(self, dataset):
        check_batch_size(self.batch_sizes[-1], dataset)
        if self.batch_sizes[-1] > self.samples:
            raise InvalidInput(f"batch_sizes must be at most {self.samples}, the number of samples that are used")

    def work(self, dataset):
        steps = sum(map(self.steps, self.learning_rates)) * (1 + len(self.batch_sizes))
        return Work(seconds=SECONDS_PER_STEP * steps)

    def steps(self, rate: float) -> int:
        """Return the number of steps of a run."""
        return int(np.ceil(RELAXATIONS / (rate * self.penalty)))

    def table(self, run):
        middle = len(self.learning_rates) // 2
        return {
            f"‖w − w*‖², B = {size}": run["squared_distance"][:, middle, i] for i, size in enumerate(self.batch_sizes)
        }

    def measure(self, context):
        problem = LogisticRegression(context.dataset, self.penalty, self.samples)
        middle, shape = len(self.learning_rates) // 2, (len(self.learning_rates), len(self.batch_sizes))
        shown = np.unique(np.geomspace(1, self.steps(self.learning_rates[middle]), 60).astype(int))
        columns = {"squared_distance": np.zeros(shape), "predicted": np.zeros(shape), "steps": shown}
        columns |= {"path": np.zeros((shape[1], len(shown))), "full_batch": np.zeros(shape[0])}
        for i, rate in enumerate(self.learning_rates):
            full = problem.descend([slice(None)] * self.steps(rate), rate)
            columns["full_batch"][i] = full[-1]
            if i == middle:
                columns["full_batch_path"] = full[shown - 1]
            for j, size in enumerate(self.batch_sizes):
                random = np.random.default_rng([context.seed, i, size])
                distances = problem.descend(draw(random, problem.samples, size, self.steps(rate), self.order), rate)
                columns["squared_distance"][i, j] = distances[len(distances) // 2 :].mean()
                columns["predicted"][i, j] = problem.predict(rate, size)
                if i == middle:
                    columns["path"][j] = distances[shown - 1]
                yield (i * shape[1] + j) / (shape[0] * shape[1]), Result({}, progress=0.0)
        diverged = np.isnan(columns["squared_distance"]).any()
        yield 1.0, Result({name: np.float32(column) for name, column in columns.items()}, diverged=bool(diverged))

    def __str__(self):
        return f"logistic regression, batches by {self.order}"


def draw(random: np.random.Generator, samples: int, size: int, steps: int, order: str) -> Iterator[np.ndarray]:
    """Yield the rows of each batch."""
    rows = np.empty(0, int)
    for _ in range(steps):
        if len(rows) < size:
            rows = random.permutation(samples) if order == "permutation" else random.integers(samples, size=1000 * size)
        batch, rows = rows[:size], rows[size:]
        yield batch


class LogisticRegression:
    """The problem of a ConvexDescent: its inputs, its optimum, and its curvature and noise there.

    Args:
        dataset: Whose training set is used.
        penalty: On ‖w‖² / 2.
        samples: Of the training set, at most.
    """

    def __init__(self, dataset, penalty: float, samples: int):
        rows = np.random.default_rng(0).permutation(len(dataset.x_train))[:samples]
        x = dataset.x_train[rows].reshape(len(rows), -1).astype(float)
        left, _, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        directions = left[:, :DIRECTIONS] * np.sqrt(len(x))  # each has variance 1
        self.x = np.column_stack([directions, np.ones(len(x))])
        self.labels = np.eye(int(dataset.y_train.max()) + 1)[dataset.y_train[rows]]
        self.samples, self.penalty = len(x), penalty
        self.optimum = self.newton()
        per_sample = (self.x[:, :, None] * self.residuals(self.optimum)[:, None, :]).reshape(self.samples, -1)
        curvatures, vectors = np.linalg.eigh(self.hessian(self.optimum))
        self.curvatures, self.variances = curvatures, ((per_sample - per_sample.mean(axis=0)) @ vectors).var(axis=0)

    def residuals(self, w: np.ndarray, rows=slice(None)) -> np.ndarray:
        """Return (n, classes) the predicted probabilities minus the labels."""
        logits = self.x[rows] @ w
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True) - self.labels[rows]

    def gradient(self, w: np.ndarray, rows=slice(None)) -> np.ndarray:
        """Return (inputs, classes) the gradient of the loss of these samples."""
        x = self.x[rows]
        return x.T @ self.residuals(w, rows) / len(x) + self.penalty * w

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """Return the second derivatives of the loss, a square matrix."""
        p = self.residuals(w) + self.labels
        inner = np.einsum("nk,kl->nkl", p, np.eye(p.shape[1])) - p[:, :, None] * p[:, None, :]
        curvature = np.einsum("ni,nkl,nj->ikjl", self.x, inner, self.x, optimize=True) / self.samples
        return curvature.reshape(w.size, w.size) + self.penalty * np.eye(w.size)

    def newton(self) -> np.ndarray:
        """Return the optimum, by Newton's method."""
        w = np.zeros((self.x.shape[1], self.labels.shape[1]))
        for _ in range(100):
            step = np.linalg.solve(self.hessian(w), self.gradient(w).ravel())
            w -= step.reshape(w.shape)
            if np.abs(step).max() < 1e-12:
                break
        return w

    def descend(self, batches: Iterable, rate: float) -> np.ndarray:
        """Return (steps,) ‖w − w*‖² after each step; NaN if it diverged."""
        w, distances = np.zeros_like(self.optimum), []
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in batches:
                w -= rate * self.gradient(w, rows)
                distances.append(np.square(w - self.optimum).sum())
        return np.where(np.array(distances) < DIVERGED, distances, np.nan)

    def predict(self, rate: float, size: int) -> float:
        """Return E ‖w − w*‖² of the quadratic with the same curvature and noise at the optimum."""
        return rate / size * np.sum(self.variances / (self.curvatures * (2 - rate * self.curvatures)))
