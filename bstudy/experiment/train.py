"""Training as a question: what to train on which batches, for how long. Answered by `measure/train.py`."""

from dataclasses import dataclass, fields, replace

import numpy as np

from bstudy.errors import InvalidInput
from bstudy.experiment import Experiment, count, positive

MOST_REPLICAS = 8  # on one CPU
MOST_PHASES = 1000


@dataclass(frozen=True)
class Phase:
    """Training with nothing changed: so many epochs at one batch size and learning rate with one optimizer."""

    batch_size: int
    learning_rate: float
    epochs: int
    optimizer: str = "sgd"

    def __post_init__(self):
        set_field = object.__setattr__  # the one way to normalise a field of a frozen dataclass
        set_field(self, "batch_size", count("batch_size", self.batch_size))
        set_field(self, "learning_rate", positive("learning_rate", self.learning_rate))
        set_field(self, "epochs", count("epochs", self.epochs, most=100_000))
        if self.optimizer not in ("sgd", "adam"):
            raise InvalidInput(f"optimizer must be 'sgd' or 'adam', not {self.optimizer!r}")

    def goes_on_as(self, other):
        return replace(self, epochs=other.epochs) == other


@dataclass(frozen=True)
class Recipe(Experiment):
    """How to train: one phase after another.

    Recipe.sgd(batch_size=1024, learning_rate=0.01, epochs=30).then(batch_size=64)

    Its answer has columns
      test_accuracy, test_loss, train_accuracy, train_loss   (epochs + 1,)  before training and after each epoch; of the
          training set a fixed subset of at most 10,000; `Runs.final` gives both over the whole training set
      weight_distance, bias_distance, weight_norm, bias_norm (epochs + 1,)  of all kernels, or biases, as one vector
      cosines, layer_norms        (epochs + 1, layers)  each layer's kernel: the cosine to its initial value, its norm
      seconds                     (epochs,)  of training alone
      loss                        (steps,)   of each batch, before its step
      gradient_norm, update_norm  (steps,)   of all weights and biases as one vector, where `norms` asks for them
    From where the loss was no longer finite, all of them are NaN: the run diverged.
    """

    phases: tuple[Phase, ...]
    norms: bool = False

    GAPS = ("cosines",)  # of a kernel that begins at zero

    def __post_init__(self):
        merged = []
        for phase in self.phases:
            if merged and merged[-1].goes_on_as(phase):  # no change, no new phase: 30 epochs and 30 more are 60
                phase = replace(phase, epochs=merged.pop().epochs + phase.epochs)
            merged.append(phase)
        if not merged:
            raise InvalidInput("a recipe needs at least one phase")
        if len(merged) > MOST_PHASES:
            raise InvalidInput(f"a recipe has at most {MOST_PHASES} phases: change it less often")
        object.__setattr__(self, "phases", tuple(merged))

    @classmethod
    def sgd(cls, batch_size, learning_rate, epochs, norms=False):
        """Stochastic gradient descent without momentum."""
        return cls((Phase(batch_size, learning_rate, epochs),), norms)

    @classmethod
    def adam(cls, batch_size, learning_rate, epochs, norms=False):
        """Adam (Kingma and Ba 2015) with Keras's defaults."""
        return cls((Phase(batch_size, learning_rate, epochs, "adam"),), norms)

    def then(self, **changes):
        """This recipe gone on with; what `changes` does not name stays as in the last phase, the epochs too."""
        known = [field.name for field in fields(Phase)]
        for name in changes:
            if name not in known:
                raise InvalidInput(f"a phase has no {name!r}; it has {', '.join(known)}")
        return replace(self, phases=(*self.phases, replace(self.phases[-1], **changes)))

    @property
    def epochs(self):
        return sum(phase.epochs for phase in self.phases)

    @property
    def batch_size(self):
        """That of the last phase."""
        return self.phases[-1].batch_size

    def phase(self, epoch):
        """The phase that the epoch with this number, from 0, belongs to."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase
            epoch -= phase.epochs
        raise IndexError("no such epoch")

    def steps(self, samples):
        """(epochs + 1,) how many steps are taken before training and after each epoch over so many samples."""
        return np.cumsum([0, *(-(-samples // self.phase(epoch).batch_size) for epoch in range(self.epochs))])

    def cut(self, epochs):
        """The first so many epochs of this recipe."""
        phases = []
        for phase in self.phases:
            if epochs > 0:
                phases.append(replace(phase, epochs=min(phase.epochs, epochs)))
            epochs -= phase.epochs
        return replace(self, phases=tuple(phases))

    def on(self, replicas):
        return self if replicas == 1 else Replicated(self.phases, self.norms, replicas)

    def starts(self):
        return (replace(self, phases=self.phases[:-1]),) if len(self.phases) > 1 else ()

    def beginnings(self):
        return ((epochs / self.epochs, self.cut(epochs)) for epochs in range(self.epochs - 1, 0, -1))

    def check(self, dataset):
        for phase in self.phases:
            if phase.batch_size > len(dataset.x_train):
                raise InvalidInput(
                    f"batch_size {phase.batch_size} is larger than the training set of {dataset.name}, "
                    f"which has {len(dataset.x_train)} samples"
                )

    def guess(self, dataset):
        samples, weights = len(dataset.x_train), dataset.architecture.multiplications()
        evaluated = min(samples, 10_000) + len(dataset.x_test)
        return sum(
            phase.epochs
            * (
                weights * (6 * samples + 2 * evaluated) / 2e11  # floating-point operations
                + weights * (3 if phase.optimizer == "sgd" else 9) * 4 / 3e10 * (samples / phase.batch_size)  # bytes
                + 0.01
            )
            for phase in self.phases
        )

    def reached(self, share):
        return f"epoch {share * self.epochs:.0f} of {self.epochs}"

    def summary(self, run):
        return {
            name: run.final(name) for name in ("train_accuracy", "test_accuracy", "weight_distance", "bias_distance")
        }

    def __str__(self):
        words = []
        for before, phase in zip((None, *self.phases), self.phases, strict=False):
            changed = before is None or before.optimizer != phase.optimizer
            text = "Adam " if changed and phase.optimizer == "adam" else "SGD " if changed and before else ""
            if before is None or before.batch_size != phase.batch_size:
                text += f"{phase.batch_size} "
            if before is None or before.learning_rate != phase.learning_rate:
                text += f"at {phase.learning_rate:g} "
            words.append(f"{text}for {phase.epochs}")
        return ", then ".join(words) + (" epoch" if self.phases[-1].epochs == 1 else " epochs")

    def __repr__(self):
        first, *later = self.phases
        norms = ", norms=True" if self.norms else ""
        text = f"Recipe.{first.optimizer}({first.batch_size}, {first.learning_rate!r}, {first.epochs}{norms})"
        for before, phase in zip(self.phases, later, strict=False):
            changes = {f.name: getattr(phase, f.name) for f in fields(Phase)}
            changes = {name: value for name, value in changes.items() if value != getattr(before, name)}
            text += f".then({', '.join(f'{name}={value!r}' for name, value in changes.items())})"
        return text


@dataclass(frozen=True)
class Replicated(Recipe):
    """A Recipe trained on several replicas: each takes a share of every batch, as even as it can be; the gradients are
    summed over the true batch, and every replica takes the same step. Its columns are those of a Recipe.

    Replicated(Recipe.sgd(64, 0.01, 30).phases, replicas=4)
    """

    replicas: int = 2

    def __post_init__(self):
        super().__post_init__()
        if count("replicas", self.replicas) > MOST_REPLICAS:
            raise InvalidInput(f"replicas must be at most {MOST_REPLICAS}, not {self.replicas}")

    def on(self, replicas):
        return self  # how many is the question

    def __str__(self):
        return f"{super().__str__()} on {self.replicas} replica{'s' * (self.replicas > 1)}"
