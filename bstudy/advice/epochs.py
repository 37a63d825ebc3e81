"""The best loss in a fixed number of epochs: whole trainings with a final decay, compared by the loss at their end."""

import math

import numpy as np

from bstudy.advice.search import Candidate, Problem, Refinement, Setting, Training, raced_settings

DECAY = 0.25  # of the steps, at the end: the learning rate falls linearly to zero
EVALUATIONS = 12  # of a training
TRAININGS = 20  # that a budget should hold: those of the race, and neighbors with two seeds


def affordable_samples(epochs: float, samples: int, seconds_per_sample: float, seconds: float) -> int:
    """Return how many samples each training may see, so that the budget holds enough trainings.

    Args:
        epochs: The length that is asked for.
        samples: Of the training set.
        seconds_per_sample: Of training.
        seconds: The budget.
    """
    return int(min(epochs * samples, seconds / TRAININGS / seconds_per_sample))


def train_with_decay(problem: Problem, setting: Setting, seed: int, samples: int) -> Training:
    """Train on this number of samples; over the last quarter of the steps, the learning rate falls linearly to zero."""
    training = Training(problem, setting, seed)
    total = max(1, samples // setting.batch_size)
    decay = np.minimum(1.0, np.arange(total, 0, -1) / max(1, round(DECAY * total)))
    for stop in np.unique(np.linspace(0, total, EVALUATIONS + 1).round().astype(int))[1:]:
        if problem.seconds_left() <= 0 or training.has_diverged:
            break
        first = training.steps[-1]
        training.run.train(int(stop) - first, decay[first:stop])
        training.steps.append(int(stop))
        training.losses.append(training.run.loss())
    return training


def final_loss(training: Training, samples: int) -> float:
    """Return the loss at the end; infinite if the training diverged or was not finished."""
    is_whole = training.steps[-1] >= samples // training.setting.batch_size
    loss = training.losses[-1]
    return loss if is_whole and math.isfinite(loss) and not training.has_diverged else math.inf


def race_epochs(problem: Problem, batch_size: int, max_rate: float, samples: int) -> list[Training]:
    """Race learning rates at one batch size over whole trainings; return the trainings, best first."""
    settings = raced_settings(batch_size, max_rate)
    trainings = [train_with_decay(problem, setting, 0, samples) for setting in settings]
    return sorted(trainings, key=lambda each: (final_loss(each, samples), -each.steps[-1]))


class EpochRefinement(Refinement):
    """Compares the winner of a race with its neighbors by the loss after the same number of samples.

    The losses take the place of the times of a Refinement, so they must be positive. Its aim is a number of samples.
    """

    target = -math.inf  # no loss ends a training

    def score(self, training: Training) -> float:
        return final_loss(training, self.aim)

    def measure(self, candidate: Candidate, seed: int) -> bool:
        if seed not in candidate.times:
            training = train_with_decay(self.problem, candidate.setting, seed, self.aim)
            loss = self.score(training)
            if self.problem.seconds_left() <= 0 and math.isinf(loss) and not training.has_diverged:
                return False
            candidate.trainings[seed], candidate.times[seed] = training, loss
        return True
