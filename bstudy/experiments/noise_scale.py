"""The gradient noise scale: how noisy a single sample's gradient is, compared with the mean gradient."""

from dataclasses import dataclass

import numpy as np

from bstudy import stats
from bstudy.backend import tf
from bstudy.errors import InvalidInput
from bstudy.experiments.base import Experiment, Work, checked, positive_int
from bstudy.experiments.recipe import Recipe
from bstudy.store import Result
from bstudy.trainer import Trainer, loss_and_gradients, take_rows


@dataclass(frozen=True)
class NoiseScale(Experiment):
    """Estimates of tr Σ and ‖g‖², whose ratio is the noise scale, at trained weights.

    From the squared norms of the gradient of a large batch, ‖G_L‖², and of its parts, with mean ‖G_S‖², each batch
    gives two unbiased estimates (L and S are the batch sizes):

        ‖g‖²  =  (L ‖G_L‖² − S ‖G_S‖²) / (L − S)
        tr Σ  =  (‖G_S‖² − ‖G_L‖²) / (1 / S − 1 / L)

    The noise scale is the ratio of their means, `stats.noise_scale`; a mean of ratios would be biased. After
    McCandlish, Kaplan, Amodei et al. (2018), appendix A.1.

    Columns:
        noise_trace: (batches,) of tr Σ, the trace of the covariance of a single sample's gradient.
        squared_gradient_norm: (batches,) of ‖g‖², of the mean gradient; single estimates can be negative.

    Args:
        trained: The training whose final weights are used.
        small_batch_size: S.
        large_batch_size: L, a multiple of S.
        batches: How many large batches to draw, with replacement.
    """

    KIND = "noise_scale"
    EXTENDS = "batches"

    trained: Recipe
    small_batch_size: int = checked(positive_int, default=32)
    large_batch_size: int = checked(positive_int, default=1024)
    batches: int = checked(positive_int, default=30)

    def __post_init__(self):
        super().__post_init__()
        small, large = self.small_batch_size, self.large_batch_size
        if large <= small or large % small:
            raise InvalidInput(f"large_batch_size must be a multiple of small_batch_size, {small}, not {large}")

    def work(self, dataset):
        parts = self.large_batch_size // self.small_batch_size
        programs = frozenset([(self.KIND, self.small_batch_size, parts)])
        return Work(self.batches * self.large_batch_size, self.batches * 2 * parts, programs=programs)

    def table(self, run):
        return {"noise scale": stats.noise_scale(run["noise_trace"], run["squared_gradient_norm"])}

    def measure(self, context):
        trainer, small, large = context.trainer, self.small_batch_size, self.large_batch_size
        trainer.set_weights(context.trained_weights())
        squared_norms = trainer.cached(make_squared_norms, small, large // small)
        traces, squares = [], []
        if context.resume_from is not None:
            traces = list(context.resume_from.columns["noise_trace"])
            squares = list(context.resume_from.columns["squared_gradient_norm"])
        while True:
            columns = {"noise_trace": np.float32(traces), "squared_gradient_norm": np.float32(squares)}
            progress = len(traces) / self.batches
            yield progress, Result(columns, progress=progress)
            if progress == 1:
                return
            random = np.random.default_rng([context.seed, len(traces), large])
            rows = random.integers(len(context.dataset.x_train), size=large, dtype=np.int32)
            of_small, of_large = map(float, squared_norms(*trainer.training_data, tf.constant(rows)))
            trace, square = noise_estimates(of_small, of_large, small, large)
            traces.append(trace)
            squares.append(square)

    def __str__(self):
        return f"noise scale after {self.trained}"


def noise_estimates(of_small, of_large, small: int, large: int) -> tuple:
    """Return the unbiased estimates of tr Σ and ‖g‖² from the mean ‖G‖² of batches of two sizes."""
    trace = (of_small - of_large) / (1 / small - 1 / large)
    return trace, (large * of_large - small * of_small) / (large - small)


def squared_norm(gradients):
    """Return ‖G‖² of a list of tensors as one vector."""
    return tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients])


def make_squared_norms(trainer: Trainer, size: int, parts: int):
    """Return a compiled function of drawn rows: the mean of ‖G‖² over their parts, and ‖G‖² of all together."""
    model, variables = trainer.model, trainer.model.trainable_variables

    @tf.function(jit_compile=trainer.use_xla)
    def squared_norms(x, y, rows):
        mean, total, i = tf.constant(0.0), [tf.zeros_like(variable) for variable in variables], tf.constant(0)
        while i < parts:
            batch = take_rows(x, y, tf.slice(rows, [i * size], [size]))
            _, gradients = loss_and_gradients(model, variables, *batch)
            mean += squared_norm(gradients) / parts
            total = [before + gradient / parts for before, gradient in zip(total, gradients, strict=True)]
            i += 1
        return mean, squared_norm(total)

    return squared_norms
