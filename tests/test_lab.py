"""The Lab in one process: what is measured, what is read, and what a signal keeps."""

import os
import signal

import numpy as np
import pytest

from bstudy import GradientTrials, Lab, Memory, NoiseScale, Recipe, Trainer, worker
from bstudy.errors import BstudyError, Interrupted, InvalidInput, NotMeasured
from bstudy.experiments import gradient_trials
from bstudy.experiments.gradient_trials import trial_rows
from bstudy.machine import Machine
from bstudy.store import Result, Store

START = Recipe.sgd(16, 0.1, 3)
pytestmark = pytest.mark.usefixtures("shared_trainers")


@pytest.fixture
def epochs(monkeypatch):
    """The batch size of each epoch that was trained."""
    found, train_epoch = [], Trainer.train_epoch

    def counted(trainer, order, batch_size, *arguments, **settings):
        found.append(batch_size)
        return train_epoch(trainer, order, batch_size, *arguments, **settings)

    monkeypatch.setattr(Trainer, "train_epoch", counted)
    return found


@pytest.fixture
def lab(tiny, small_model):
    def make(seeds=1, **settings):
        return Lab(tiny, seeds, quiet=True, model=small_model, **settings)

    return make


def key(lab, experiment, seed=0):
    return experiment.with_replicas(1).key(lab.dataset, lab.model, seed)


def test_results_have_the_nesting_of_the_experiments(lab):
    runs = lab(2).run({"one": {16: START, 50: Recipe.sgd(50, 0.1, 1)}, "other": START})
    assert runs["one"][16].experiment == START
    assert runs["one"][50]["test_loss"].shape == (2, 2)
    assert runs["other"].seeds == (0, 1)
    assert runs["other"].samples == 50
    assert runs["other"].metadata[1]["seed"] == 1


def test_what_recipes_share_is_trained_once(lab, epochs):
    experiments = {"longer": START.then(), "smaller": START.then(batch_size=8), "one": Recipe.sgd(16, 0.1, 1)}
    lab(2).run(experiments)
    assert sorted(epochs) == [8] * 6 + [16] * 12  # for each seed: 6 epochs at 16, and 3 at 8 after the third


def test_a_stored_result_is_read_and_extended(lab, epochs):
    few = lab(2).run(START)
    again = lab(2).run({"same": START})["same"]
    assert len(epochs) == 6
    np.testing.assert_array_equal(few["test_loss"], again["test_loss"])
    lab(3).run(START)
    assert len(epochs) == 9
    longer = lab(1).run(Recipe.sgd(16, 0.1, 5))
    assert len(epochs) == 11
    np.testing.assert_array_equal(longer["test_loss"][:, :4], few["test_loss"][:1])


def test_more_trials_extend_fewer(lab, monkeypatch):
    trials = [GradientTrials(START, batch_sizes=(4, 16), trials=number, samples=16) for number in (2, 5)]
    few, measured = lab().run(trials[0]), []

    def counted(experiment, context, trial):
        measured.append(trial)
        return trial_rows(experiment, context, trial)

    monkeypatch.setattr(gradient_trials, "trial_rows", counted)
    many = lab().run(trials[1])
    assert measured == [2, 3, 4]
    np.testing.assert_array_equal(few["norm"], many["norm"][:, :, :2])


@pytest.mark.slow
def test_a_result_of_two_replicas_does_not_answer_for_one(lab):
    two = lab(devices=2).run(START)
    assert two.metadata[0]["replicas"] == 2
    with pytest.raises(NotMeasured, match="1 result is not measured yet"):
        lab(measure=False).run(START)
    with pytest.raises(NotMeasured):
        lab(measure=False).run(NoiseScale(START))
    assert lab(devices=2, measure=False).run(START).metadata[0]["replicas"] == 2


def test_missing_counts_results_and_estimates_their_time(lab):
    count, seconds = lab(2).missing({"a": START, "b": NoiseScale(START)})
    assert count == 4
    assert seconds > 0
    lab(2).run(START)
    fewer, less = lab(2).missing(NoiseScale(START))
    assert fewer == 2
    assert less < seconds
    assert lab(2).missing(START) == (0, 0)


