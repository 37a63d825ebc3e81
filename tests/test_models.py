"""Other models than the study's: the cnn, and a reader's own, with all that it keeps besides weights."""

import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from bstudy import Lab, Line, Recipe, Sharpness, models
from bstudy.errors import BstudyError, InvalidInput
from bstudy.measure.landscape import measure as look_around
from bstudy.measure.model import built, initial_weights, put, trained, xla
from bstudy.measure.train import measure
from bstudy.store import Store

OWN = """
import keras

def normalised(input_shape, classes):
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

def probabilities(input_shape, classes):
    model = small(input_shape, classes)
    model.layers[-1].activation = keras.activations.softmax
    return model

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


@pytest.fixture
def own(tmp_path, monkeypatch, tiny):
    """The tiny data set with a function of a reader's module in the working directory."""
    (tmp_path / "readers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "readers", raising=False)
    return lambda function: replace(tiny, model=models.model(f"readers:{function}"))


def answer(experiment, data, begun=None, starts=(), measure=measure):
    *_, (_, result) = measure(experiment, data, 0, begun, starts)
    return result


def test_all_that_a_model_keeps_is_reset_and_taken_up_to_the_same_bits(own):
    data, recipe = own("normalised"), Recipe.sgd(16, 0.1, 3)
    whole = answer(recipe, data)
    half = answer(recipe, data, begun=answer(recipe.cut(2), data))
    assert len(whole.state) > 8  # six weights, two statistics, what dropout draws from, and the optimizer's
    for name, value in whole.state.items():
        np.testing.assert_array_equal(half.state[name], value)
    np.testing.assert_array_equal(half.columns["test_loss"], whole.columns["test_loss"])
    first = initial_weights(data.architecture, 0)
    assert not np.array_equal(whole.state["weight_4"], first[4])
    assert whole.columns["weight_distance"][0] == whole.columns["bias_distance"][0] == 0


def test_on_a_line_statistics_are_those_of_the_weights_there(own):
    data, recipe = own("normalised"), Recipe.sgd(10, 0.1, 5)
    end = answer(recipe, data)
    found = answer(Line(recipe, recipe, 4), data, starts=(end, end), measure=look_around).columns
    model = built(data.architecture)
    put(model, [end.state[f"weight_{i}"] for i in range(len(model.variables))])
    hidden = keras.Model(model.inputs[0], model.layers[1].output)(data.x_train).numpy()
    mean, variance = hidden.mean(0), hidden.var(0)
    gamma, beta = model.layers[2].gamma.numpy(), model.layers[2].beta.numpy()
    kernel, bias = model.layers[-1].get_weights()
    hidden = keras.Model(model.inputs[0], model.layers[1].output)(data.x_test).numpy()
    logits = (gamma * (hidden - mean) / np.sqrt(variance + 1e-3) + beta) @ kernel + bias
    loss = keras.losses.sparse_categorical_crossentropy(data.y_test, logits, from_logits=True).numpy().mean()
    np.testing.assert_allclose(found["test_loss"], loss, rtol=1e-4)


def test_sharpness_is_that_of_the_function_that_is_used(own):
    data, recipe = own("normalised"), Recipe.sgd(10, 0.1, 2)
    end = answer(recipe, data)
    found = answer(Sharpness(recipe, (1e-3,)), data, starts=(end,), measure=look_around).columns
    assert found["loss"] == pytest.approx(end.columns["final_train_loss"], rel=1e-5) and found["rise"] > 0


def test_the_cnn_learns_digits(tmp_path):
    run = Lab("digits", 1, Store(tmp_path), quiet=True, model="cnn").run({"": Recipe.sgd(16, 0.1, 4)})[""]
    assert run.final("test_accuracy") > 0.93
    assert run["cosines"].shape == (1, 5, 4)


def test_a_models_kernels_decide_whether_xla_pays(own, tiny):
    assert xla(built(tiny.architecture)) and not xla(built(replace(tiny, model=models.CNN).architecture))


def test_another_model_is_another_question(own, tiny, tmp_path):
    recipe = Recipe.sgd(16, 0.1, 3)
    keys = {recipe.key(data, 0) for data in (tiny, replace(tiny, model=models.CNN), own("small"), own("normalised"))}
    (tmp_path / "readers.py").write_text(OWN + "\n")
    assert len(keys | {recipe.key(own("small"), 0)}) == 5


@pytest.mark.parametrize(
    "function, reason",
    [
        ("wrong_classes", "wanted logits, (None, 3)"),
        ("wrong_shape", "a batch of these data is (None, 4, 4)"),
        ("probabilities", "ends in probabilities"),
        ("nothing", "returned NoneType"),
        ("raises", "raised RuntimeError: no such layer"),
        ("without_input", "keras.Input"),
        ("constant", "no function constant"),
        ("missing", "no function missing"),
    ],
)
def test_a_model_that_does_not_fit_gets_a_sentence(own, function, reason):
    with pytest.raises(InvalidInput, match=r"^the model readers:\w+ does not fit: ") as error:
        built(own(function).architecture)
    assert reason in str(error.value)


def test_a_model_that_fails_in_training_gets_a_sentence(own, tmp_path):
    lab = Lab(own("fails"), 1, Store(tmp_path), quiet=True)
    with pytest.raises(BstudyError, match=r"^the model readers:fails failed at 16 at 0.1 for 1 epoch: MemoryError: "):
        lab.run({"": Recipe.sgd(16, 0.1, 1)})


def test_what_copies_would_not_have_in_common_is_trained_on_one_device(own, tmp_path):
    lab = Lab(own("normalised"), 1, Store(tmp_path), quiet=True, devices=2)
    with pytest.raises(InvalidInput, match="train it on one device"):
        lab.run({"": Recipe.sgd(16, 0.1, 1)})


@pytest.mark.parametrize(
    "name, reason",
    [
        ("resnet", "there is no model 'resnet'; wanted mlp, cnn, or MODULE:FUNCTION"),
        ("model.keras", "loading a saved model can run any code"),
        ("weights.h5", "loading a saved model can run any code"),
        (".", "loading a saved model can run any code"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
        ("readers:", "there is no model"),
        ("a b:c", "there is no model"),
        ("broken.part:f", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_wrong_model_name_gets_a_sentence(own, tmp_path, name, reason):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("1 / 0")
    with pytest.raises(InvalidInput) as error:
        models.model(name)
    assert reason in str(error.value)


def test_the_cnn_wants_images(tiny):
    flat = replace(tiny, x_train=tiny.x_train.reshape(50, 16), x_test=tiny.x_test.reshape(20, 16))
    with pytest.raises(InvalidInput, match="needs images"):
        Lab(flat, model="cnn")


def test_training_moves_what_it_moves(own):
    data = own("normalised")
    model = built(data.architecture)
    moved = trained(model, [np.full(variable.shape, i) for i, variable in enumerate(model.variables)])
    assert [value.shape for value in moved] == [tuple(variable.shape) for variable in model.trainable_variables]
