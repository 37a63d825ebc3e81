"""Training by phases: the measurement that all others start from."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiments.base import Checked, Context, Experiment, Work, checked, one_of, positive_float, positive_int
from bstudy.store import Result
from bstudy.trainer import epoch_permutation, train_subset

MAX_EPOCHS = 100_000
MAX_PHASES = 1000
TRAIN_EVAL_SAMPLES = 10_000  # of the training set, evaluated after each epoch


def rounded_rate(name: str, value: Any) -> float:
    """Return a learning rate with twelve significant digits, so that 0.1 * 3 is 0.3."""
    return float(f"{positive_float(name, value):.12g}")


@dataclass(frozen=True)
class Phase(Checked):
    """Training in which nothing changes: one batch size, learning rate and optimizer for a number of epochs."""

    batch_size: int = checked(positive_int)
    learning_rate: float = checked(rounded_rate)
    epochs: int = checked(partial(positive_int, maximum=MAX_EPOCHS))
    optimizer: str = checked(one_of("sgd", "adam"), default="sgd")

    def continues_as(self, other: "Phase") -> bool:
        """Whether the other phase differs at most in its epochs."""
        return replace(self, epochs=other.epochs) == other


@dataclass(frozen=True)
class Recipe(Experiment):
    """How to train: one phase after another.

    `Recipe.sgd(batch_size=1024, learning_rate=0.01, epochs=30).then(batch_size=64)`

    Columns, before training and after each epoch (epochs + 1,):
        test_accuracy, test_loss: in percent, and nats.
        train_subset_accuracy, train_subset_loss: on a fixed random subset of at most 10,000 training samples.
        weight_distance, bias_distance: ‖Δw‖ and ‖Δb‖, the L2 distance of all kernels, or biases, from their initial
            values, each taken as one vector.
        weight_norm, bias_norm: ‖w‖ and ‖b‖.
        cosines, layer_norms: (epochs + 1, layers) of each kernel: the cosine to its initial value, and its norm.
    Columns of each epoch, each step, and the end:
        seconds: (epochs,) of training, without evaluation.
        loss: (steps,) of each batch, before its step.
        gradient_norm, update_norm: (steps,) of all weights and biases as one vector, if `record_norms`.
        final_train_accuracy, final_train_loss: () on the whole training set.
    After the loss stopped being finite, all values are NaN: the run diverged.

    Args:
        phases: The phases, in order. Two that do not differ become one.
        record_norms: Whether to measure the norm of each gradient and update (takes 27 % longer).
        replicas: On how many devices to train; None for the number that the Lab uses.
    """

    KIND = "recipe"

    phases: tuple[Phase, ...]
    record_norms: bool = False
    replicas: int | None = None

    def __post_init__(self):
        merged = []
        for phase in self.phases:
            if merged and merged[-1].continues_as(phase):
                phase = replace(phase, epochs=merged.pop().epochs + phase.epochs)
            merged.append(phase)
        if not 1 <= len(merged) <= MAX_PHASES:
            raise InvalidInput(f"a recipe has 1 to {MAX_PHASES} phases, not {len(merged)}")
        if self.replicas is not None:
            positive_int("replicas", self.replicas)
        object.__setattr__(self, "phases", tuple(merged))

    @classmethod
    def sgd(cls, batch_size: int, learning_rate: float, epochs: int, record_norms: bool = False) -> "Recipe":
        """Return a recipe of stochastic gradient descent without momentum."""
        return cls((Phase(batch_size, learning_rate, epochs),), record_norms)

    @classmethod
    def adam(cls, batch_size: int, learning_rate: float, epochs: int, record_norms: bool = False) -> "Recipe":
        """Return a recipe of Adam (Kingma and Ba 2015) with Keras's defaults."""
        return cls((Phase(batch_size, learning_rate, epochs, "adam"),), record_norms)

    def then(self, **changes) -> "Recipe":
        """Append a phase. Fields that are not given are copied from the last phase.

        Raises:
            InvalidInput: a phase has no such field.
        """
        known = [each.name for each in fields(Phase)]
        for name in changes:
            if name not in known:
                raise InvalidInput(f"a phase has no {name!r}; it has {', '.join(known)}")
        return replace(self, phases=(*self.phases, replace(self.phases[-1], **changes)))

    def first(self, epochs: int) -> "Recipe":
        """Return the beginning of this recipe."""
        phases = []
        for phase in self.phases:
            if epochs > 0:
                phases.append(replace(phase, epochs=min(phase.epochs, epochs)))
            epochs -= phase.epochs
        return replace(self, phases=tuple(phases))

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    @property
    def batch_size(self) -> int:
        """The batch size of the last phase."""
        return self.phases[-1].batch_size

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last phase."""
        return self.phases[-1].learning_rate

    def phase(self, epoch: int) -> Phase:
        """Return the phase of an epoch, counted from 0."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase
            epoch -= phase.epochs
        raise IndexError("no such epoch")

    def steps(self, samples: int) -> np.ndarray:
        """Return (epochs + 1,) the number of steps before training and after each epoch over `samples` samples."""
        return np.cumsum([0, *(-(-samples // self.phase(epoch).batch_size) for epoch in range(self.epochs))])

    def requires(self) -> tuple["Recipe", ...]:
        return (replace(self, phases=self.phases[:-1]),) if len(self.phases) > 1 else ()

    def prefixes(self) -> Iterator[tuple[float, "Recipe"]]:
        return ((epochs / self.epochs, self.first(epochs)) for epochs in range(self.epochs - 1, 0, -1))

    def with_replicas(self, replicas: int) -> "Recipe":
        return self if self.replicas is not None else replace(self, replicas=replicas)

    def validate(self, dataset) -> None:
        for phase in self.phases:
            if phase.batch_size > len(dataset.x_train):
                raise InvalidInput(
                    f"batch_size {phase.batch_size} is larger than the training set of {dataset.name}, "
                    f"which has {len(dataset.x_train)} samples"
                )

    def work(self, dataset) -> Work:
        samples, total = len(dataset.x_train), Work()
        evaluated = min(samples, TRAIN_EVAL_SAMPLES) + len(dataset.x_test)
        for phase in self.phases:
            sizes = {phase.batch_size, samples % phase.batch_size} - {0}
            programs = frozenset((phase.optimizer, size, self.record_norms, self.replicas) for size in sizes)
            steps = -(-samples // phase.batch_size) * (3 if phase.optimizer == "adam" else 1)
            total = total.plus(Work(samples, steps, evaluated, programs=programs), times=phase.epochs)
        return total

    def progress_text(self, progress: float) -> str:
        return f"epoch {progress * self.epochs:.0f} of {self.epochs}"

    def table(self, run) -> dict[str, np.ndarray]:
        names = ("final_train_accuracy", "test_accuracy", "weight_distance", "bias_distance")
        return {name: run.final(name) for name in names}

    def measure(self, context: Context) -> Iterator[tuple[float, Result]]:
        training = _Training(self, context)
        while training.epoch < self.epochs and not training.diverged:
            for fraction in training.train_epoch():
                yield (training.epoch + fraction) / self.epochs, training.checkpoint
            training.end_epoch()
        yield 1.0, training.finish()

    def __str__(self):
        parts = []
        for before, phase in zip((None, *self.phases), self.phases, strict=False):
            changed = before is None or before.optimizer != phase.optimizer
            text = "Adam " if changed and phase.optimizer == "adam" else "SGD " if changed and before else ""
            if before is None or before.batch_size != phase.batch_size:
                text += f"{phase.batch_size} "
            if before is None or before.learning_rate != phase.learning_rate:
                text += f"at {phase.learning_rate:g} "
            parts.append(f"{text}for {phase.epochs}")
        devices = f" on {self.replicas} replicas" if (self.replicas or 1) > 1 else ""
        return ", then ".join(parts) + (" epoch" if self.phases[-1].epochs == 1 else " epochs") + devices


class _Training:
    """A training run in progress: its columns so far, and the latest checkpoint."""

    def __init__(self, recipe, context):
        self.recipe, self.seed, self.samples = recipe, context.seed, len(context.dataset.x_train)
        self.trainer = context.get_trainer(recipe.replicas or 1)
        self.subset = self.trainer.cached(train_subset, TRAIN_EVAL_SAMPLES)
        self.initial = self.trainer.initial_weights(context.seed)
        self.digest = hashlib.sha256(b"".join(weight.tobytes() for weight in self.initial)).hexdigest()
        self.per_step = ["loss", "gradient_norm", "update_norm"] if recipe.record_norms else ["loss"]
        self.epoch, self.diverged = 0, False
        self.segments, self.seconds = [], 0.0  # of the current epoch
        self.start(context.resume_from)
        self.checkpoint = self.make_checkpoint()

    def start(self, checkpoint):
        """Begin with the initial weights, or where the checkpoint ends."""
        if checkpoint is not None and checkpoint.metadata["initial_weights"] != self.digest:
            checkpoint = None  # another version of Keras drew other initial weights
        self.columns = {}
        if checkpoint is not None:
            self.epoch, self.diverged = len(checkpoint.columns["seconds"]), checkpoint.diverged
            columns = checkpoint.columns.items()
            self.columns = {name: list(values) for name, values in columns if not name.startswith("final_")}
        epoch, diverged = self.trainer.synchronize(self.epoch, self.diverged)
        self.epoch, self.diverged = int(epoch), bool(diverged)
        self.trainer.set_weights(self.initial)
        self.trainer.set_optimizer(self.recipe.phase(max(0, self.epoch - 1)).optimizer)
        state = self.trainer.get_state() if checkpoint is None else checkpoint.state
        self.trainer.set_state(dict(zip(state, self.trainer.synchronize(*state.values()), strict=True)))
        if not self.columns:
            self.columns = {name: [value] for name, value in self.evaluate().items()}
            self.columns |= {name: [] for name in ("seconds", *self.per_step)}

    def train_epoch(self):
        """Train for the next epoch, yielding the fraction done; stop where the loss is no longer finite."""
        phase = self.recipe.phase(self.epoch)
        if self.epoch and phase.optimizer != self.recipe.phase(self.epoch - 1).optimizer:
            self.trainer.set_optimizer(phase.optimizer)
        self.trainer.optimizer.learning_rate = phase.learning_rate
        self.segments, self.seconds = [], 0.0
        order = epoch_permutation(self.samples, self.seed, self.epoch)
        for segment in self.trainer.train_epoch(order, phase.batch_size, self.recipe.record_norms):
            self.segments.append(segment.values)
            self.seconds += segment.seconds
            self.diverged = not np.isfinite(segment.values[0]).all()
            if self.diverged:
                return
            yield segment.progress

    def end_epoch(self):
        """Evaluate, and append this epoch to the columns, unless the run diverged in it."""
        row = self.evaluate() | {"seconds": self.seconds}
        self.diverged = self.diverged or not np.isfinite([row["train_subset_loss"], row["test_loss"]]).all()
        if self.diverged:
            return
        for name, value in row.items():
            self.columns[name].append(value)
        for name, values in zip(self.per_step, np.concatenate(self.segments, axis=1), strict=True):
            self.columns[name].extend(values)
        self.epoch += 1
        self.checkpoint = self.make_checkpoint()

    def evaluate(self):
        """Return what is measured after each epoch, of the current weights."""
        trainer = self.trainer
        row = distances(trainer.trainable_part(trainer.get_weights()), trainer.trainable_part(self.initial))
        row["train_subset_loss"], row["train_subset_accuracy"] = trainer.evaluate(*self.subset)
        row["test_loss"], row["test_accuracy"] = trainer.evaluate(*trainer.test_data)
        return row

    def make_checkpoint(self):
        columns = {name: np.asarray(values, np.float32) for name, values in self.columns.items()}
        metadata = {"initial_weights": self.digest, "parameters": self.trainer.model.count_params()}
        metadata["replicas"] = self.recipe.replicas or 1
        progress = self.epoch / self.recipe.epochs
        return Result(columns, self.trainer.get_state(), metadata, progress, self.diverged)

    def finish(self):
        """Return the complete result."""
        loss, accuracy = np.nan, np.nan
        if self.diverged:
            self.checkpoint.columns = _padded_with_nan(self.checkpoint.columns, self.recipe, self.samples)
        else:
            loss, accuracy = self.trainer.evaluate(*self.trainer.training_data)
        final = {"final_train_loss": np.float32(loss), "final_train_accuracy": np.float32(accuracy)}
        self.checkpoint.columns |= final
        self.checkpoint.progress, self.checkpoint.diverged = 1.0, self.diverged
        return self.checkpoint


def _padded_with_nan(columns, recipe, samples):
    """Return the columns of a run that diverged with the lengths of a complete run."""
    steps = recipe.steps(samples)[-1]
    lengths = {"loss": steps, "gradient_norm": steps, "update_norm": steps, "seconds": recipe.epochs}

    def padded(name, values):
        missing = lengths.get(name, recipe.epochs + 1) - len(values)
        return np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1), constant_values=np.nan)

    return {name: padded(name, values) for name, values in columns.items()}


def distances(weights: list[np.ndarray], initial: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return how far weights are from their initial values, and how large they are: columns of a Recipe.

    A kernel has two axes or more; a bias (or anything else with one axis) has one.
    """

    def dot(a, b):
        return np.einsum("i,i->", a.ravel(), b.ravel(), dtype=np.float64)  # sums in double without a copy in double

    def products(axes):
        """Return (w · w, w · w₀, w₀ · w₀) for each pair of arrays."""
        pairs = [(now, then) for now, then in zip(weights, initial, strict=True) if axes(now.ndim)]
        return np.array([(dot(now, now), dot(now, then), dot(then, then)) for now, then in pairs]).reshape(-1, 3)

    def norm_and_distance(products):
        now, mixed, then = products.sum(axis=0)
        return np.sqrt(now), np.sqrt(max(0.0, now - 2 * mixed + then))

    kernels, biases = products(lambda axes: axes > 1), products(lambda axes: axes == 1)
    weight_norm, weight_distance = norm_and_distance(kernels)
    bias_norm, bias_distance = norm_and_distance(biases)
    with np.errstate(invalid="ignore"):  # a kernel that starts at zero has no direction there
        cosines = kernels[:, 1] / np.sqrt(kernels[:, 0] * kernels[:, 2])
    return {
        "weight_distance": weight_distance,
        "bias_distance": bias_distance,
        "weight_norm": weight_norm,
        "bias_norm": bias_norm,
        "cosines": cosines,
        "layer_norms": np.sqrt(kernels[:, 0]),
    }
