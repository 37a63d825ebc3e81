"""The book's models, and a reader's own, with everything that a model keeps besides weights."""

import importlib
import json
import sys
import tempfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from bstudy import Interpolation, Lab, Memory, Recipe, Sharpness
from bstudy.backend import random_seed
from bstudy.errors import BstudyError, InvalidInput
from bstudy.models import CNN, MLP, build_model, find_model

OWN = """
import os
import keras

def normalized(input_shape, classes):
    layers = [keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(8, activation="relu"),
              keras.layers.BatchNormalization(), keras.layers.Dropout(0.2), keras.layers.Dense(classes)]
    return keras.Sequential(layers)

def small(input_shape, classes):
    layers = keras.layers
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(8, activation="relu"),
                             layers.Dense(8, activation="relu"), layers.Dense(classes)])

def wrong_classes(input_shape, classes):
    return small(input_shape, classes + 1)

def wrong_shape(input_shape, classes):
    return small((5, 5), classes)

def fixed_batch(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape, batch_size=16), *small(input_shape, classes).layers])

def ending_in(last, input_shape, classes, **options):
    layers = [keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(classes, **options)]
    return keras.Sequential(layers + ([last] if last else []))

def softmax_activation(input_shape, classes):
    return ending_in(None, input_shape, classes, activation="softmax")

def sigmoid(input_shape, classes):
    return ending_in(None, input_shape, classes, activation="sigmoid")

def log_softmax(input_shape, classes):
    return ending_in(None, input_shape, classes, activation="log_softmax")

def relu_last(input_shape, classes):
    return ending_in(None, input_shape, classes, activation="relu")

def zeros(input_shape, classes):
    return ending_in(None, input_shape, classes, kernel_initializer="zeros")

def softmax_layer(input_shape, classes):
    return ending_in(keras.layers.Softmax(), input_shape, classes)

def nested_softmax(input_shape, classes):
    return ending_in(keras.Sequential([keras.Input((classes,)), keras.layers.Softmax()]), input_shape, classes)

def softmax_operation(input_shape, classes):
    model = small(input_shape, classes)
    return keras.Model(model.inputs[0], keras.ops.softmax(model.outputs[0]))

def regularized(input_shape, classes):
    return ending_in(None, input_shape, classes, kernel_regularizer="l2")

def regularized_activity(input_shape, classes):
    return ending_in(None, input_shape, classes, activity_regularizer="l2")

def same_object(input_shape, classes, made=[]):
    made or made.append(small(input_shape, classes))
    return made[0]

hidden = keras.layers.Dense(8, activation="relu")

def shared_layer(input_shape, classes):
    layers = keras.layers
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), hidden, layers.Dense(classes)])

def unseeded(input_shape, classes):
    kernel = keras.initializers.Constant(int.from_bytes(os.urandom(4)) / 2**32)
    return ending_in(None, input_shape, classes, kernel_initializer=kernel)

def compiled(input_shape, classes):
    model = small(input_shape, classes)
    model.compile("adam", "mse")
    return model

class OwnStep(keras.Sequential):
    def train_step(self, data):
        return {}

def own_train_step(input_shape, classes):
    return OwnStep([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])

def flipped(input_shape, classes):
    layers = [keras.layers.Reshape((*input_shape, 1)), keras.layers.RandomFlip(), keras.layers.RandomTranslation(1, 1)]
    return keras.Sequential([keras.Input(input_shape), *layers, *small(input_shape, classes).layers])

class Full(keras.layers.Layer):
    def call(self, x):
        if x.shape[0] == 50:
            raise MemoryError("no room")
        return x

def fails_on_call(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), Full(), *small(input_shape, classes).layers])

def exits(input_shape, classes):
    raise SystemExit(0)

def half_precision(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),
                             keras.layers.Dense(classes, dtype="float16")])

class Narrow(keras.layers.Layer):
    def call(self, x):
        if x.shape[0] == 16:
            raise MemoryError("no room")
        return x

def fails(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), Narrow(), *small(input_shape, classes).layers])

def nothing(input_shape, classes):
    pass

def raises(input_shape, classes):
    raise RuntimeError("no such layer")

def without_input(input_shape, classes):
    return keras.Sequential([keras.layers.Dense(classes)])

constant = 3
"""


