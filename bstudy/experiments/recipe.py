"""Training by phases: the measurement that all others start from."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiments.base import (
    Checked,
    Context,
    Experiment,
    Work,
    added,
    below_one,
    check_batch_size,
    checked,
    one_of,
    positive_float,
    positive_int,
)
from bstudy.store import Result
from bstudy.trainer import OptimizerSettings, epoch_permutation, subset_rows, train_subset, wrong_labels

MAX_EPOCHS = 100_000
MAX_PHASES = 1000
TRAIN_EVAL_SAMPLES = 10_000  # of the training set, evaluated after each epoch
EPOCH_COLUMNS = ("test_accuracy", "test_loss", "train_subset_accuracy", "train_subset_loss", "weight_distance")
EPOCH_COLUMNS += ("bias_distance", "weight_norm", "bias_norm", "cosines", "layer_norms")


def rounded_rate(name: str, value: Any) -> float:
    """Return a learning rate with twelve significant digits, so that 0.1 * 3 is 0.3."""
    return float(f"{positive_float(name, value):.12g}")


def not_negative(name: str, value: Any) -> float:
    """Return the value as float, if it is at least 0 and finite."""
    return 0.0 if value == 0 else positive_float(name, value)


def warmup(name: str, value: Any) -> int:
    """Return the value as int, if it is a whole number of epochs, also 0."""
    return 0 if value == 0 else positive_int(name, value, MAX_EPOCHS)


def positive_int_or_none(name: str, value: Any) -> int | None:
    """Return the value as int, if it is a whole number from 1 on; or None."""
    return None if value is None else positive_int(name, value)


@dataclass(frozen=True)
class Phase(Checked):
    """Training in which nothing changes: one batch size, learning rate and optimizer for a number of epochs.

    Args:
        batch_size: Samples a step.
        learning_rate: Of the optimizer.
        epochs: How long.
        optimizer: "sgd" or "adam".
        momentum: Of SGD: v ← momentum v − η g, w ← w + v.
        beta_1, beta_2, epsilon: Of Adam.
        weight_decay: Decoupled from the gradient: w ← w − η weight_decay w in each step (AdamW, with Adam).
        warmup_epochs: The learning rate grows linearly from step to step over this number of epochs.
    """

    batch_size: int = checked(positive_int)
    learning_rate: float = checked(rounded_rate)
    epochs: int = checked(partial(positive_int, maximum=MAX_EPOCHS))
    optimizer: str = checked(one_of("sgd", "adam"), default="sgd")
    momentum: float = added(below_one, 0.0)
    beta_1: float = added(below_one, 0.9)
    beta_2: float = added(below_one, 0.999)
    epsilon: float = added(positive_float, 1e-7)
    weight_decay: float = added(not_negative, 0.0)
    warmup_epochs: int = added(warmup, 0)

    def __post_init__(self):
        super().__post_init__()
        foreign = ("beta_1", "beta_2", "epsilon") if self.optimizer == "sgd" else ("momentum",)
        if changed := [name for name in foreign if getattr(self, name) != getattr(Phase, name)]:
            raise InvalidInput(f"{changed[0]} is no setting of {self.optimizer}")

    @property
    def settings(self) -> OptimizerSettings:
        """The optimizer without its learning rate."""
        own = {name: getattr(self, name) for name in OptimizerSettings._fields[1:]}
        return OptimizerSettings(self.optimizer, **own)

    def warmup_rates(self, epoch: int, samples: int) -> np.ndarray | None:
        """Return (steps,) the learning rates of an epoch of this phase, counted from 0; None after the warm-up."""
        if epoch >= self.warmup_epochs:
            return None
        steps = -(-samples // self.batch_size)
        fraction_of_rate = (epoch * steps + np.arange(1, steps + 1)) / (self.warmup_epochs * steps)
        return (self.learning_rate * fraction_of_rate).astype(np.float32)

    def continues_as(self, other: "Phase") -> bool:
        """Whether the other phase differs at most in its epochs."""
        return replace(self, epochs=other.epochs) == other and not self.warmup_epochs

    def __str__(self):
        """Return what makes this phase special: its settings that are not the defaults."""
        changed = [each.name for each in fields(self) if "added" in each.metadata]
        changed = [name for name in changed if getattr(self, name) != getattr(Phase, name)]
        return " and ".join(f"{name.replace('_', ' ')} {getattr(self, name):g}" for name in changed)


@dataclass(frozen=True)
class Recipe(Experiment):
    """How to train: one phase after another.

    `Recipe.sgd(batch_size=1024, learning_rate=0.01, epochs=30).then(batch_size=64)`

    Columns, before training and after each epoch (epochs + 1,):
        test_accuracy, test_loss: in percent, and nats.
        train_subset_accuracy, train_subset_loss: on a fixed random subset of at most 10,000 training samples, with
            their true labels, also if the run is trained on wrong ones.
        weight_distance, bias_distance: ‖Δw‖ and ‖Δb‖, the L2 distance of all kernels, or biases, from their initial
            values, each taken as one vector.
        weight_norm, bias_norm: ‖w‖ and ‖b‖.
        epoch_loss: the mean of `loss` over the steps of each epoch; NaN before training.
        cosines, layer_norms: (epochs + 1, layers) of each kernel: the cosine to its initial value, and its norm.
    Columns of each epoch, each step, and the end:
        seconds: (epochs,) of training, without evaluation.
        loss: (steps,) of each batch, before its step, with the labels that the run is trained on.
        gradient_norm, update_norm: (steps,) of all weights and biases as one vector, if `record_norms`.
        final_train_accuracy, final_train_loss: () on the whole training set, with the true labels.
    After the loss stopped being finite, all values are NaN: the run diverged.

    Args:
        phases: The phases, in order. Two that do not differ become one.
        record_norms: Whether to measure the norm of each gradient and update (takes 27 % longer).
        replicas: On how many devices to train; None for the number that the Lab uses.
        label_noise: The fraction of training labels that are wrong, from the first epoch to the last. The seed decides
            which ones, and each wrong class is as likely. All test labels are true, and so are the training labels of
            measurements that start from this training.
        samples: The number of training samples to use, None for all: the first of a fixed random permutation, so that
            a smaller number is a part of a larger one. They are the training set of all columns. Measurements that
            start from this training use all samples.
    """

    KIND = "recipe"

    phases: tuple[Phase, ...]
    record_norms: bool = False
    replicas: int | None = None
    label_noise: float = added(below_one, 0.0)
    samples: int | None = added(positive_int_or_none, None)

    def __post_init__(self):
        super().__post_init__()
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
    def sgd(cls, batch_size: int, learning_rate: float, epochs: int, **settings) -> "Recipe":
        """Return a recipe of stochastic gradient descent without momentum; `settings` are other fields of it."""
        return cls((Phase(batch_size, learning_rate, epochs),), **settings)

    @classmethod
    def adam(cls, batch_size: int, learning_rate: float, epochs: int, **settings) -> "Recipe":
        """Return a recipe of Adam (Kingma and Ba 2015) with Keras's defaults; `settings` are other fields of it."""
        return cls((Phase(batch_size, learning_rate, epochs, "adam"),), **settings)

    def then(self, **changes) -> "Recipe":
        """Append a phase. Fields that are not given are copied from the last phase, except its warm-up.

        Raises:
            InvalidInput: a phase has no such field.
        """
        known = [each.name for each in fields(Phase)]
        for name in changes:
            if name not in known:
                raise InvalidInput(f"a phase has no {name!r}; it has {', '.join(known)}")
        return replace(self, phases=(*self.phases, replace(self.phases[-1], **({"warmup_epochs": 0} | changes))))

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

    @property
    def step_columns(self) -> tuple[str, ...]:
        """The columns with one number a step."""
        return ("loss", "gradient_norm", "update_norm") if self.record_norms else ("loss",)

    def phase(self, epoch: int) -> Phase:
        """Return the phase of an epoch, counted from 0."""
        ends = np.cumsum([phase.epochs for phase in self.phases])
        return self.phases[np.searchsorted(ends, epoch, side="right")]

    def epoch_of_phase(self, epoch: int) -> int:
        """Return the number of an epoch within its phase; both are counted from 0."""
        starts = np.cumsum([0, *(phase.epochs for phase in self.phases)])
        return epoch - int(starts[starts <= epoch][-1])

    def steps(self, samples: int) -> np.ndarray:
        """Return (epochs + 1,) the number of steps before training and after each epoch.

        Args:
            samples: The size of the training set; the field `samples` counts if it is set.
        """
        samples = self.samples or samples
        return np.cumsum([0, *self._each_epoch(-(-samples // phase.batch_size) for phase in self.phases)])

    def derived(self, columns: dict[str, np.ndarray], samples: int) -> dict[str, np.ndarray]:
        means = [epoch.mean(axis=1) for epoch in np.array_split(columns["loss"], self.steps(samples)[1:-1], axis=1)]
        return {"epoch_loss": np.stack([np.full(len(means[0]), np.nan), *means], axis=1)}

    def clock(self, samples: int) -> np.ndarray:
        """Return (epochs + 1,) the sum of the learning rates of all steps, before training and after each epoch."""
        rates = self._each_epoch(phase.learning_rate for phase in self.phases)
        return np.append(0.0, np.cumsum(rates * np.diff(self.steps(samples))))

    def _each_epoch(self, values):
        """Return (epochs,) the value of the phase of each epoch, from one value a phase."""
        return np.repeat([*values], [phase.epochs for phase in self.phases])

    def requires(self) -> tuple["Recipe", ...]:
        return (replace(self, phases=self.phases[:-1]),) if len(self.phases) > 1 else ()

    def prefixes(self) -> Iterator[tuple[float, "Recipe"]]:
        return ((epochs / self.epochs, self.first(epochs)) for epochs in range(self.epochs - 1, 0, -1))

    def with_replicas(self, replicas: int) -> "Recipe":
        return self if self.replicas is not None else replace(self, replicas=replicas)

    def validate(self, dataset) -> None:
        for phase in self.phases:
            check_batch_size(phase.batch_size, dataset)
            if phase.batch_size > (self.samples or phase.batch_size):
                raise InvalidInput(f"batch_size {phase.batch_size} is larger than samples, {self.samples}")
        if (self.samples or 0) > len(dataset.x_train):
            text = f"samples must be at most {len(dataset.x_train)}, the size of the training set of {dataset.name}"
            raise InvalidInput(f"{text}, not {self.samples}")

    def work(self, dataset) -> Work:
        samples, total = self.samples or len(dataset.x_train), Work()
        evaluated = min(samples, TRAIN_EVAL_SAMPLES) + len(dataset.x_test)
        for phase in self.phases:
            sizes = {phase.batch_size, samples % phase.batch_size} - {0}
            programs = frozenset((phase.settings, size, self.record_norms, self.replicas, samples) for size in sizes)
            slots = 2 if phase.optimizer == "adam" else int(phase.momentum > 0)
            passes = 1 + slots + 2 * self.record_norms  # over all weights
            steps = passes * -(-samples // phase.batch_size)
            total = total.plus(Work(samples, steps, evaluated, programs=programs), times=phase.epochs)
        return total

    def progress_text(self, progress: float) -> str:
        return f"epoch {progress * self.epochs:.0f} of {self.epochs}"

    def table(self, run) -> dict[str, np.ndarray]:
        names = ("train_subset_accuracy", "test_accuracy", "weight_distance", "bias_distance")
        return {name: run.final(name) for name in names}

    def measure(self, context: Context) -> Iterator[tuple[float, Result]]:
        training = _Training(self, context)
        while training.epoch < self.epochs and not training.diverged:
            for fraction in training.train_epoch():
                yield (training.epoch + fraction) / self.epochs, training.checkpoint
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
            if str(phase) and (before is None or str(before) != str(phase)):
                text += f"with {phase} "
            parts.append(f"{text}for {phase.epochs}")
        text = ", then ".join(parts) + (" epoch" if self.phases[-1].epochs == 1 else " epochs")
        text += f" with {100 * self.label_noise:g} % wrong labels" if self.label_noise else ""
        text += f" on {self.samples} samples" if self.samples else ""
        return text + (f" on {self.replicas} replicas" if (self.replicas or 1) > 1 else "")


class _Training:
    """A training run in progress: its columns, filled epoch by epoch, and the latest checkpoint."""

    def __init__(self, recipe, context):
        self.recipe, self.seed = recipe, context.seed
        self.trainer = context.get_trainer(recipe.replicas or 1)
        noise, data = recipe.label_noise, context.dataset
        self.rows = subset_rows(len(data.x_train), recipe.samples)
        self.subset = self.trainer.cached(train_subset, min(TRAIN_EVAL_SAMPLES, len(self.rows)))
        self.labels = None
        if noise:
            self.labels = data.y_train.copy()
            self.labels[self.rows] = wrong_labels(data.y_train[self.rows], data.classes, noise, context.seed)
        self.steps = recipe.steps(len(data.x_train))
        self.initial = self.trainer.initial_weights(context.seed)
        self.digest = hashlib.sha256(b"".join(weight.tobytes() for weight in self.initial)).hexdigest()
        start = context.resume_from
        if start is not None and start.metadata["initial_weights"] != self.digest:
            start = None  # another version of Keras drew other initial weights
        self.epoch, self.diverged = (start.metadata["epochs"], start.diverged) if start is not None else (0, False)
        self.set_state(start.state if start is not None else None)
        self.columns = self.make_columns(start.columns if start is not None else None)
        self.checkpoint = self.make_checkpoint()

    def set_state(self, state):
        """Assign the state of a checkpoint, or the initial one; on several machines, the chief's."""
        self.epoch, self.diverged = map(int, self.trainer.synchronize(self.epoch, self.diverged))
        self.trainer.set_weights(self.initial)
        self.trainer.set_optimizer(self.recipe.phase(max(0, self.epoch - 1)).settings)
        state = state or self.trainer.get_state()
        self.trainer.set_state(dict(zip(state, self.trainer.synchronize(*state.values()), strict=True)))

    def make_columns(self, measured):
        """Return the columns, filled with those of a checkpoint, and NaN for what is not measured yet."""
        first = self.evaluate() if measured is None else {name: measured[name][0] for name in EPOCH_COLUMNS}
        shapes = {name: (self.recipe.epochs + 1, *np.shape(value)) for name, value in first.items()}
        shapes |= {"seconds": self.recipe.epochs} | dict.fromkeys(self.recipe.step_columns, self.steps[-1])
        columns = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
        for name, values in columns.items():
            if measured is not None:
                values[: len(measured[name])] = measured[name]
            elif name in first:
                values[0] = first[name]
        return columns

    def train_epoch(self):
        """Train for the next epoch, yielding the fraction done, and evaluate; end if the run diverges."""
        phase, segments, seconds = self.recipe.phase(self.epoch), [], 0.0
        if self.epoch and phase.settings != self.recipe.phase(self.epoch - 1).settings:
            self.trainer.set_optimizer(phase.settings)
        self.trainer.optimizer.learning_rate = phase.learning_rate
        order = self.rows[epoch_permutation(len(self.rows), self.seed, self.epoch)]
        rates = phase.warmup_rates(self.recipe.epoch_of_phase(self.epoch), len(order))
        for segment in self.trainer.train_epoch(
            order, phase.batch_size, self.recipe.record_norms, learning_rates=rates, labels=self.labels
        ):
            segments.append(segment.values)
            seconds += segment.seconds
            self.diverged = not np.isfinite(segment.values[0]).all()
            if self.diverged:
                return
            yield segment.progress
        row = self.evaluate()
        self.diverged = not np.isfinite([row["train_subset_loss"], row["test_loss"]]).all()
        if self.diverged:
            return
        for name, value in row.items():
            self.columns[name][self.epoch + 1] = value
        self.columns["seconds"][self.epoch] = seconds
        steps = slice(self.steps[self.epoch], self.steps[self.epoch + 1])
        for name, values in zip(self.recipe.step_columns, np.concatenate(segments, axis=1), strict=True):
            self.columns[name][steps] = values
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
        metadata = {"initial_weights": self.digest, "epochs": self.epoch, "replicas": self.recipe.replicas or 1}
        metadata["parameters"] = self.trainer.model.count_params()
        return Result(self.columns, self.trainer.get_state(), metadata, self.epoch / self.recipe.epochs)

    def finish(self):
        """Return the complete result: the latest checkpoint, and the final loss and accuracy."""
        whole, samples = self.trainer.training_data, self.recipe.samples
        data = whole if samples is None else self.trainer.cached(train_subset, samples)
        loss, accuracy = (np.nan, np.nan) if self.diverged else self.trainer.evaluate(*data)
        final = {"final_train_loss": np.float32(loss), "final_train_accuracy": np.float32(accuracy)}
        return replace(self.checkpoint, columns=self.columns | final, progress=1.0, diverged=bool(self.diverged))


def distances(weights: list[np.ndarray], initial: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return how far weights are from their initial values, and how large they are: columns of a Recipe.

    A kernel has two axes or more; a bias (or anything else with one axis) has one.
    """

    def dot(a, b):
        return np.einsum("i,i->", a.ravel(), b.ravel(), dtype=np.float64)  # sums in double without a copy in double

    def products(is_kernel):
        """Return (arrays, 3): w · w, w · w₀ and w₀ · w₀ of each kernel, or of each bias."""
        pairs = [pair for pair in zip(weights, initial, strict=True) if (pair[0].ndim > 1) == is_kernel]
        return np.array([(dot(w, w), dot(w, start), dot(start, start)) for w, start in pairs]).reshape(-1, 3)

    columns, kernels = {}, products(is_kernel=True)
    for name, found in (("weight", kernels), ("bias", products(is_kernel=False))):
        now, mixed, start = found.sum(axis=0)
        columns |= {f"{name}_norm": np.sqrt(now), f"{name}_distance": np.sqrt(max(0.0, now - 2 * mixed + start))}
    now, mixed, start = kernels.T
    with np.errstate(invalid="ignore"):  # a kernel that starts at zero has no direction there
        return columns | {"cosines": mixed / np.sqrt(now * start), "layer_norms": np.sqrt(now)}
