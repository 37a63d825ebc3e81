"""bstudy: what is known and claimed about the batch size in training neural networks, tested in the open.

The names below are loaded when they are first used, so that the command line answers at once.
"""

from importlib import import_module

__version__ = "0.1.0"

_DEFINED_IN = {
    "BstudyError": "errors",
    "Cost": "experiment.cost",
    "Dataset": "data",
    "Evaluation": "experiment.cost",
    "GradientTrials": "experiment.gradients",
    "Lab": "lab",
    "Line": "experiment.landscape",
    "NoiseScale": "experiment.gradients",
    "Phase": "experiment.train",
    "Recipe": "experiment.train",
    "Replicated": "experiment.train",
    "Runs": "experiment",
    "Sharpness": "experiment.landscape",
    "SingleBatches": "experiment.gradients",
    "StepNorms": "experiment.gradients",
    "Target": "experiment.target",
    "Throughput": "experiment.cost",
    "claim": "stats",
    "critical_batch_size": "stats",
    "exponent": "stats",
    "linear_fit": "stats",
    "noise_scale": "stats",
    "noise_scale_interval": "stats",
    "rank_correlation": "stats",
    "step_seconds": "stats",
    "to_target": "experiment.target",
    "unexplained": "stats",
    "load": "data",
}
__all__ = ["draw", *_DEFINED_IN]


def __getattr__(name):
    if name in _DEFINED_IN:
        return getattr(import_module(f"bstudy.{_DEFINED_IN[name]}"), name)
    raise AttributeError(f"module 'bstudy' has no attribute '{name}'")