PRINTING = """
print("imported")

def prints(input_shape, classes):
    os.system("echo called")
    model = keras.Sequential([keras.Input(input_shape), Narrow(), *small(input_shape, classes).layers])
    model.summary()
    return model
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """own(function) returns the ModelSpec of a function in a reader's module, which is in the working directory."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "readers.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.delitem(sys.modules, "readers", raising=False)
        yield lambda function: find_model(f"readers:{function}")


def test_the_mlp_has_two_hidden_layers_of_1024_units():
    model = build_model(MLP, (28, 28), 10)
    assert [weight.shape for weight in model.weights] == [
        *[(784, 1024), (1024,)],
        *[(1024, 1024), (1024,)],
        *[(1024, 10), (10,)],
    ]


def test_the_cnn_takes_gray_and_color_images():
    assert build_model(CNN, (28, 28), 10).count_params() == 105_866
    assert build_model(CNN, (32, 32, 3), 10).output_shape == (None, 10)


@pytest.mark.parametrize("spec", [MLP, CNN], ids=str)
def test_initial_weights_are_glorot_uniform_and_zero(spec):
    with random_seed(0):
        model = build_model(spec, (8, 8), 10)
    for variable in model.variables:
        values = variable.numpy()
        if values.ndim == 1:
            assert not values.any()
            continue
        field = np.prod(values.shape[:-2])  # of a convolution
        limit = np.sqrt(6 / (field * (values.shape[-2] + values.shape[-1])))
        assert np.abs(values).max() == pytest.approx(limit, rel=0.05)
        assert values.std() == pytest.approx(limit / 3**0.5, rel=0.1)


def test_the_cnn_learns_digits(tmp_path):
    run = Lab("digits", 1, quiet=True, model="cnn").run(Recipe.sgd(16, 0.1, 2))
    assert run.final("test_accuracy") > 85
    assert run["cosines"].shape == (1, 3, 4)


def test_only_dense_networks_are_compiled_with_xla(tiny, get_trainer):
    assert get_trainer(tiny).use_xla
    assert not get_trainer(tiny, CNN).use_xla


def test_everything_that_a_model_keeps_is_reset_and_resumed_to_the_same_bits(
    tiny, own, measure, get_trainer, assert_same_bits
):
    model, recipe = own("normalized"), Recipe.sgd(16, 0.1, 3)
    whole = measure(recipe, model=model)
    assert_same_bits(measure(recipe, model=model, resume_from=measure(recipe.first(2), model=model)), whole)
    weights = [name for name in whole.state if name.startswith("weight_")]
    assert len(weights) == 9  # six that are trained, two statistics, and what dropout draws from
    initial = get_trainer(tiny, model).initial_weights(0)
    assert not np.array_equal(whole.state["weight_4"], initial[4])
    assert whole.columns["weight_distance"][0] == 0
    assert whole.columns["bias_distance"][0] == 0


def test_the_trainable_part_has_the_trainable_shapes(tiny, own, get_trainer):
    trainer = get_trainer(tiny, own("normalized"))
    part = trainer.trainable_part(trainer.get_weights())
    assert [value.shape for value in part] == [tuple(variable.shape) for variable in trainer.model.trainable_variables]


def test_on_a_line_batch_normalization_has_the_statistics_of_the_weights_there(tiny, own, measure, get_trainer):
    spec, recipe = own("normalized"), Recipe.sgd(16, 0.1, 5)
    line = measure(Interpolation((recipe, recipe), 4), model=spec).columns
    state, trainer = measure(recipe, model=spec).state, get_trainer(tiny, spec)
    trainer.set_weights([state[f"weight_{i}"] for i in range(9)])
    model = trainer.model
    hidden_of = keras.Model(model.inputs[0], model.layers[1].output)
    train, test = hidden_of(tiny.x_train).numpy(), hidden_of(tiny.x_test).numpy()
    gamma, beta = model.layers[2].gamma.numpy(), model.layers[2].beta.numpy()
    kernel, bias = model.layers[-1].get_weights()
    logits = (gamma * (test - train.mean(0)) / np.sqrt(train.var(0) + 1e-3) + beta) @ kernel + bias
    loss = keras.losses.sparse_categorical_crossentropy(tiny.y_test, logits, from_logits=True).numpy().mean()
    np.testing.assert_allclose(line["test_loss"], loss, rtol=1e-4)


