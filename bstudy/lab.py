"""Answers experiments: from the store, or by measuring them. Knows nothing of chapters, claims or figures."""

import contextlib
import functools
import os
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from bstudy import models
from bstudy.data import load
from bstudy.errors import BstudyError, Interrupted, InvalidInput, NotMeasured
from bstudy.experiment import Runs, count
from bstudy.experiment.train import Recipe
from bstudy.jobs import side_by_side
from bstudy.progress import Display, duration
from bstudy.stop import stoppable
from bstudy.store import Store

SECONDS_BETWEEN_SAVES = 30
SECONDS_BETWEEN_LOOKS = 0.3  # at what another process measures
LARGEST_SEED = 2**32 - 1  # that Keras takes
START_UP = 6.0  # seconds, for TensorFlow


class Lab:
    """A data set, seeds, and a store of what was measured.

    Lab("digits", seeds=3).run({"small": Recipe.sgd(64, 0.01, 30)})["small"].final("test_accuracy")

    `dataset` is a Dataset, or a name or file for `load`; `seeds` a number of seeds from 0 on, or a list of them;
    `devices` how many devices share every batch of a Recipe, "all", or "cpu" for one CPU even where there is a GPU;
    `jobs` how many processes measure side by side: like the machine, they are recorded, and no part of the question;
    `model` the model to train instead of the study's, by a name that `bstudy.models.model` reads. measure=False
    answers from the store alone.
    """

    def __init__(
        self, dataset="digits", seeds=3, store=None, quiet=False, devices=None, model=None, measure=True, jobs=1
    ):
        self.dataset = load(dataset) if isinstance(dataset, str | Path) else dataset
        if model is not None:
            self.dataset = replace(self.dataset, model=models.model(model))
        self.dataset.architecture.check()
        self.seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
        if not self.seeds or any(seed < 0 for seed in self.seeds):
            raise InvalidInput("seeds must be at least one whole number, none negative")
        if max(self.seeds) > LARGEST_SEED:
            raise InvalidInput(f"a seed must be at most {LARGEST_SEED}, not {max(self.seeds)}")
        self.store = store or Store()
        self.quiet, self.measure = quiet, measure
        self.devices = devices if devices in (None, "all", "cpu") else count("devices", devices)
        self.jobs = count("jobs", jobs)
        if self.jobs > 1 and "TF_CONFIG" in os.environ:
            raise InvalidInput("jobs are processes of one machine, and TF_CONFIG names several: use one or the other")

    def run(self, experiments):
        """{role: Experiment} -> {role: Runs}. Reads what is stored, measures the rest.

        Raises InvalidInput, before anything is measured, where the data set cannot answer one of the experiments;
        Interrupted where the user stopped it; NotMeasured where something is not stored, with measure=False.
        """
        for experiment in experiments.values():
            experiment.check(self.dataset)
        answers = {}
        plan = self._plan(experiments.values(), answers)
        if plan and not self.measure:
            raise NotMeasured(f"{len(plan)} result{'s are' if len(plan) > 1 else ' is'} not measured yet")
        if plan or (self.measure and "TF_CONFIG" in os.environ):
            self._measure(plan, answers, self._questions(experiments.values()))
        return {role: self._runs(experiment, answers) for role, experiment in experiments.items()}

    def outstanding(self, experiments):
        """How many results are not stored yet, and about how many seconds it takes to measure them."""
        asked = []
        for experiment in experiments:
            with contextlib.suppress(InvalidInput):  # what these data cannot answer takes no time
                experiment.check(self.dataset)
                asked.append(experiment)
        plan = self._plan(asked, {})
        return len(plan), sum(seconds for *_, seconds in plan.values())

    def _questions(self, experiments):
        """All pairs (experiment, seed) that may have to be answered: the same list on several machines."""
        found = []

        def add(experiment, seed):
            if (experiment, seed) not in found:
                found.append((experiment, seed))
                for start in experiment.starts():
                    add(start, seed)

        for seed in self.seeds:
            for experiment in experiments:
                add(experiment, seed)
        return found

    def _plan(self, experiments, answers):
        """{key: (experiment, seed, seconds)} of what must be measured, what others may begin from before them.

        What is stored goes to `answers` by key.
        """
        begun = {}  # (experiment, seed) -> the share of it that is stored

        def want(experiment, seed, its_state=False):
            key = experiment.key(self.dataset, seed)
            if (experiment, seed) in begun or (key in answers and not its_state):
                return
            stored = self.store.read(key, its_state)  # what others begin from must be whole
            if stored is not None and stored.complete:
                answers[key] = replace(stored, state={})
                return
            begun[experiment, seed] = stored.share if stored is not None else 0.0
            for start in experiment.starts():
                want(start, seed, its_state=True)

        def length(question):
            experiment, seed = question
            return seed, experiment.guess(self.dataset) + sum(length((start, seed))[1] for start in experiment.starts())

        def seconds(experiment, seed):
            there = (
                share
                for share, beginning in experiment.beginnings()
                if (beginning, seed) in begun or beginning.key(self.dataset, seed) in answers
            )
            return experiment.guess(self.dataset) * (1 - max(begun[experiment, seed], next(there, 0.0)))

        for seed in self.seeds:
            for experiment in experiments:
                want(experiment, seed)
        return {e.key(self.dataset, seed): (e, seed, seconds(e, seed)) for e, seed in sorted(begun, key=length)}

    def _begun(self, experiment, key, seed):
        """The longest stored Result that this experiment may go on from, and its share of the work, or (None, 0)."""
        partial = self.store.read(key, state=True)
        share = partial.share if partial is not None else 0.0
        for longer, beginning in experiment.beginnings():
            if longer <= share:
                break
            stored = self.store.read(beginning.key(self.dataset, seed), state=True)
            if stored is not None and stored.complete:
                return stored, longer
        return partial, share

    def _measure(self, plan, answers, questions):
        """Measure what is planned into the store and `answers`; on another worker, help the first one."""
        if self.jobs > 1:  # what runs side by side is done so much sooner
            side = min(self.jobs, len(plan) or 1)
            plan = {key: (e, seed, t if e.ALONE else t / side) for key, (e, seed, t) in plan.items()}
        stored, work = len(answers), sum(seconds for *_, seconds in plan.values())
        if not self.quiet:
            print(
                f"Measuring on {self.dataset}: {len(plan)} results, {stored} more are stored; "
                f"about {duration(work + START_UP)} (Ctrl-C keeps what is measured).",
                file=sys.stderr,
            )

        def kept():
            written = sum(key in answers and key not in self.store.unwritten for key in plan)
            return f"{written} of {len(plan)} results are kept, and what the running one has finished"

        with stoppable(kept) as stop:
            if self.jobs > 1:
                side_by_side(self, plan, answers, work, stop)
            else:
                self._one_by_one(plan, answers, work, stop, questions)
            if stop.is_set() and len(answers) - stored < len(plan):
                raise Interrupted(f"Stopped: {kept()}; the same command goes on from there.")

    def _one_by_one(self, plan, answers, work, stop, questions):
        """Measure what is planned in this process, in order."""
        # before the display, since it keeps TensorFlow's noise from standard error
        replicas = import_module("bstudy.measure").set_up(self.devices)
        cluster = import_module("bstudy.measure.cluster")
        cluster.follow(questions, self.dataset)
        done = 0.0
        with Display(work, self.quiet) as display:
            for number, (key, (experiment, seed, seconds)) in enumerate(plan.items(), 1):
                begun = None
                if isinstance(experiment, Recipe):
                    cluster.tell(questions.index((experiment, seed)))
                for share in self._answer(key, experiment, seed, answers, stop, replicas):
                    begun = share if begun is None else begun
                    text = f"[{number}/{len(plan)}] {experiment}, seed {seed}, {experiment.reached(share)}"
                    here = done + seconds * (share - begun) / ((1 - begun) or 1)
                    display.show(text, here, milestone=key in answers)
                done += seconds
                if stop.is_set() and not plan.keys() <= answers.keys():
                    return
        cluster.tell(cluster.ENOUGH)

    def _answer(self, key, experiment, seed, answers, stop, replicas):
        """Answer one question, or wait until another process has; yields the share that is done."""
        told = False
        while not stop.is_set():
            with self.store.locks.held(key) as free:
                if free:
                    yield from self._answer_alone(key, experiment, seed, answers, stop, replicas)
                    return
            if not told:
                told = True
                print(
                    f"Another process measures {experiment}, seed {seed}: waiting for it (Ctrl-C ends the waiting).",
                    file=sys.stderr,
                )
            stop.wait(SECONDS_BETWEEN_LOOKS)

    def _answer_alone(self, key, experiment, seed, answers, stop, replicas):
        """Measure one experiment, saving as it goes; yields the share that is done."""
        begun, share = self._begun(experiment, key, seed)
        if share == 1:  # another process has measured it since it was planned
            answers[key] = replace(begun, state={})
        yield share
        if share == 1:
            return
        starts = [self.store.read(start.key(self.dataset, seed), state=True) for start in experiment.starts()]
        if None in starts:
            raise BstudyError(f"what {experiment} begins from is no longer stored; the same command measures it again")
        about = {"experiment": repr(experiment), "dataset": self.dataset.name, "model": self.dataset.model.name}
        about |= {"seed": seed, "jobs": 1 if experiment.ALONE else self.jobs}
        result = saved = begun
        saved_at = time.monotonic()
        started = time.monotonic() - (begun.about["seconds_total"] if begun is not None else 0)
        measure = import_module(type(experiment).__module__.replace("experiment", "measure")).measure
        try:
            for share, result in measure(experiment.on(replicas), self.dataset, seed, begun, starts):
                result.about |= about | {"seconds_total": time.monotonic() - started}
                stopping = stop.is_set()  # asked once: what stops has been saved
                due = stopping or time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES
                if result.complete or (due and result is not saved):
                    self.store.write(key, result)
                    saved, saved_at = result, time.monotonic()
                if result.complete:
                    answers[key] = replace(result, state={})
                yield share
                if stopping and not result.complete:
                    return
        except Exception as error:  # out of memory, or without the other machines: what was finished is kept
            if result is not saved:
                self.store.write(key, result)
            if reason := self._reason(error, experiment):
                raise BstudyError(reason) from error
            raise

    def _reason(self, error, experiment):
        """A sentence on what went wrong where a user can mend it, and else nothing."""
        if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's, which is not imported here
            return f"{experiment} needs more memory than there is; a smaller batch size needs less"
        if isinstance(error, BstudyError) or self.dataset.model.is_the_books:
            return None
        told = f"{type(error).__name__}: {error}".splitlines()
        # TensorFlow's messages begin with where in the code that was, and end with what was given
        cause = next((line.strip() for line in str(error).splitlines() if "Error: " in line), told[0])
        return f"the model {self.dataset.model} failed at {experiment}: {cause}"

    def _runs(self, experiment, answers):
        results = [answers[experiment.key(self.dataset, seed)] for seed in self.seeds]
        columns = {name: np.stack([result.columns[name] for result in results]) for name in results[0].columns}
        about = [result.about for result in results]
        return Runs(experiment, self.seeds, columns, about, len(self.dataset.x_train))


def answering(settings, stop):
    """In a process beside others: gives the function that answers one question after another; see `bstudy.jobs`."""
    dataset, home, devices, jobs = settings
    lab = Lab(dataset, [0], Store(home), quiet=True, devices=devices, jobs=jobs)
    set_up = functools.cache(lambda: import_module("bstudy.measure").set_up(devices))

    def answer(question):
        experiment, seed, unwritten = question
        lab.store.unwritten.update(unwritten)
        key, answers = experiment.key(dataset, seed), {}
        try:
            for share in lab._answer(key, experiment, seed, answers, stop, set_up()):
                yield "share", share
            if key in answers:
                yield "answered", (answers[key], lab.store.unwritten.get(key))
        except BstudyError as error:
            yield "refused", error
        except Exception as error:
            yield "failed", f"{type(error).__name__}: {error}".splitlines()[0]

    return answer
