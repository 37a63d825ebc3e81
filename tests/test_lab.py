import os
import signal

import numpy as np
import pytest

from bstudy import Lab, Recipe
from bstudy.errors import Interrupted, InvalidInput
from bstudy.measure import train
from bstudy.store import Store


@pytest.fixture
def trained(monkeypatch):
    """Counts the epochs that are really trained."""
    epochs = []
    plain = train.epoch_in_calls

    def counted(model, optimizer, data, order, batch_size, *settings):
        epochs.append(batch_size)
        return plain(model, optimizer, data, order, batch_size, *settings)

    monkeypatch.setattr(train, "epoch_in_calls", counted)
    return epochs


START = Recipe.sgd(16, 0.1, 3)


def test_a_signal_that_comes_while_progress_is_shown_keeps_what_is_measured(tiny, monkeypatch):
    sent = []

    def show(display, text, done, milestone=False):
        if "epoch 3 of 5" in text and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))

    monkeypatch.setattr("bstudy.lab.Display.show", show)
    recipe = Recipe.sgd(16, 0.1, 5)
    with pytest.raises(Interrupted):
        Lab(tiny, seeds=1, quiet=True).run({"run": recipe})
    assert 0.4 <= Store().read(recipe.key(tiny, 0)).share < 1


def test_what_is_shared_is_trained_once_and_what_is_stored_never_again(tiny, trained):
    questions = {"longer": START.then(), "smaller": START.then(batch_size=8), "one": Recipe.sgd(16, 0.1, 1)}
    runs = Lab(tiny, seeds=2, quiet=True).run(questions)
    assert sorted(trained) == [8] * 6 + [16] * 12  # per seed: 6 epochs at 16, then 3 at 8 from the third
    again = Lab(tiny, seeds=2, quiet=True).run(questions | {"start": START})
    assert len(trained) == 18
    for role in questions:
        np.testing.assert_array_equal(runs[role]["test_loss"], again[role]["test_loss"])
    assert runs["longer"]["test_loss"].shape == (2, 7)
    Lab(tiny, seeds=3, quiet=True).run({"start": START})
    assert len(trained) == 21
    Lab(tiny, seeds=1, quiet=True).run({"much longer": Recipe.sgd(16, 0.1, 8)})
    assert len(trained) == 23


def test_a_damaged_result_is_named_and_measured_again(tiny, trained, capsys):
    lab = Lab(tiny, seeds=1, quiet=True)
    before = lab.run({"start": START})["start"]
    path = lab.store.folder / f"{START.key(tiny, 0)}.npz"
    path.write_bytes(path.read_bytes()[:-100])
    after = Lab(tiny, seeds=1, quiet=True).run({"start": START})["start"]
    assert "damaged" in capsys.readouterr().err and len(trained) == 6
    np.testing.assert_array_equal(before["test_loss"], after["test_loss"])


def test_nothing_is_measured_where_one_question_cannot_be_answered(tiny, trained):
    with pytest.raises(InvalidInput, match="batch_size 64 is larger"):
        Lab(tiny, quiet=True).run({"fine": START, "wrong": Recipe.sgd(64, 0.1, 1)})
    assert not trained
    for seeds in (0, [-1]):
        with pytest.raises(InvalidInput, match="seeds"):
            Lab(tiny, seeds)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_measured_and_the_next_call_ends_on_the_same_bits(
    tiny, trained, monkeypatch, capfd, number
):
    recipe, plain = Recipe.sgd(16, 0.1, 1).then(batch_size=8, epochs=5), train.measure

    def interrupted(*question):
        for calls, answer in enumerate(plain(*question)):
            if calls == 7:
                os.kill(os.getpid(), number)
            yield answer

    monkeypatch.setattr(train, "measure", interrupted)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"Stopped: 1 of 2 results are kept, .* goes on from there"):
        Lab(tiny, seeds=1).run({"run": recipe})
    assert signal.getsignal(number) == before
    assert "Stopping: 1 of 2 results are kept, and what the running one has finished." in capfd.readouterr().err
    kept = Store().read(recipe.key(tiny, 0))
    assert 1 / 6 < kept.share < 1

    monkeypatch.setattr(train, "measure", plain)
    trained.clear()
    resumed = Lab(tiny, seeds=1, quiet=True).run({"run": recipe})["run"]
    assert len(trained) == round(6 * (1 - kept.share)) > 0
    *_, (_, whole) = train.measure(recipe, tiny, 0)
    np.testing.assert_array_equal(resumed["test_loss"][0], whole.columns["test_loss"])
    np.testing.assert_array_equal(resumed["loss"][0], whole.columns["loss"])