def test_sharpness_is_that_of_the_model_in_use(own, measure):
    spec, recipe = own("normalized"), Recipe.sgd(16, 0.1, 2)
    around = measure(Sharpness(recipe, (1e-3,)), model=spec).columns
    assert around["loss"] == pytest.approx(measure(recipe, model=spec).columns["final_train_loss"], rel=1e-5)
    assert around["rise"] > 0


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """write_module(name, text) writes a module into the working directory, as a user does between two commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        for module in ("user", "helper", "edited"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()

    return write


def key_of(tiny, name):
    return Lab(tiny, 1, quiet=True, model=name).model.cache_key()


def test_a_change_of_the_users_file_is_another_model(tiny, own, write_module):
    write_module("edited", OWN)
    before = key_of(tiny, "edited:small")
    assert before == key_of(tiny, own("small"))
    write_module("edited", OWN + "# a comment\n")
    assert key_of(tiny, "edited:small") != before
    assert key_of(tiny, own("normalized")) != key_of(tiny, own("small"))


@pytest.mark.parametrize("place", ["at the top", "in the function"])
def test_a_change_of_an_imported_file_is_another_model(tiny, write_module, place):
    lines = OWN.splitlines(keepends=True)
    index = 0 if place == "at the top" else lines.index("def small(input_shape, classes):\n") + 1
    lines.insert(index, f"{'    ' * (index > 0)}from helper import UNITS\n")
    write_module(
        "user", "".join(lines).replace('layers.Dense(8, activation="relu"),\n   ', "layers.Dense(UNITS),\n   ")
    )
    write_module("helper", "UNITS = 4")
    before = key_of(tiny, "user:small")
    assert key_of(tiny, "user:small") == before
    write_module("helper", "UNITS = 5")
    assert key_of(tiny, "user:small") != before


def test_temporary_files_of_tensorflow_do_not_change_the_model(tiny, write_module, tmp_path, monkeypatch):
    write_module("user", OWN)
    before = key_of(tiny, "user:small")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tf.function(lambda x: x + 1 if x > 0 else x)(tf.constant(1.0))
    assert list(tmp_path.glob("__autograph_generated_file*"))
    assert key_of(tiny, "user:small") == before


def test_a_file_that_was_changed_after_its_import_is_refused(tiny, write_module, tmp_path):
    write_module("edited", OWN)
    lab = Lab(tiny, 1, quiet=True, model="edited:small")
    (tmp_path / "edited.py").write_text(OWN + "# a comment\n")
    with pytest.raises(InvalidInput, match=r"edited.py was changed after it was imported; start again"):
        Lab(tiny, 1, quiet=True, model="edited:small")
    with pytest.raises(InvalidInput, match=r"edited.py was changed meanwhile; start again"):
        lab.run(Recipe.sgd(16, 0.1, 1))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("wrong_classes", "it must return logits, (None, 3)"),
        ("wrong_shape", "a batch of these data is (None, 4, 4)"),
        ("fixed_batch", "it takes (16, 4, 4), but a batch of these data is (None, 4, 4)"),
        ("half_precision", "its weights are not all float32"),
        ("nothing", "it is of type NoneType"),
        ("raises", "raised RuntimeError: no such layer"),
        ("exits", "raised SystemExit: 0"),
        ("without_input", "does it begin with keras.Input(input_shape)?"),
        ("own_train_step", "it has its own train_step"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_a_reason(own, function, reason):
    with pytest.raises(InvalidInput, match=r"^the model readers:\w+ does not fit: ") as error:
        build_model(own(function), (4, 4), 3)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("softmax_activation", "it ends in probabilities"),
        ("softmax_layer", "it ends in probabilities"),
        ("softmax_operation", "it ends in probabilities"),
        ("nested_softmax", "it ends in probabilities"),
        ("sigmoid", "it ends in probabilities"),
        ("regularized", "it adds losses of its own"),
        ("regularized_activity", "it adds losses of its own"),
        ("same_object", "weights in common"),
        ("shared_layer", "weights in common"),
        ("unseeded", "with the same seed, two calls return different initial weights"),
        ("fails_on_call", "for 50 samples it raised MemoryError: no room"),
    ],
)
def test_a_model_whose_results_would_be_wrong_is_refused_with_a_reason(tiny, own, function, reason):
    with pytest.raises(InvalidInput, match=r"^the model readers:\w+ does not fit: ") as error:
        Lab(tiny, 1, quiet=True, model=own(function))
    assert reason in str(error.value)


@pytest.mark.parametrize("function", ["small", "zeros", "log_softmax", "relu_last"])
def test_logits_are_not_taken_for_probabilities(tiny, own, function):
    assert Lab(tiny, 1, quiet=True, model=own(function)).model.built


@pytest.mark.parametrize(
    ("function", "said"), [("zeros", "do not depend on the seed"), ("compiled", "its own optimizer")]
)
def test_what_bstudy_does_otherwise_than_the_model_says_is_told(tiny, own, caplog, function, said):
    Lab(tiny, 1, quiet=True, model=own(function))
    assert said in caplog.text


def test_a_model_that_xla_cannot_compile_is_trained_without(tiny, own):
    run = Lab(tiny, 1, quiet=True, model=own("flipped")).run(Recipe.sgd(16, 0.1, 2))
    assert np.isfinite(run["test_loss"]).all()


@pytest.mark.slow
def test_what_a_model_prints_goes_to_stderr(bstudy, tmp_path, tiny_file):
    text = OWN.replace("        return x", "        print('traced', flush=True)\n        return x")
    (tmp_path / "printing.py").write_text(text + PRINTING)
    words = ("--dataset", tiny_file, "--model", "printing:prints")
    done = bstudy("train", "--batch-size", 8, "--learning-rate", 0.1, "--epochs", 1, "--json", "-", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 7
    for said in ("imported", "called", "traced", "Total params"):
        assert said in done.stderr


@pytest.mark.slow
def test_what_a_model_prints_does_not_disturb_a_measurement_in_a_process_of_its_own(tiny, write_module, capfd):
    write_module("user", OWN + PRINTING)
    run = Lab(tiny, 1, quiet=True, model="user:prints").run(Memory((8,)))
    assert (run["memory"] > 0).all()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Total params" in printed.err


def test_a_model_that_fails_in_training_is_reported_with_its_error(tiny, own):
    with pytest.raises(BstudyError, match=r"^the model readers:fails failed at 16 at 0.1 for 1 epoch: MemoryError: "):
        Lab(tiny, 1, quiet=True, model=own("fails")).run(Recipe.sgd(16, 0.1, 1))


def test_a_model_with_more_than_weights_is_trained_on_one_device(tiny, own):
    with pytest.raises(InvalidInput, match="train it on one device"):
        Lab(tiny, 1, quiet=True, model=own("normalized"), devices=2).run(Recipe.sgd(16, 0.1, 1))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet", "there is no model 'resnet'; use mlp, cnn, or MODULE:FUNCTION"),
        ("model.keras", "loading a saved model can run any code"),
        (".", "loading a saved model can run any code"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
        ("readers:", "there is no model"),
        ("a b:c", "there is no model"),
        ("broken.part:f", "module 'broken.part' cannot be imported: ZeroDivisionError"),
        ("leaves:f", "module 'leaves' cannot be imported: SystemExit: 0"),
        ("half:f", "module 'half' changes Keras's dtype_policy for the whole program"),
        ("random:f", "has no function 'f'"),
        ("sys:nothing", "has no function 'nothing'"),
        ("half:keras", "has no function"),
    ],
)
def test_a_wrong_name_is_refused_with_a_reason(tmp_path, monkeypatch, name, reason):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("1 / 0")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    (tmp_path / "half.py").write_text("import keras\nkeras.config.set_dtype_policy('mixed_float16')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InvalidInput) as error:
        find_model(name)
    assert reason in str(error.value)


def test_the_cnn_needs_images(tiny):
    flat = replace(tiny, x_train=tiny.x_train.reshape(50, 16), x_test=tiny.x_test.reshape(20, 16))
    with pytest.raises(InvalidInput, match="the cnn needs images"):
        Lab(flat, model="cnn")
