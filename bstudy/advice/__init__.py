"""Advice for anyone's Keras model: the batch size and the learning rate that reach a loss in the least time."""
