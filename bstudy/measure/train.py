"""Training by a recipe: one step as the mathematics has it, and a dull compiled loop around it."""

import contextlib
import functools
import hashlib
import time

import keras
import numpy as np
import tensorflow as tf

from bstudy.experiment.train import Replicated
from bstudy.measure import about
from bstudy.measure.cluster import agreed, cluster, connected
from bstudy.measure.model import (
    cross_entropy,
    distances,
    evaluate,
    initial_weights,
    norm,
    put,
    shared,
    stored_weights,
    trained,
    weights_of,
    xla,
)
from bstudy.measure.replicas import on_every_replica, replicated_steps, strategy_of
from bstudy.store import Result

SECONDS_A_CALL = 1.0  # a compiled call cannot be interrupted
STEPS_A_CALL = 50  # on replicas, where all machines must make the same calls
RUNNING_SUBSET = 10_000  # of the training set, evaluated after each epoch


def loss_and_gradients(model, variables, x, y, training=True):
    """The mean loss of one batch, and its gradients with respect to `variables`."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cross_entropy(y, model(x, training=training)))
    return loss, tape.gradient(loss, variables)


def step(model, optimizer, x, y):
    """One step of gradient descent on one batch; gives the mean loss before it, and the gradients."""
    loss, gradients = loss_and_gradients(model, model.trainable_variables, x, y)
    optimizer.apply(gradients, model.trainable_variables)
    return loss, gradients


def batches_of(x, y, order):
    """In a compiled call: batch(first, size) gives the samples, and their labels, that are next in this order."""
    rows = tf.reshape(x, [x.shape[0], -1])  # XLA gathers rows faster than images

    def batch(first, size):
        taken = tf.slice(order, [first], [size])
        return tf.reshape(tf.gather(rows, taken), [size, *x.shape[1:]]), tf.gather(y, taken)

    return batch


def optimizer_of(model, name, strategy=None):
    """The one optimizer of this name for this model."""
    return _optimizer_of(model, name, strategy)


@functools.cache
def _optimizer_of(model, name, strategy):
    with strategy.scope() if strategy else contextlib.nullcontext():
        optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[name]()
        optimizer.build(model.trainable_variables)
    return optimizer


@functools.cache
def compiled_steps(model, optimizer, batch_size, norms):
    """A compiled call that takes the steps from `first` to before `last` of an epoch, one call for every such segment.

    The batch of step i is `order[offset + i * batch_size :][:batch_size]`. Gives tensors (steps,), filled from `first`
    to before `last`: the loss, and where asked for the norms of gradient and update.
    """

    @tf.function(jit_compile=xla(model))
    def steps(x, y, order, offset, first, last):
        batch = batches_of(x, y, order)
        measured = [tf.TensorArray(tf.float32, order.shape[0] // batch_size) for _ in range(3 if norms else 1)]
        i = first
        while i < last:  # not `for i in tf.range(first, last)`, which XLA compiles again for each pair of bounds
            before = [tf.identity(variable) for variable in model.trainable_variables] if norms else []
            loss, gradients = step(model, optimizer, *batch(offset + i * batch_size, batch_size))
            values = [loss]
            if norms:
                updates = [new - old for new, old in zip(model.trainable_variables, before, strict=True)]
                values += [norm(gradients), norm(updates)]
            measured = [array.write(i, value) for array, value in zip(measured, values, strict=True)]
            i += 1
        return [array.stack() for array in measured]

    return steps


@functools.lru_cache(maxsize=1)
def on_device(dataset):
    return {name: tf.constant(getattr(dataset, name)) for name in ("x_train", "y_train", "x_test", "y_test")}


@functools.lru_cache(maxsize=2)
def random_part(dataset, samples):
    """At most so many samples of the training set, and their labels: always the same ones, drawn once at random."""
    rows = np.sort(np.random.default_rng(0).permutation(len(dataset.x_train))[:samples])
    return tf.constant(dataset.x_train[rows]), tf.constant(dataset.y_train[rows])


def epoch_order(samples, seed, epoch):
    """The order of the samples in this epoch: a full permutation that depends on the seed and the epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(samples).astype(np.int32)


def epoch_in_calls(
    model,
    optimizer,
    data,
    order,
    batch_size,
    norms,
    steps_a_call=None,
    steps_of=compiled_steps,
    seconds_a_call=SECONDS_A_CALL,
):
    """Train for one epoch; after about so many seconds, or so many steps, yield the share of it done, the columns per
    step, and the seconds.

    The whole batches come first, then the smaller last one, which is a single step of another batch size.
    """
    whole, left = divmod(len(order), batch_size)
    order, most = tf.constant(order), steps_a_call or 16
    for size, offset, steps in ((batch_size, 0, whole), (left, whole * batch_size, 1)):
        if size == 0:
            continue
        compiled = steps_of(model, optimizer, size, norms)
        call = functools.partial(compiled, data["x_train"], data["y_train"], order, tf.constant(offset))
        call(tf.constant(0), tf.constant(0))  # takes no step, but compiles: no measured second holds a compilation
        first = 0
        while first < steps:
            last = min(first + most, steps)
            started = time.perf_counter()
            values = [value.numpy()[first:last] for value in call(tf.constant(first), tf.constant(last))]
            seconds = time.perf_counter() - started
            most = steps_a_call or max(1, int(seconds_a_call * (last - first) / seconds))
            first = last
            yield (offset + last * size) / order.shape[0], np.array(values), seconds


