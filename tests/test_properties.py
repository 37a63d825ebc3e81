"""What holds for all values, not only for chosen ones: of recipes, of the store, of counts and of settings."""

import string
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from bstudy import Phase, Recipe
from bstudy.chapter import as_text, read_settings
from bstudy.errors import InvalidInput
from bstudy.experiments.gradient_trials import EDGES, add_trial, empty_columns
from bstudy.models import MLP
from bstudy.store import Result, Store

settings.register_profile("bstudy", max_examples=40, derandomize=True, deadline=None, database=None)
settings.load_profile("bstudy")
DATA = SimpleNamespace(digest="f" * 64)

phases = some.builds(
    Phase,
    some.integers(1, 3),
    some.sampled_from([1e-30, 0.01, 0.1, 1, 1e30]),
    some.integers(1, 4),
    some.sampled_from(["sgd", "adam"]),
)
histories = some.lists(phases, min_size=1, max_size=6).map(tuple)


def epoch_by_epoch(recipe):
    """Return what is done in each epoch, however the recipe is written."""
    named = [recipe.phase(epoch) for epoch in range(recipe.epochs)]
    return [(phase.batch_size, phase.learning_rate, phase.optimizer) for phase in named]


@given(histories, histories)
def test_recipes_have_the_same_key_exactly_if_they_train_alike(one, other):
    split = [part for p in one for part in [Phase(p.batch_size, p.learning_rate, 1, p.optimizer)] * p.epochs]
    for written in (other, one, split):
        a, b = Recipe(one), Recipe(tuple(written))
        alike = epoch_by_epoch(a) == epoch_by_epoch(b)
        assert (a == b) == alike
        assert (a.key(DATA, MLP, 0) == b.key(DATA, MLP, 0)) == alike
        assert (repr(a) == repr(b)) == alike


@given(histories)
def test_a_recipe_is_the_same_built_phase_by_phase_and_from_its_repr(history):
    recipe, built = Recipe(history), Recipe(history[:1])
    for phase in history[1:]:
        built = built.then(**vars(phase))
    assert built == recipe
    assert recipe.epochs == sum(phase.epochs for phase in history)
    assert not any(before.continues_as(after) for before, after in zip(recipe.phases, recipe.phases[1:], strict=False))
    assert eval(repr(recipe)) == recipe


@given(histories, some.data())
def test_the_first_epochs_of_a_recipe_are_its_beginning(history, data):
    recipe = Recipe(history)
    epochs = data.draw(some.integers(1, recipe.epochs))
    beginning = recipe.first(epochs)
    assert epoch_by_epoch(beginning) == epoch_by_epoch(recipe)[:epochs]
    assert recipe.then(**vars(history[0])).first(recipe.epochs) == recipe
    samples = data.draw(some.integers(1, 50))
    assert recipe.steps(samples)[: epochs + 1].tolist() == beginning.steps(samples).tolist()


names = some.text(string.ascii_letters + "_", min_size=1, max_size=8)
kinds = arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes() | arrays.unsigned_integer_dtypes()
any_arrays = some.dictionaries(names, arrays.arrays(kinds, arrays.array_shapes(min_dims=0, min_side=0)), max_size=3)
some_arrays = any_arrays.filter(bool)  # a complete result has columns
facts = some.dictionaries(names, some.text() | some.integers() | some.booleans() | some.none() | some.floats())


@given(some_arrays, any_arrays, facts, some.floats(0, 1))
def test_the_store_returns_what_was_written_to_the_bit(columns, state, metadata, progress):
    with tempfile.TemporaryDirectory() as folder:
        store, key = Store(folder), "a" * 64
        store.write(key, Result(columns, state, metadata, progress))
        found = store.read(key, state=True)
        assert not store.in_memory
    assert found.progress == progress
    np.testing.assert_equal(found.metadata, metadata)
    for written, read in ((columns, found.columns), (state, found.state)):
        assert list(read) == list(written)
        for name, array in written.items():
            assert read[name].dtype == array.dtype
            assert read[name].shape == array.shape
            assert read[name].tobytes() == array.tobytes()


trial = arrays.arrays(float, (2, 6), elements=some.floats(-1e6, 1e6, width=32))


@given(some.lists(trial, min_size=1, max_size=8), some.randoms())
def test_counts_of_trials_do_not_depend_on_their_order(trials, random):
    shuffled = [*enumerate(trials)]
    random.shuffle(shuffled)
    columns = again = empty_columns(2)
    with np.errstate(invalid="ignore"):  # a gradient of zeros has no direction
        for number, entries in enumerate(trials):
            columns = add_trial(columns, entries, number)
        for number, entries in shuffled:
            again = add_trial(again, entries, number)
    for name in ("histogram", "extremes"):
        np.testing.assert_array_equal(columns[name], again[name])
    every = np.stack(trials, axis=1)  # (sizes, trials, entries)
    for size in range(2):
        expected, _ = np.histogram(every[size], [-np.inf, *EDGES, np.inf])
        np.testing.assert_array_equal(columns["histogram"][size].sum(axis=0), expected)
    np.testing.assert_array_equal(columns["extremes"], np.stack([every.min((1, 2)), every.max((1, 2))], axis=1))
    for power in (1, 2, 3, 4):
        tolerance = 1e-12 * (np.abs(every) ** power).sum(axis=(1, 2))
        apart = np.abs(columns["power_sums"][:, :, power - 1].sum(axis=1) - (every**power).sum(axis=(1, 2)))
        assert (apart <= tolerance).all()


words = some.text(string.ascii_letters + string.digits, min_size=1)
values = some.one_of(
    some.integers(1, 10**9),
    some.floats(min_value=0, exclude_min=True, allow_infinity=False),
    words,
    some.lists(some.integers(1, 10**6), min_size=2, unique=True).map(tuple),
    some.lists(some.floats(1e-9, 1e9), min_size=2, unique=True).map(tuple),
)
parameters = some.dictionaries(names, values, min_size=1)


@given(parameters)
def test_a_setting_is_read_as_it_was_written(wanted):
    texts = [f"{name}={as_text(value)}" for name, value in wanted.items()]
    found = read_settings(texts, wanted, "--set")
    assert found == wanted
    assert [type(found[name]) for name in wanted] == [type(value) for value in wanted.values()]


@given(some.text(), parameters)
def test_any_text_is_a_setting_or_is_refused(text, defaults):
    try:
        found = read_settings([text], defaults, "--set")
    except InvalidInput as error:
        assert str(error)
    else:
        assert found.keys() <= defaults.keys()


@pytest.mark.parametrize("wrong", ["=", "a=", "a==1", "a=1=2", "=1"])
def test_a_setting_without_a_value_is_refused(wrong):
    with pytest.raises(InvalidInput):
        read_settings([wrong], {"a": 1}, "--set")
