"""The same steps on several replicas: each takes a share of a batch, their gradients are summed, all take one step.

On one device a whole segment of an epoch is one compiled program. Devices that wait for each other cannot be in one:
here the gradients are compiled, and summing them and taking the step is not.
"""

import functools

import tensorflow as tf

from bstudy.measure import replica_devices
from bstudy.measure.model import cross_entropy, norm


@functools.cache
def strategy_of(replicas):
    """The strategy of training on so many replicas."""
    # not TensorFlow's collectives, which take one number of replicas for the life of a process
    reduction = tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(replica_devices()[:replicas], cross_device_ops=reduction)


def on_every_replica(strategy, tensor):
    """A copy on each replica's device; the parts of one CPU share their memory."""
    if not tf.config.list_logical_devices("GPU"):
        return tensor
    return strategy.experimental_distribute_values_from_function(lambda _: tf.identity(tensor))


def shares(batch_size, replicas):
    """[(first, size)] of each replica's share of a batch: as even as can be, some empty where there are few samples."""
    sizes = [batch_size // replicas + (i < batch_size % replicas) for i in range(replicas)]
    return [(sum(sizes[:i]), size) for i, size in enumerate(sizes)]


@functools.cache
def replicated_steps(strategy, model, optimizer, batch_size, norms):
    """What `compiled_steps` gives, on the replicas of a strategy; x and y are copies on every replica."""
    share = shares(batch_size, strategy.num_replicas_in_sync)

    def loss_and_gradients(x, y, rows):
        """Of a share: summed over it, divided by the size of the whole batch."""
        with tf.GradientTape() as tape:
            logits = model(tf.gather(x, rows), training=True)
            loss = tf.reduce_sum(cross_entropy(tf.gather(y, rows), logits)) / batch_size
        return loss, tape.gradient(loss, model.trainable_variables)

    # one for each replica, since a trace holds the variables of the replica that it was made on
    compiled = [tf.function(loss_and_gradients, jit_compile=True) for _ in share]

    def step(x, y, batch):
        replica = tf.distribute.get_replica_context()
        number = tf.get_static_value(replica.replica_id_in_sync_group)
        first, size = share[number]
        loss, gradients = compiled[number](x, y, tf.slice(batch, [first], [size]))
        before = [tf.identity(variable) for variable in model.trainable_variables] if norms else []
        pairs = zip(gradients, model.trainable_variables, strict=True)
        optimizer.apply_gradients(pairs)  # Keras sums them over replicas
        values = [replica.all_reduce("SUM", loss)]
        if norms:
            updates = [new - old for new, old in zip(model.trainable_variables, before, strict=True)]
            values += [norm(replica.all_reduce("SUM", gradients)), norm(updates)]
        return values

    @tf.function
    def steps(x, y, order, offset, first, last):
        measured = [tf.TensorArray(tf.float32, order.shape[0] // batch_size) for _ in range(3 if norms else 1)]
        i = first
        while i < last:
            batch = tf.slice(order, [offset + i * batch_size], [batch_size])
            values = strategy.run(step, args=(x, y, batch))
            values = [strategy.experimental_local_results(value)[0] for value in values]
            measured = [array.write(i, value) for array, value in zip(measured, values, strict=True)]
            i += 1
        return [array.stack() for array in measured]

    return steps
