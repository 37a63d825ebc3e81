"""Questions about the loss around trained weights. Answered by `measure/landscape.py`."""

from dataclasses import dataclass

from bstudy.experiment import Experiment, count, positive
from bstudy.experiment.train import Recipe


@dataclass(frozen=True)
class Sharpness(Experiment):
    """How fast the loss rises around trained weights x. f is the mean loss over a fixed, random part of the training
    set, of at most `samples`, the same for every point and seed.

    Metric 2.1 of Keskar et al. (2017), for each of the `epsilons`,

        100 (max f(x + y) - f(x)) / (1 + f(x))   over   |y_i| <= epsilon (|x_i| + 1),

    the maximum as at most ten iterations of L-BFGS-B find it from y = 0, over all weights and biases; and, as a second
    opinion, the largest eigenvalue of the Hessian of f, by Lanczos iteration on Hessian-vector products. `rescaled`
    multiplies the first layer and divides the second layer's kernel by it: a ReLU network computes the same function
    after that as before (Dinh et al. 2017).

    Its answer has columns
      sharpness    (epsilons,)
      rise         (epsilons,)  max f(x + y) - f(x), in nats
      evaluations  (epsilons,)  of f and its gradient
      loss         ()  f(x), in nats
      resolution   ()  the float32 spacing at f(x), in nats: a smaller rise cannot be told from none
      eigenvalue   ()  in nats per squared unit of weight
      products     ()  of the Hessian with a vector
    """

    at: Recipe
    epsilons: tuple[float, ...] = (1e-3, 5e-4)
    rescaled: float = 1.0
    samples: int = 5000

    GRADIENTS = 15  # about how many are computed for one epsilon
    PRODUCTS = 25

    def __post_init__(self):
        set_field = object.__setattr__
        set_field(self, "epsilons", tuple(positive("epsilons", epsilon) for epsilon in self.epsilons))
        set_field(self, "rescaled", positive("rescaled", self.rescaled))
        set_field(self, "samples", count("samples", self.samples))

    def starts(self):
        return (self.at,)

    def guess(self, dataset):
        gradients = self.GRADIENTS * len(self.epsilons) + 3 * self.PRODUCTS
        weights, samples = dataset.architecture.multiplications(), min(self.samples, len(dataset.x_train))
        return 6 * gradients * weights * samples / 2e11 + 3e-6 * weights * len(self.epsilons)  # SciPy's bounds

    def summary(self, run):
        sharpness = {f"φ, ε = {epsilon:g}": run["sharpness"][:, i] for i, epsilon in enumerate(self.epsilons)}
        return sharpness | {name: run[name] for name in ("eigenvalue", "loss")}

    def __str__(self):
        rescaled = f", layers rescaled by {self.rescaled:g}" if self.rescaled != 1 else ""
        return f"around {self.at}{rescaled}: sharpness"


@dataclass(frozen=True)
class Line(Experiment):
    """The loss and accuracy on the straight line f(α x_large + (1 - α) x_small) through two trained points, after
    Goodfellow et al. (2015) and Keskar et al. (2017).

    Its answer has columns
      alpha  (points,)  from -1 to 2: the small batch's weights are at 0, the large one's at 1
      train_loss, train_accuracy, test_loss, test_accuracy  (points,)  train as after an epoch of a Recipe
    """

    small: Recipe
    large: Recipe
    points: int = 25

    def __post_init__(self):
        object.__setattr__(self, "points", count("points", self.points))

    def starts(self):
        return (self.small, self.large)

    def guess(self, dataset):
        evaluated = min(len(dataset.x_train), 10_000) + len(dataset.x_test)
        return self.points * (0.01 + 2 * dataset.architecture.multiplications() * evaluated / 1.5e11)

    def summary(self, run):
        return {f"highest {name}": run[name].max(axis=1) for name in ("train_accuracy", "test_accuracy")}

    def __str__(self):
        return f"the line from {self.small} to {self.large}"
