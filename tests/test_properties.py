"""What holds for all values and not only for chosen ones: of recipes, of the store, of counting and of settings."""

import string
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from bstudy import Phase, Recipe
from bstudy.book import as_text, read_settings
from bstudy.errors import InvalidInput
from bstudy.measure import gradients
from bstudy.models import MLP
from bstudy.store import Result, Store

settings.register_profile("bstudy", max_examples=40, derandomize=True, deadline=None, database=None)
settings.load_profile("bstudy")


class Data:
    fingerprint, model = "f" * 64, MLP


phases = some.builds(
    Phase,
    some.integers(1, 3),
    some.sampled_from([1e-30, 0.01, 0.1, 1, 1e30]),
    some.integers(1, 4),
    some.sampled_from(["sgd", "adam"]),
)
histories = some.lists(phases, min_size=1, max_size=6).map(tuple)


def epoch_by_epoch(recipe):
    """What a recipe says, without the way in which it is written: what is done in each epoch."""
    named = [recipe.phase(epoch) for epoch in range(recipe.epochs)]
    return recipe.norms, [(phase.batch_size, phase.learning_rate, phase.optimizer) for phase in named]


@given(histories, histories)
def test_recipes_have_one_key_exactly_where_they_train_alike(one, other):
    split = [part for p in one for part in [Phase(p.batch_size, p.learning_rate, 1, p.optimizer)] * p.epochs]
    for written in (other, one, split):
        a, b = Recipe(one), Recipe(tuple(written))
        alike = epoch_by_epoch(a) == epoch_by_epoch(b)
        assert (a == b) == alike == (a.key(Data, 0) == b.key(Data, 0)) == (repr(a) == repr(b))


@given(histories, some.data())
def test_going_on_merges_what_does_not_change_and_cutting_undoes_it(history, data):
    recipe = Recipe(history)
    one_by_one = Recipe(history[:1])
    for phase in history[1:]:
        one_by_one = one_by_one.then(**vars(phase))
    assert one_by_one == recipe and recipe.epochs == sum(phase.epochs for phase in history)
    assert all(not before.goes_on_as(after) for before, after in zip(recipe.phases, recipe.phases[1:], strict=False))
    epochs = data.draw(some.integers(1, recipe.epochs))
    beginning = recipe.cut(epochs)
    assert epoch_by_epoch(beginning)[1] == epoch_by_epoch(recipe)[1][:epochs]
    assert recipe.then(**vars(history[0])).cut(recipe.epochs) == recipe
    assert eval(repr(recipe)) == recipe
    samples = data.draw(some.integers(1, 50))
    assert recipe.steps(samples)[: epochs + 1].tolist() == beginning.steps(samples).tolist()


names = some.text(string.ascii_letters + "_", min_size=1, max_size=8)
kinds = arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes() | arrays.unsigned_integer_dtypes()
any_arrays = some.dictionaries(names, arrays.arrays(kinds, arrays.array_shapes(min_dims=0, min_side=0)), max_size=3)
facts = some.dictionaries(
    names.map("about_{}".format), some.text() | some.integers() | some.booleans() | some.none() | some.floats()
)


@given(any_arrays, any_arrays, facts, some.floats(0, 1))
def test_the_store_gives_back_what_was_written_to_the_bit(columns, state, about, share):
    with tempfile.TemporaryDirectory() as folder:
        store, key = Store(folder), "a" * 64
        store.write(key, Result(columns, state, about, share))
        found = store.read(key, state=True)
        assert not store.unwritten and found.share == share
        for written, read in ((columns, found.columns), (state, found.state)):
            assert list(read) == list(written)
            for name, array in written.items():
                assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
                assert read[name].tobytes() == array.tobytes()
        np.testing.assert_equal({name: found.about[name] for name in about}, about)


trial = arrays.arrays(float, (2, 6), elements=some.floats(-1e6, 1e6, width=32))


@given(some.lists(trial, min_size=1, max_size=8), some.randoms())
def test_counting_trial_by_trial_is_counting_all_at_once_in_any_order(trials, random):
    with np.errstate(invalid="ignore"):  # a gradient of zeros has no direction
        counted = again = gradients.empty(2)
        for number, entries in enumerate(trials):
            counted = gradients.added(counted, entries, number)
        shuffled = [*enumerate(trials)]
        random.shuffle(shuffled)
        for number, entries in shuffled:
            again = gradients.added(again, entries, number)
    for name in ("histogram", "extremes"):
        np.testing.assert_array_equal(counted[name], again[name])
    every = np.stack(trials, axis=1)  # (sizes, trials, entries)
    assert (counted["histogram"].sum(axis=(1, 2)) == every[0].size).all()
    for size in range(2):
        expected, _ = np.histogram(every[size], [-np.inf, *gradients.EDGES, np.inf])
        np.testing.assert_array_equal(counted["histogram"][size].sum(axis=0), expected)
    np.testing.assert_array_equal(counted["extremes"], np.stack([every.min((1, 2)), every.max((1, 2))], axis=1))
    for power in (1, 2, 3, 4):
        size_of_terms = (np.abs(every) ** power).sum(axis=(1, 2))
        apart = np.abs(counted["power_sums"][:, :, power - 1].sum(axis=1) - (every**power).sum(axis=(1, 2)))
        assert (apart <= 1e-12 * size_of_terms).all()


words = some.text(string.ascii_letters + string.digits, min_size=1)
values = some.one_of(
    some.integers(-(10**9), 10**9),
    some.floats(allow_nan=False, allow_infinity=False),
    words,
    some.lists(some.integers(1, 10**6), min_size=2, unique=True).map(tuple),
    some.lists(some.floats(1e-9, 1e9), min_size=2, unique=True).map(tuple),
)
parameters = some.dictionaries(names, values, min_size=1)


@given(parameters)
def test_what_is_set_is_read_as_it_was_written(wanted):
    texts = [f"{name}={as_text(value)}" for name, value in wanted.items()]
    assert read_settings(texts, wanted, "--set") == wanted
    assert all(
        type(read_settings([text], wanted, "--set").popitem()[1]) in map(type, wanted.values()) for text in texts
    )


@given(some.text(), parameters)
def test_any_text_is_a_setting_or_is_refused_in_a_sentence(text, defaults):
    try:
        found = read_settings([text], defaults, "--set")
    except InvalidInput as error:
        assert "--set" in str(error)
    else:
        assert found.keys() <= defaults.keys()


@pytest.mark.parametrize("wrong", ["=", "a=", "a==1", "a=1=2", "=1"])
def test_a_setting_without_a_value_is_refused(wrong):
    with pytest.raises(InvalidInput):
        read_settings([wrong], {"a": 1}, "--set")
