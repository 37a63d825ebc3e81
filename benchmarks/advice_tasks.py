"""The tasks on which the advice is tested: data and compiled models of several kinds, each with three optimizers."""

import ast
import hashlib
import os
import re
from collections import Counter
from pathlib import Path

import keras
import numpy as np

MNIST = Path(os.environ.get("BSTUDY_MNIST", "mnist.npz"))
OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(),
    "momentum": lambda: keras.optimizers.SGD(momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(),
}
WORDS, LENGTH, TEXT_CLASSES = 2000, 32, 8


def digits():
    from bstudy import load

    data = load("digits")
    return data.x_train, data.y_train, data.x_test, data.y_test


def mnist():
    from bstudy import load

    data = load(MNIST)
    return data.x_train, data.y_train, data.x_test, data.y_test


def cancer():
    """scikit-learn's breast cancer: 569 rows of 30 numbers, labels of shape (n, 1)."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), y[:, None]


def friedman():
    """A regression of 4,000 rows: Friedman's first function of 10 inputs, with noise."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(4000, noise=1.0, random_state=0)
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def text():
    """Python's own documentation strings: 32 words, of which of its 8 longest modules?"""
    windows = {}
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        found = " ".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds))
        words = [
            int(hashlib.md5(word.encode()).hexdigest(), 16) % WORDS for word in re.findall("[a-z]+", found.lower())
        ]
        windows[path.stem] = [words[i : i + LENGTH] for i in range(0, len(words) - LENGTH, LENGTH // 4)]
    longest = Counter({name: len(rows) for name, rows in windows.items()}).most_common(TEXT_CLASSES)
    x = np.concatenate([windows[name] for name, _ in longest])
    return x, np.repeat(np.arange(TEXT_CLASSES), [count for _, count in longest])


def classifier(*layers, inputs, classes):
    model = keras.Sequential([keras.Input(inputs), *layers, keras.layers.Dense(classes)])
    return model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]


def wide(inputs):
    layers = keras.layers
    hidden = [layers.Dense(1024, activation="relu") for _ in range(2)]
    return classifier(layers.Flatten(), *hidden, inputs=inputs, classes=10)


def convolutional():
    layers = keras.layers
    parts = [layers.Reshape((8, 8, 1))]
    for filters in (16, 32):
        parts += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    return classifier(*parts, layers.Flatten(), layers.Dense(64, activation="relu"), inputs=(8, 8), classes=10)


def tanh():
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(32, "tanh"), keras.layers.Dense(1)])
    return model, keras.losses.BinaryCrossentropy(from_logits=True), []


def regression():
    hidden = [keras.layers.Dense(64, "relu") for _ in range(2)]
    return keras.Sequential([keras.Input((10,)), *hidden, keras.layers.Dense(1)]), "mse", []


def embedding():
    layers = keras.layers
    parts = [layers.Embedding(WORDS, 32), layers.GlobalAveragePooling1D(), layers.Dense(64, "relu")]
    return classifier(*parts, inputs=(LENGTH,), classes=TEXT_CLASSES)


# name -> data, model, and the epochs after which the final loss is taken
TASKS = {
    "digits mlp": (digits, lambda: wide((8, 8)), 60),
    "digits cnn": (digits, convolutional, 60),
    "MNIST mlp": (mnist, lambda: wide((28, 28)), 4),
    "breast cancer": (cancer, tanh, 200),
    "regression": (friedman, regression, 100),
    "text": (text, embedding, 60),
}


def build(task: str, optimizer: str):
    """Return a function that returns the compiled model of a task."""

    def make():
        model, loss, metrics = TASKS[task][1]()
        model.compile(OPTIMIZERS[optimizer](), loss, metrics=metrics)
        return model

    return make
