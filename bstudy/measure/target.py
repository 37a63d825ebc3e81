"""Training to a test accuracy, evaluated on a clock of samples seen, and stopped there."""

import math

import numpy as np

from bstudy.measure import about
from bstudy.measure.model import evaluate, initial_weights, put, shared, stored_weights, weights_of
from bstudy.measure.train import epoch_in_calls, epoch_order, on_device, restarted, state_of
from bstudy.store import Result

EVALUATIONS = 16  # an epoch


def measure(target, dataset, seed, begun, starts):
    """Train until the target is reached; see `bstudy.measure` for what is yielded, and Target for the columns."""
    phase, samples = target.phase, len(dataset.x_train)
    data, model = on_device(dataset), shared(dataset.architecture)
    put(model, stored_weights(begun) if begun else initial_weights(dataset.architecture, seed))
    optimizer = restarted(model, phase.optimizer, begun and begun.state)
    optimizer.learning_rate = phase.learning_rate
    epoch, seconds = (begun.about["epoch"], begun.about["seconds"]) if begun else (0, 0.0)
    steps_an_epoch = math.ceil(samples / phase.batch_size)
    steps_a_call = max(1, steps_an_epoch // EVALUATIONS)
    finished, reached = Result({}), (np.inf, np.inf)

    while epoch < phase.epochs and reached == (np.inf, np.inf):
        order = epoch_order(samples, seed, epoch)
        for share, values, elapsed in epoch_in_calls(
            model, optimizer, data, order, phase.batch_size, False, steps_a_call
        ):
            seconds += elapsed
            loss, accuracy = evaluate(model, data["x_test"], data["y_test"])
            if not (np.isfinite(values).all() and np.isfinite(loss)):
                reached = np.nan, np.nan
            elif accuracy >= target.accuracy:
                reached = epoch * steps_an_epoch + math.ceil(share * samples / phase.batch_size), epoch + share
            if reached != (np.inf, np.inf):
                break
            yield (epoch + share) / phase.epochs, finished
        epoch += 1
        here = about() | {"epoch": epoch, "seconds": seconds}
        finished = Result({}, state_of(weights_of(model), optimizer), here, epoch / phase.epochs)

    steps, epochs = reached
    columns = {"steps": steps, "epochs": epochs, "seconds": seconds if np.isfinite(steps) else steps}
    yield 1.0, Result({name: np.float64(value) for name, value in columns.items()}, {}, about(), 1.0)
