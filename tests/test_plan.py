"""Plans: what is missing, in which order, and what may run at the same time."""

import pytest

from bstudy import Interpolation, Memory, NoiseScale, Recipe, StepTime
from bstudy.plan import make_plan, next_task

SHORT, LONG = Recipe.sgd(16, 0.1, 3), Recipe.sgd(16, 0.1, 30)
AFTER = SHORT.then(batch_size=8)
MEMORY, STEP_TIME = Memory((16,)), StepTime((16,))


def key(experiment, seed):
    return f"{experiment!r}, {seed}"


def plan(*experiments, seeds=(0,), stored=None):
    """Return a plan in which an epoch takes a second, and everything else half a second."""
    stored = {key(experiment, 0): value for experiment, value in (stored or {}).items()}
    return make_plan(
        experiments,
        seeds,
        key,
        lambda name, with_state: stored.get(name, 0.0),
        lambda experiment: float(getattr(experiment, "epochs", 0.5)),
    )


def test_dependencies_come_first_then_the_longest_and_exclusive_ones_last():
    order = [task.experiment for task in plan(MEMORY, STEP_TIME, AFTER, Recipe.sgd(50, 0.1, 1), LONG, SHORT)]
    assert order == [SHORT, LONG, AFTER, Recipe.sgd(50, 0.1, 1), MEMORY, STEP_TIME]


def test_what_an_experiment_requires_is_planned_too():
    tasks = plan(NoiseScale(AFTER), Interpolation((SHORT, LONG)), seeds=(0, 5))
    assert len(tasks) == 2 * 5
    by_key = {task.key: task for task in tasks}
    assert by_key[key(NoiseScale(AFTER), 5)].after == {key(AFTER, 5)}
    assert by_key[key(Interpolation((SHORT, LONG)), 0)].after == {key(SHORT, 0), key(LONG, 0)}


def test_a_stored_result_is_not_planned():
    assert plan(SHORT, stored={SHORT: 1.0}) == []
    (task,) = plan(NoiseScale(SHORT), stored={SHORT: 1.0})
    assert task.after == frozenset()


@pytest.mark.parametrize(
    ("stored", "seconds"), [({}, 30), ({LONG: 0.5}, 15), ({SHORT: 1.0}, 27), ({SHORT: 1.0, LONG: 0.5}, 15)]
)
def test_only_the_rest_of_a_task_takes_time(stored, seconds):
    (task,) = plan(LONG, stored=stored)
    assert task.seconds == pytest.approx(seconds)


def test_a_longer_run_waits_for_the_shorter_one_and_continues_it():
    first, second = plan(LONG, SHORT)
    assert first.experiment == SHORT
    assert second.after == {first.key}
    assert second.seconds == 27


def test_an_exclusive_task_never_runs_beside_another():
    tasks = plan(MEMORY, STEP_TIME, AFTER, LONG, SHORT)
    waiting, running, done, order = list(tasks), [], set(), []
    while waiting or running:
        task = next_task(waiting, done, running)
        if task is None:
            done.add(running.pop(0).key)
            continue
        waiting.remove(task)
        running.append(task)
        order.append(task.experiment)
        exclusive = [each for each in running if each.experiment.EXCLUSIVE]
        assert not exclusive or len(running) == 1
        assert task.after <= done
    assert len(order) == 5
    assert set(order[-2:]) == {MEMORY, STEP_TIME}