def test_several_machines_agree_on_their_estimates_and_so_on_the_order_of_tasks(lab, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"index": 0}}')
    estimates = set()
    for speeds in (Machine(1e9, 1e13), Machine(1e13, 1e9)):
        monkeypatch.setattr("bstudy.machine.this_machine", lambda speeds=speeds: speeds)
        one_of_two = lab()
        one_of_two.replicas = 2  # without a connection
        estimates.add(one_of_two.missing({"a": START, "b": NoiseScale(START)}))
    assert len(estimates) == 1


def test_a_damaged_result_is_measured_again(lab, epochs, caplog):
    before = lab().run(START)
    path = Store().folder / f"{key(lab(), START)}.npz"
    path.write_bytes(path.read_bytes()[:-100])
    after = lab().run(START)
    assert "damaged" in caplog.text
    assert len(epochs) == 6
    np.testing.assert_array_equal(before["test_loss"], after["test_loss"])


def test_a_start_with_damaged_weights_is_trained_again(lab, epochs, caplog):
    lab().run(START)
    path = Store().folder / f"{key(lab(), START)}.npz"
    content = bytearray(path.read_bytes())
    position = content.index(b"state/weight_0.npy") + 300  # among the weights, which only a continuation reads
    content[position] ^= 1
    path.write_bytes(content)
    assert lab().run(START) is not None
    assert len(epochs) == 3
    assert np.isfinite(lab().run(NoiseScale(START, 8, 16, 2))["noise_trace"]).all()
    assert len(epochs) == 6
    assert "damaged" in caplog.text


def test_results_with_other_columns_than_those_of_other_seeds_are_named(lab):
    lab(2).run(START)
    first, second = key(lab(), START, 0), key(lab(), START, 1)
    result = Store().read(second)
    del result.columns["test_loss"]
    Store().write(second, result)
    with pytest.raises(
        BstudyError, match=f"not have the same columns .* delete the wrong one of {first[:10]}, {second[:10]} w"
    ):
        lab(2).run(START)


def test_a_complete_result_without_columns_is_measured_again(lab, epochs, caplog):
    Store().write(key(lab(), START), Result({}))
    assert np.isfinite(lab().run(START)["test_loss"]).all()
    assert len(epochs) == 3
    assert "damaged" in caplog.text


def test_nothing_is_measured_if_one_experiment_is_not_possible(lab, epochs):
    with pytest.raises(InvalidInput, match="batch_size 64 is larger"):
        lab().run({"fine": START, "wrong": Recipe.sgd(64, 0.1, 1)})
    assert not epochs
    assert Store().keys() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds must be at least one whole number from 0"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": [2**32]}, "seeds"),
        ({"devices": 0}, "devices must be a whole number from 1"),
        ({"devices": "two"}, "devices"),
        ({"jobs": 0}, "jobs must be a whole number from 1"),
    ],
)
def test_a_wrong_setting_is_refused(lab, settings, message):
    with pytest.raises(InvalidInput, match=message):
        lab(**settings)