def measure(recipe, dataset, seed, begun=None, starts=()):
    """Train by this recipe; see `bstudy.measure` for what is yielded, and Recipe for the columns.

    `begun` may be a Result of this recipe so far, or the complete one of any recipe that begins like it.
    """
    data, subset = on_device(dataset), random_part(dataset, RUNNING_SUBSET)
    strategy = strategy_of(recipe.replicas) if isinstance(recipe, Replicated) else cluster()
    model, steps_of, samples = shared(dataset.architecture, strategy), compiled_steps, data
    restart = functools.partial(restarted, model, strategy=strategy)
    if strategy:
        steps_of = functools.partial(replicated_steps, strategy)
        samples = {name: on_every_replica(strategy, data[name]) for name in ("x_train", "y_train")}
    initial = initial_weights(dataset.architecture, seed)
    origin = hashlib.sha256(b"".join(weight.tobytes() for weight in initial)).hexdigest()
    if begun is not None and (begun.about["origin"] != origin or not len(begun.columns["seconds"])):
        begun = None  # another version of Keras drew other initial weights, or there is nothing to go on from

    def judge():
        """What is measured after each epoch, of the weights as they stand."""
        row = distances(trained(model, weights), trained(model, initial))
        row["train_loss"], row["train_accuracy"] = evaluate(model, *subset)
        row["test_loss"], row["test_accuracy"] = evaluate(model, data["x_test"], data["y_test"])
        return row

    def so_far():
        arrays = {name: np.asarray(values, np.float32) for name, values in columns.items()}
        facts = {"origin": origin, "parameters": model.count_params(), "diverged": diverged}
        facts["replicas"] = strategy.num_replicas_in_sync if strategy else 1
        return Result(arrays, state_of(weights, optimizer), about() | facts, epoch / recipe.epochs)

    per_step = ["loss", "gradient_norm", "update_norm"] if recipe.norms else ["loss"]
    epoch, diverged = (len(begun.columns["seconds"]), begun.about["diverged"]) if begun else (0, False)
    weights = stored_weights(begun) if begun else initial
    epoch, diverged, *weights = agreed(strategy, epoch, diverged, *weights)
    epoch, diverged = int(epoch), bool(diverged)
    put(model, weights)
    optimizer = restart(recipe.phase(max(0, epoch - 1)).optimizer, begun and begun.state)
    assign(optimizer, agreed(strategy, *(variable.numpy() for variable in optimizer.variables)))
    if begun is None:
        columns = {name: [value] for name, value in judge().items()} | {name: [] for name in ("seconds", *per_step)}
    else:
        columns = {name: list(values) for name, values in begun.columns.items() if not name.startswith("final_")}
    finished = so_far()

    while epoch < recipe.epochs and not diverged:
        phase = recipe.phase(epoch)
        if epoch and phase.optimizer != recipe.phase(epoch - 1).optimizer:
            optimizer = restart(phase.optimizer)
        optimizer.learning_rate = phase.learning_rate

        parts, seconds = [], 0.0
        order = epoch_order(len(dataset.x_train), seed, epoch)
        settings = phase.batch_size, recipe.norms, STEPS_A_CALL if strategy else None, steps_of
        with connected():
            for share, values, elapsed in epoch_in_calls(model, optimizer, samples, order, *settings):
                parts.append(values)
                seconds += elapsed
                if diverged := not np.isfinite(values[0]).all():
                    break
                yield (epoch + share) / recipe.epochs, finished

        weights = weights_of(model)
        row = judge() | {"seconds": seconds}
        diverged = diverged or not np.isfinite([row["train_loss"], row["test_loss"]]).all()
        if not diverged:
            for name, value in row.items():
                columns[name].append(value)
            for name, values in zip(per_step, np.concatenate(parts, axis=1), strict=True):
                columns[name].extend(values)
            epoch += 1
            finished = so_far()

    if diverged:
        finished.about["diverged"] = True
        fill_with_nan(finished.columns, recipe, len(dataset.x_train))
    loss, accuracy = (np.nan, np.nan) if diverged else evaluate(model, data["x_train"], data["y_train"])
    finished.columns |= {"final_train_loss": np.float32(loss), "final_train_accuracy": np.float32(accuracy)}
    finished.share = 1.0
    yield 1.0, finished


def state_of(weights, optimizer):
    """What a later call goes on from: a Result's state."""
    return {f"weight_{i}": weight for i, weight in enumerate(weights)} | {
        f"optimizer_{i}": variable.numpy() for i, variable in enumerate(optimizer.variables)
    }


def restarted(model, name, state=None, strategy=None):
    """The optimizer of this name as new, or with its variables as a Result's `state` has them."""
    optimizer = optimizer_of(model, name, strategy)
    new = [np.zeros(variable.shape, variable.dtype) for variable in optimizer.variables]
    assign(optimizer, [state[f"optimizer_{i}"] for i in range(len(new))] if state else new)
    return optimizer


def assign(optimizer, values):
    for variable, value in zip(optimizer.variables, values, strict=True):
        variable.assign(value)


def fill_with_nan(columns, recipe, samples):
    """Give the columns of a run that diverged the lengths that they would have had."""
    steps = recipe.steps(samples)[-1]
    lengths = {"loss": steps, "gradient_norm": steps, "update_norm": steps, "seconds": recipe.epochs}
    for name, values in columns.items():
        missing = lengths.get(name, recipe.epochs + 1) - len(values)
        columns[name] = np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1), constant_values=np.nan)
