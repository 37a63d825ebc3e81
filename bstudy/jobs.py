"""Questions answered side by side in several processes: which comes when, and what if one fails. Measures nothing.

This process never loads TensorFlow then. The answers have the bits that one process gives them: every worker's thread
pool is of the same size.
"""

import sys

from bstudy.errors import BstudyError
from bstudy.progress import Display
from bstudy.workers import ENDED, Workers

WORKER = "from bstudy.lab import answering; from bstudy.workers import serve; serve(answering)"


class Order:
    """Which question comes next: what others begin from before them, and else the longest first."""

    def __init__(self, plan, dataset):
        self._plan, self.waiting = plan, set(plan)
        self._before = {}  # key -> the keys of what must be answered before
        for key, (experiment, seed, _) in plan.items():
            earlier = (*experiment.starts(), *(beginning for _, beginning in experiment.beginnings()))
            self._before[key] = {each.key(dataset, seed) for each in earlier} & plan.keys()

    def take(self, answers, running):
        """The key of a question that can be measured beside the running ones, which then waits no longer, or None."""
        if any(self._plan[key][0].ALONE for key in running):
            return None
        ready = [key for key in self._plan if key in self.waiting and self._before[key] <= answers.keys()]
        beside = [key for key in ready if not self._plan[key][0].ALONE]
        found = max(beside, key=lambda key: self._plan[key][2], default=None)
        if found is None and ready and not running:
            found = ready[0]
        self.waiting.discard(found)
        return found


def side_by_side(lab, plan, answers, work, stop):
    """Have `lab.jobs` processes measure what is planned, into the lab's store and `answers`, until `stop` is set.

    Raises BstudyError where a question fails a second time, or cannot be answered.
    """
    order, failed, begun, done = Order(plan, lab.dataset), set(), {}, {}
    settings = lab.dataset, lab.store.folder.parent, lab.devices, lab.jobs
    with Display(work, lab.quiet) as display, Workers(lab.jobs, WORKER, settings) as workers:
        while workers.busy or (order.waiting and not stop.is_set()):
            while not stop.is_set() and workers.free and (key := order.take(answers, workers.busy.values())):
                workers.give(key, (*plan[key][:2], lab.store.unwritten))
            if stop.is_set():
                workers.stop()
            if (message := workers.listen()) is None:
                continue
            key, kind, value = message
            experiment, seed, seconds = plan[key]
            question = f"{experiment}, seed {seed}"
            if kind == "refused":
                raise value
            if kind == "failed" or (kind == ENDED and not stop.is_set()):
                if key in failed:
                    raise BstudyError(f"{question}, failed twice in a process of its own ({value})")
                print(f"{question}, failed in its process ({value}); trying once more.", file=sys.stderr)
                failed.add(key)
                order.waiting.add(key)
            if kind == "share":
                first = begun.setdefault(key, value)
                done[key] = seconds * (value - first) / ((1 - first) or 1)
                question += f", {experiment.reached(value)}"
            if kind == "answered":
                answers[key], unwritten = value
                if unwritten is not None:
                    lab.store.unwritten[key] = unwritten
            if kind in ("share", "answered"):
                text = f"[{len(plan.keys() & answers.keys())}/{len(plan)}] {question}"
                display.show(text, sum(done.values()), milestone=kind == "answered")