def test_metadata_describe_the_measurement(lab):
    about = lab().run(START).metadata[0]
    assert about["experiment"] == repr(START.with_replicas(1))
    assert about["kind"] == "recipe"
    assert about["dataset"] == "tiny"
    assert about["model"] == "small_models:small"
    assert about["threads"] == 2
    assert about["jobs"] == 1
    assert about["device"] in ("CPU", "GPU")
    assert about["seconds_total"] > 0
    assert {"bstudy", "python", "tensorflow", "keras", "machine", "parameters"} <= about.keys()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_signal_the_next_call_ends_on_the_same_bits(lab, epochs, measure_small, monkeypatch, capfd, number):
    recipe, measure = Recipe.sgd(16, 0.1, 1).then(batch_size=8, epochs=5), Recipe.measure

    def interrupted(experiment, context):
        for calls, step in enumerate(measure(experiment, context)):
            if calls == 5 and experiment.epochs > 1:
                os.kill(os.getpid(), number)
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "measure", interrupted)
        with pytest.raises(Interrupted, match="stopped; 1 of 2 results are stored; the same command continues from"):
            lab().run(recipe)
    assert "Stopping: 1 of 2 results are stored, and a checkpoint" in capfd.readouterr().err
    stored = Store().progress(key(lab(), recipe))
    assert 1 / 6 < stored < 1
    epochs.clear()
    resumed = lab().run(recipe)
    assert len(epochs) == round(6 * (1 - stored))
    whole = measure_small(recipe)
    np.testing.assert_array_equal(resumed["test_loss"][0], whole.columns["test_loss"])
    np.testing.assert_array_equal(resumed["loss"][0], whole.columns["loss"])


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_signal_during_the_display_of_progress_keeps_the_checkpoint(lab, monkeypatch):
    sent = []

    def show(display, text, done, milestone=False):
        if "epoch 3 of 5" in text and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))

    monkeypatch.setattr("bstudy.progress.Display.show", show)
    recipe = Recipe.sgd(16, 0.1, 5)
    with pytest.raises(Interrupted):
        lab().run(recipe)
    assert 0.4 <= Store().progress(key(lab(), recipe)) < 1


def test_a_result_that_another_process_measures_is_awaited(lab, measure_small, epochs, caplog, monkeypatch):
    store, name = Store(), key(lab(), START)
    result = measure_small(START)
    result.metadata["seconds_total"] = 1.0
    epochs.clear()
    lock = store.try_lock(name)
    assert lock.__enter__()

    def finish():
        store.write(name, result)
        lock.__exit__(None, None, None)

    monkeypatch.setattr("bstudy.worker.time.sleep", lambda seconds: finish())
    run = lab().run(START)
    np.testing.assert_array_equal(run["test_loss"][0], result.columns["test_loss"])
    assert not epochs
    assert caplog.text.count("Another process measures 16 at 0.1 for 3 epochs, seed 0; waiting for it") == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_waiting_can_be_interrupted(lab, monkeypatch):
    monkeypatch.setattr("bstudy.worker.time.sleep", lambda seconds: os.kill(os.getpid(), signal.SIGINT))
    with Store().try_lock(key(lab(), START)), pytest.raises(Interrupted, match="0 of 1 results are stored"):
        lab().run(START)


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_on_a_full_disk_results_stay_in_memory(lab, caplog, tmp_path):
    import resource

    lab(store=Store(tmp_path / "warm")).run(START.then(batch_size=50))  # compiles, which needs room for its files
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = Store()
    store.folder.mkdir(parents=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        run = lab(store=store).run(START.then(batch_size=50))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert np.isfinite(run["test_loss"]).all()
    assert len(store.in_memory) == 2
    assert caplog.text.count("(File too large); continuing with it in memory") == 1
    assert [*store.folder.iterdir()] == []


def test_a_run_that_diverges_takes_what_starts_from_it_with_it(lab):
    lost = Recipe.sgd(10, 1e20, 1)
    runs = lab(2).run(
        {
            "lost": lost,
            "longer": lost.then(epochs=2),
            "lower rate": lost.then(learning_rate=0.01),
            "trials": GradientTrials(lost, batch_sizes=(1, 8), trials=2, samples=8),
            "noise": NoiseScale(lost, 8, 16, 2),
        }
    )
    for name, run in runs.items():
        assert run.diverged.tolist() == [True, True], name
    assert np.isnan(runs["trials"]["norm"]).all()


def test_nan_in_a_time_is_no_divergence(lab, monkeypatch):
    unknown = Result({"memory": np.array(np.nan)})
    monkeypatch.setattr(Memory, "measure", lambda self, context: iter([(1.0, unknown)]))
    assert not lab().run(Memory((16,))).diverged.any()


def test_a_lab_compiles_once_for_all_its_runs(tiny, monkeypatch):
    made, make = [], worker.make_trainer
    monkeypatch.setattr(worker, "make_trainer", lambda *arguments: made.append(arguments) or make(*arguments))
    lab = Lab(tiny, 1, quiet=True)
    for learning_rate in (0.1, 0.2):
        lab.run(Recipe.sgd(16, learning_rate, 1))
    assert len(made) == 1
